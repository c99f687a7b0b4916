//! Purges: their quota by UTC day, and what is refused.

use std::time::Duration;

use cdn::Cdn;
use cdn::service::Context;
use database::on_each_engine;
use work::{Clock, Time};

use crate::cloud::{START, cloud, open};

on_each_engine! {
    async fn purges_of_objects_have_a_quota_by_utc_day(location: &Location) {
        let cloud = cloud(location).await;
        assert_eq!(cloud.owner("DELETE", "/c/o", &[]).await.status, 404, "not published");
        cloud.owner("PUT", "/c", &[]).await;
        for n in 0..25 {
            assert_eq!(cloud.owner("DELETE", &format!("/c/o{n}"), &[]).await.status, 204, "purge {n}");
        }
        let refused = cloud.owner("DELETE", "/c/o", &[]).await;
        assert_eq!(refused.status.as_u16(), 498);
        assert_eq!((refused.body.len(), refused.header("content-type")), (42, "text/html; charset=UTF-8"));
        // The count is in the database: a new process goes on with it.
        let reopened = open(location, &cloud.clock).await;
        let refused = reopened.purge_object(&Context::internal(), "1", "c", "o").await;
        assert_eq!(refused, Err(cdn::Error::PurgesUsedUp(25)));
        let limits = reopened.limits("1").await.unwrap();
        assert_eq!((limits.purges, limits.purges_left), (25, 0));

        // The day of the quota ends at midnight UTC.
        let midnight = 86_400 - u64::try_from(START % 86_400).unwrap();
        cloud.clock.advance(Duration::from_secs(midnight - 1));
        assert_eq!(cloud.owner("DELETE", "/c/o", &[]).await.status.as_u16(), 498);
        cloud.clock.advance(Duration::from_secs(1));
        assert_eq!(cloud.owner("DELETE", "/c/o", &[]).await.status, 204);
        assert_eq!(cloud.cdn.limits("1").await.unwrap().purges_left, 24);

        cloud.cdn.set_purge_limit("1", Some(1)).await.unwrap();
        assert_eq!(cloud.owner("DELETE", "/c/o", &[]).await.status.as_u16(), 498);
        cloud.cdn.set_purge_limit("1", Some(2)).await.unwrap();
        assert_eq!(cloud.owner("DELETE", "/c/o", &[]).await.status, 204);
        cloud.cdn.set_purge_limit("1", None).await.unwrap();
        assert_eq!(cloud.cdn.limits("1").await.unwrap().purges_left, 23);
        assert!(cloud.cdn.set_purge_limit("1", Some(-1)).await.is_err());
    }
}

on_each_engine! {
    async fn a_clock_that_goes_back_a_day_gives_no_new_purges(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/c", &[]).await;
        cloud.cdn.set_purge_limit("1", Some(3)).await.unwrap();
        let clock_at = |seconds: i64| Clock::frozen_at(Time::from_seconds(seconds));
        let earlier = open(location, &clock_at(START - 86_400)).await;
        let purge = async |cdn: &Cdn| cdn.purge_object(&Context::internal(), "1", "c", "o").await;
        assert_eq!(purge(&cloud.cdn).await, Ok(()));
        assert_eq!(purge(&earlier).await, Ok(()));
        assert_eq!(earlier.limits("1").await.unwrap().purges_left, 1);
        assert_eq!(cloud.cdn.limits("1").await.unwrap().purges_left, 1);
        assert_eq!(purge(&cloud.cdn).await, Ok(()));
        for cdn in [&earlier, &cloud.cdn] {
            assert_eq!(purge(cdn).await, Err(cdn::Error::PurgesUsedUp(3)));
        }
        let later = open(location, &clock_at(START + 86_400)).await;
        assert_eq!(purge(&later).await, Ok(()));
        assert_eq!(later.limits("1").await.unwrap().purges_left, 2);
    }
}

on_each_engine! {
    async fn refused_purges_do_not_count(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/c", &[]).await;
        let bad = [("x-purge-email", "not an address")];
        let refused = cloud.owner("DELETE", "/c/o", &bad).await;
        assert_eq!(refused.status, 400);
        assert!(refused.header("x-purge-failed-reason").contains("X-Purge-Email"), "{:?}", refused.headers);
        assert_eq!(cloud.owner("DELETE", "/c", &bad).await.status, 400);
        for bad in ["", "@", "a@", "@b", "a@b@c", "a@b,", "a b@c"] {
            let refused = cloud.owner("DELETE", "/c/o", &[("x-purge-email", bad)]).await;
            assert_eq!(refused.status, 400, "{bad:?}");
        }
        assert_eq!(cloud.owner("DELETE", "/none/o", &[]).await.status, 404);
        let long = format!("/c/{}", "o".repeat(1025));
        assert_eq!(cloud.owner("DELETE", &long, &[]).await.status, 400);
        assert_eq!(cloud.cdn.limits("1").await.unwrap().purges_left, 25);
        let good = [("x-purge-email", "a@example.com, b@example.com")];
        assert_eq!(cloud.owner("DELETE", "/c/dir/o%20x", &good).await.status, 204);
        assert_eq!(cloud.cdn.limits("1").await.unwrap().purges_left, 24);
    }
}

