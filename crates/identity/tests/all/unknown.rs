//! Changes whose commit is not answered, or whose client has left: no session outlives what ended it.

use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use database::testing::{Cut, Proxy, TestLocation};
use http::Method;
use identity::{Denied, Identity};
use serde_json::json;

use crate::cloud::{Cloud, PASSWORD};

/// A statement of the unit that changes a user.
const UPDATES: &str = "UPDATE users SET";

async fn is_good(identity: &Identity, token: &str) -> bool {
    match identity.authenticate(token).await {
        Ok(_) => true,
        Err(Denied::Invalid) => false,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_is_kept_after_a_commit_that_was_not_answered() {
    let scratch = TestLocation::postgres();
    let proxy = Proxy::before(&scratch.location).await;
    let cloud = Cloud::start(&proxy.location).await;
    let admin = cloud.admin().await;
    for (cut, survives) in [(Cut::BeforeCommit, true), (Cut::AfterCommit, false)] {
        let name = format!("{cut:?}").to_lowercase();
        let (_, id, token) = cloud.account(&name, &["admin"]).await;
        // It is in the cache.
        assert!(is_good(&cloud.identity, &token).await);
        proxy.cut(cut, UPDATES);
        let body = json!({"user": {"enabled": false}});
        cloud.json(Method::PATCH, &format!("/v3/users/{id}"), &admin, body).await.expect(503);
        assert_eq!(is_good(&cloud.identity, &token).await, survives, "{cut:?}");
        // Nor is what was read right after it kept, since the commit might have come later than that.
        let administration = cloud.identity.administration();
        let change = identity::UserChange { enabled: Some(false), ..identity::UserChange::default() };
        administration.set_user(&name, change).await.unwrap();
        assert!(!is_good(&cloud.identity, &token).await);
    }
    assert_eq!(proxy.cuts(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_keeps_no_session() {
    let scratch = TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let admin = cloud.admin().await;
    let (_, id, token) = cloud.account("shop", &["admin"]).await;
    assert!(is_good(&cloud.identity, &token).await);
    let body = json!({"user": {"enabled": false}});
    let path = format!("/v3/users/{id}");
    let mut request = Box::pin(cloud.json(Method::PATCH, &path, &admin, body));
    // Up to where the unit is on its way, and no further.
    assert!(request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(request);
    let ended = async {
        while is_good(&cloud.identity, &token).await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the session ends");
    assert_ne!(cloud.sign_in("shop", PASSWORD).await.status, 200);
}
