//! Usage of servers: time and size by server and day; every second counts once.

use std::time::Duration;

use compute::ServerUsage;
use meter::Measure;

use crate::bed::{NOON, TENANT, TestBed};

const HOUR: i64 = 3600;

fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

async fn used(bed: &TestBed) -> Vec<(i64, i64, i64, i64)> {
    bed.compute.read_meters().await.unwrap();
    let rows = bed.compute.usage(Some(TENANT), NOON / 86_400).await.unwrap();
    let shown = |row: ServerUsage| (row.day - NOON / 86_400, row.number, row.seconds, row.mib_seconds);
    rows.into_iter().map(shown).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_second_of_a_server_counts_once_with_its_size_and_day() {
    let mut bed = TestBed::unlimited().await;
    let meter = bed.meter().await;
    let (web, _) = bed.active("web", 1).await;
    bed.clock.advance(hours(1));
    assert_eq!(
        bed.post(&format!("/servers/{web}/action"), r#"{"resize": {"flavorId": 2}}"#).await.status,
        202
    );
    bed.until(web, "VERIFY_RESIZE").await;
    let (other, _) = bed.active("other", 1).await;
    bed.clock.advance(hours(12));
    let first_day =
        [(0, web, 12 * HOUR, HOUR * 256 + 11 * HOUR * 512), (0, other, 11 * HOUR, 11 * HOUR * 256)];
    let second_day = [(1, web, HOUR, HOUR * 512), (1, other, HOUR, HOUR * 256)];
    assert_eq!(used(&bed).await, [first_day, second_day].concat());
    // Another reading, even by another process, counts nothing twice.
    bed.crash_and_reopen().await;
    bed.compute.report_to(meter.clone());
    assert_eq!(used(&bed).await, [first_day, second_day].concat());

    // Usage ends at the deletion, even while its host is unreachable.
    bed.clock.advance(hours(1));
    bed.hosts[0].disconnect();
    bed.until(web, "UNKNOWN").await;
    assert_eq!(bed.delete(&format!("/servers/{web}")).await.status, 202);
    bed.clock.advance(hours(1));
    bed.hosts[0].reconnect();
    bed.eventually("the deletion continues", || async {
        bed.advance(Duration::from_secs(1)).await;
        bed.status(web).await == "gone"
    })
    .await;
    let rows = used(&bed).await;
    assert_eq!(rows[2], (1, web, 2 * HOUR, 2 * HOUR * 512));
    assert!(rows[3].2 >= 3 * HOUR, "{rows:?}");

    // The meter has the same sums.
    let told = meter.usage(Some(TENANT), NOON / 86_400).await.unwrap();
    let total = |measure: Measure| -> i64 {
        let found = told.iter().filter(|usage| usage.measure == measure);
        found.map(|usage| i64::try_from(usage.total).unwrap()).sum()
    };
    assert_eq!(total(Measure::ServersSeconds), rows.iter().map(|row| row.2).sum::<i64>());
    assert_eq!(total(Measure::ServersMibSeconds), rows.iter().map(|row| row.3).sum::<i64>());
    assert!(total(Measure::ServersOperations) >= 5);
}
