//! Usage is summed by tenant and day, on PostgreSQL and SQLite.

use std::time::Duration;

use database::on_each_engine;
use database::testing::{Cut, Proxy, TestLocation};
use meter::{Measure, Meter};
use work::{Clock, Time};

on_each_engine! {
    async fn amounts_add_up_by_tenant_and_day(location: &Location) {
        let clock = Clock::frozen_at(Time::from_seconds(86_400 * 100 + 80_000));
        let meter = Meter::open(location, clock.clone()).await.unwrap();
        meter.count("100001", Measure::FilesBytesIn, 5);
        meter.count("100001", Measure::FilesBytesIn, 7);
        meter.count("100002", Measure::FilesBytesIn, 1);
        clock.advance(Duration::from_secs(10_000));
        meter.count("100001", Measure::FilesBytesIn, 100);
        meter.stop().await;

        let meter = Meter::open(location, clock).await.unwrap();
        meter.count("100001", Measure::FilesBytesIn, 1);
        let found = meter.usage(Some("100001"), 0).await.unwrap();
        let found: Vec<_> = found.iter().map(|u| (u.day, u.measure, u.total)).collect();
        assert_eq!(found, [(100, Measure::FilesBytesIn, 12), (101, Measure::FilesBytesIn, 101)]);
        assert_eq!(meter.usage(None, 0).await.unwrap().len(), 3);
        assert_eq!(meter.usage(None, 101).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn amounts_are_added_once_when_the_reply_to_the_commit_is_lost() {
    let scratch = TestLocation::postgres();
    let proxy = Proxy::before(&scratch.location).await;
    let clock = Clock::frozen_at(Time::from_seconds(86_400 * 100));
    let meter = Meter::open(&proxy.location, clock).await.unwrap();
    for (round, cut) in (1..).zip([Cut::BeforeCommit, Cut::AfterCommit, Cut::AfterCommit]) {
        proxy.cut(cut, "INSERT INTO usage");
        meter.count("100001", Measure::FilesBytesIn, 5);
        // The connection may be cut during the periodic write instead, so this call may succeed.
        let lost = meter.usage(None, 0).await;
        assert!(lost.is_ok() || lost.as_ref().is_err_and(database::Error::is_unknown), "{lost:?}");
        while proxy.cuts() < round {
            tokio::task::yield_now().await;
        }
        meter.count("100001", Measure::FilesBytesIn, 1);
        let found = meter.usage(None, 0).await.unwrap();
        assert_eq!(found.iter().map(|u| u.total).collect::<Vec<_>>(), [round as u64 * 6], "{cut:?}");
    }
    meter.stop().await;
}
