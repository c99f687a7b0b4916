use std::time::Duration;

use database::on_each_engine;
use files::Settings;
use files::model::rates::Rates;

use crate::harness::{cloud, cloud_with};

on_each_engine! {
    async fn writes_beyond_the_rate_are_delayed_or_rejected(location: &Location) {
        let rates = Rates {
            account_ratelimit: 1.0,
            max_sleep_time_seconds: 1.5,
            container_ratelimits: vec![(1, 1.0)],
            container_listing_ratelimits: vec![(1, 1.0)],
            account_whitelist: vec!["AUTH_2".into()],
            account_blacklist: vec!["AUTH_3".into()],
            ..Rates::default()
        };
        let cloud = cloud_with(location, Settings { rates, ..Settings::default() }).await;
        let info = cloud.call("", "GET", "/info", &[], "").await;
        let info: serde_json::Value = serde_json::from_slice(&info.body).unwrap();
        assert_eq!(info["ratelimit"], serde_json::json!({
            "account_ratelimit": 1.0, "max_sleep_time_seconds": 1.5, "container_ratelimits": [[1, 1.0]],
            "container_listing_ratelimits": [[1, 1.0]],
        }));
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await.status, 201);
        // The next request must wait a second of the test's clock.
        let held = tokio::spawn({
            let (router, clock) = (cloud.router.clone(), cloud.clock.clone());
            async move {
                let request = http::Request::put("/v1/AUTH_1/d").header("x-auth-token", "owner").header("content-length", "0");
                let answer = tower::ServiceExt::oneshot(router, request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
                (answer.status(), clock.now())
            }
        });
        let began = cloud.clock.now();
        while !held.is_finished() {
            cloud.clock.advance(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
        let (status, at) = held.await.unwrap();
        assert_eq!(status, 201);
        assert!(at.since(began) >= Duration::from_millis(900), "{at:?}");
        // A container with objects has a rate for writes: only the unused capacity of the buffer can be used later.
        assert_eq!(cloud.put("/v1/AUTH_1/c/first", "x").await.status, 201);
        cloud.clock.advance(Duration::from_secs(60));
        assert_eq!(cloud.put("/v1/AUTH_1/c/0", "x").await.status, 201);
        let writes = [Box::pin(cloud.put("/v1/AUTH_1/c/0", "y")), Box::pin(cloud.put("/v1/AUTH_1/c/0", "z"))];
        // Of two more requests, the first waits until the clock advances and the other would wait too long.
        let (refused, _, mut waiting) = futures_util::future::select_all(writes).await;
        assert_eq!((refused.status.as_u16(), refused.text()), (498, "Slow down"));
        cloud.clock.advance(Duration::from_secs(1));
        assert_eq!(waiting.remove(0).await.status, 201);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c", &[]).await.text(), "0\nfirst\n");
    }
}

on_each_engine! {
    async fn listed_accounts_are_unlimited_or_blocked(location: &Location) {
        let rates = Rates {
            account_ratelimit: 0.5,
            max_sleep_time_seconds: 1.0,
            account_whitelist: vec!["AUTH_2".into()],
            account_blacklist: vec!["AUTH_1".into()],
            ..Rates::default()
        };
        let cloud = cloud_with(location, Settings { rates, ..Settings::default() }).await;
        for n in 0..5 {
            let path = format!("/v1/AUTH_2/{n}");
            assert_eq!(cloud.call("stranger", "PUT", &path, &[("content-length", "0")], "").await.status, 201);
        }
        let clock = cloud.clock.clone();
        let mut answer = Box::pin(cloud.owner("GET", "/v1/AUTH_1", &[]));
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer,
                () = tokio::task::yield_now() => clock.advance(Duration::from_millis(100)),
            }
        };
        assert_eq!((answer.status.as_u16(), answer.text()), (497, "Your account has been blacklisted"));
    }
}

on_each_engine! {
    async fn a_request_that_would_wait_too_long_gets_498(location: &Location) {
        let rates = Rates { account_ratelimit: 0.5, max_sleep_time_seconds: 1.0, ..Rates::default() };
        let cloud = cloud_with(location, Settings { rates, ..Settings::default() }).await;
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await.status, 201);
        let refused = cloud.owner("PUT", "/v1/AUTH_1/d", &[]).await;
        assert_eq!((refused.status.as_u16(), refused.text()), (498, "Slow down"));
        assert_eq!(cloud.owner("DELETE", "/v1/AUTH_1/c", &[]).await.status, 498);
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/d", &[]).await.status, 404, "nothing was created");
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c", &[]).await.status, 204, "reads are unlimited");
        // A stranger's rejected requests do not count.
        cloud.clock.advance(Duration::from_secs(60));
        for _ in 0..9 {
            assert_eq!(cloud.call("stranger", "PUT", "/v1/AUTH_1/d", &[("content-length", "0")], "").await.status, 403);
        }
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/d", &[]).await.status, 201);
    }
}

on_each_engine! {
    async fn rates_are_unlimited_by_default(location: &Location) {
        let cloud = cloud(location).await;
        let info = cloud.call("", "GET", "/info", &[], "").await;
        assert!(!info.text().contains("ratelimit"));
    }
}