on_each_engine! {
    async fn a_container_is_purged_once_an_hour(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/c", &[]).await;
        let generation = async || {
            let found = cloud.cdn.publication(&Context::internal(), "1", "c").await.unwrap();
            (found.generation, found.purged)
        };
        assert_eq!(generation().await, (0, 0));
        assert_eq!(cloud.owner("DELETE", "/c/o", &[]).await.status, 204);
        assert_eq!(generation().await, (1, 0));
        assert_eq!(cloud.owner("DELETE", "/c", &[]).await.status, 204);
        assert_eq!(generation().await, (2, 2));
        let refused = cloud.owner("DELETE", "/c", &[]).await;
        assert_eq!(refused.status, 400);
        assert!(refused.header("x-purge-failed-reason").contains("3600"), "{:?}", refused.headers);
        cloud.clock.advance(Duration::from_secs(3600));
        assert_eq!(cloud.owner("DELETE", "/c", &[]).await.status, 204);
        assert_eq!(generation().await, (3, 3));
    }
}

on_each_engine! {
    async fn a_removal_is_a_container_purge(location: &Location) {
        let cloud = cloud(location).await;
        let generation = async || {
            let found = cloud.cdn.publication(&Context::internal(), "1", "c").await.unwrap();
            (found.generation, found.purged)
        };
        let again = async || {
            let removal = [("x-remove-cdn-container", "True")];
            assert_eq!(cloud.owner("DELETE", "/c", &removal).await.status, 204, "allowed at any time");
            assert_eq!(cloud.owner("PUT", "/c", &[]).await.status, 201);
        };
        cloud.owner("PUT", "/c", &[]).await;
        assert_eq!(cloud.owner("DELETE", "/c/o", &[]).await.status, 204);
        assert_eq!(generation().await, (1, 0));
        // What is removed and published again is no longer what edges may have cached.
        again().await;
        assert_eq!(generation().await, (2, 2));
        // Within the hour it is no second purge, and no other is allowed.
        again().await;
        assert_eq!(generation().await, (2, 2));
        assert_eq!(cloud.owner("DELETE", "/c", &[]).await.status, 400);
        cloud.clock.advance(Duration::from_secs(3599));
        again().await;
        assert_eq!(cloud.owner("DELETE", "/c", &[]).await.status, 400);
        assert_eq!(generation().await, (2, 2));
        cloud.clock.advance(Duration::from_secs(1));
        assert_eq!(cloud.owner("DELETE", "/c", &[]).await.status, 204);
        assert_eq!(generation().await, (3, 3));
        again().await;
        assert_eq!(generation().await, (3, 3));
        cloud.clock.advance(Duration::from_secs(3600));
        again().await;
        assert_eq!(generation().await, (4, 4));
        assert_eq!(cloud.owner("DELETE", "/c", &[]).await.status, 400);
    }
}

on_each_engine! {
    async fn a_path_without_an_object_s_name_purges_nothing(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/c", &[]).await;
        for path in ["/c/", "/c%2F"] {
            for headers in [&[][..], &[("x-remove-cdn-container", "t")]] {
                assert_eq!(cloud.owner("DELETE", path, headers).await.status, 404, "{path} {headers:?}");
            }
        }
        let found = cloud.cdn.publication(&Context::internal(), "1", "c").await.unwrap();
        assert_eq!((found.generation, found.purged), (0, 0));
        assert_eq!(cloud.cdn.limits("1").await.unwrap().purges_left, 25);
        assert_eq!(cloud.owner("DELETE", "/c", &[]).await.status, 204, "the hour's purge is still there");
    }
}

on_each_engine! {
    async fn many_purged_objects_become_a_purge_of_the_container(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/c", &[]).await;
        cloud.cdn.set_purge_limit("1", Some(10_000)).await.unwrap();
        for n in 0..1000 {
            let purged = cloud.cdn.purge_object(&Context::internal(), "1", "c", &format!("o{n}")).await;
            assert_eq!(purged, Ok(()));
        }
        let purged = async || cloud.cdn.publication(&Context::internal(), "1", "c").await.unwrap().purged;
        assert_eq!(purged().await, 0);
        cloud.cdn.purge_object(&Context::internal(), "1", "c", "last").await.unwrap();
        assert_eq!(purged().await, 1001);
    }
}
