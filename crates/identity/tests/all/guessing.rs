//! Guessing is slowed down, and responses do not reveal which users exist.

use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::cloud::{API_KEY, Cloud, PASSWORD};

#[tokio::test]
async fn a_guesser_is_locked_out_with_each_dialects_fault() {
    let scratch = database::testing::Scratch::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    for user in ["admin", "nobody"] {
        for _ in 0..10 {
            cloud.sign_in(user, "wrong password").await.expect(401);
        }
        let locked = cloud.sign_in(user, PASSWORD).await.expect(413);
        assert_eq!(locked.header("retry-after"), "30");
        assert_eq!(locked.value()["overLimit"]["code"], 413);
        let headers = [("x-auth-user", user), ("x-auth-key", API_KEY)];
        let v1 = cloud.send(Method::GET, "/v1.0", &headers, "").await.expect(429);
        assert_eq!(v1.header("retry-after"), "30");
        let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {
            "name": user, "password": PASSWORD, "domain": {"id": "default"}}}}}});
        let v3 = cloud.json(Method::POST, "/v3/auth/tokens", "", body).await.expect(429);
        assert_eq!(v3.value()["error"]["title"], "Too Many Requests");
    }
    // The owner at another address is not affected.
    let elsewhere = cloud.seen_from("198.51.100.7");
    elsewhere.admin().await;
    cloud.clock.advance(Duration::from_secs(30));
    cloud.admin().await;
}

#[tokio::test]
async fn existing_and_unknown_users_get_the_same_responses() {
    let scratch = database::testing::Scratch::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let answers = async |user: &str| {
        let mut seen = Vec::new();
        let v2 = cloud.sign_in(user, "wrong password").await;
        seen.push((v2.status, v2.body));
        let key = json!({"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": user, "apiKey": "wrong"}}});
        let reply = cloud.json(Method::POST, "/v2.0/tokens", "", key).await;
        seen.push((reply.status, reply.body));
        let headers = [("x-auth-user", user), ("x-auth-key", "wrong")];
        let reply = cloud.send(Method::GET, "/v1.0", &headers, "").await;
        seen.push((reply.status, reply.body));
        let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {
            "name": user, "password": "wrong", "domain": {"id": "default"}}}}}});
        let reply = cloud.json(Method::POST, "/v3/auth/tokens", "", body).await;
        seen.push((reply.status, reply.body));
        let change = json!({"RAX-AUTH:changePasswordCredentials": {
            "username": user, "password": "wrong", "newPassword": "long enough"}});
        let reply = cloud.json(Method::POST, "/v2.0/users/RAX-AUTH/change-pwd", "", change).await;
        seen.push((reply.status, reply.body));
        let forgot = json!({"RAX-AUTH:forgotPasswordCredentials": {"username": user}});
        let reply = cloud.json(Method::POST, "/v2.0/users/RAX-AUTH/forgot-pwd", "", forgot).await;
        seen.push((reply.status, reply.body));
        seen
    };
    assert_eq!(answers("admin").await, answers("nobody").await);
}

#[tokio::test]
async fn guessing_application_credentials_is_limited_too() {
    let scratch = database::testing::Scratch::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let attempt = async || {
        let body = json!({"auth": {"identity": {"methods": ["application_credential"],
            "application_credential": {"id": "0".repeat(32), "secret": "guess"}}}});
        cloud.json(Method::POST, "/v3/auth/tokens", "", body).await.status.as_u16()
    };
    for _ in 0..10 {
        assert_eq!(attempt().await, 401);
    }
    assert_eq!(attempt().await, 429);
}

/// Of 200 concurrent wrong passwords ten are checked, as if they came one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_guesses_are_counted_before_they_are_checked() {
    let scratch = database::testing::Scratch::sqlite();
    let cloud = std::sync::Arc::new(Cloud::start(&scratch.location).await);
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let cloud = std::sync::Arc::clone(&cloud);
        running.spawn(async move { cloud.sign_in("admin", "wrong password").await.status.as_u16() });
    }
    let mut checked = 0;
    while let Some(status) = running.join_next().await {
        match status.unwrap() {
            401 => checked += 1,
            413 => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(checked, 10);
    // Concurrent right passwords all succeed, from a known and from an unknown address.
    for address in ["198.51.100.7", "198.51.100.7", "198.51.100.8"] {
        let cloud = std::sync::Arc::new(cloud.seen_from(address));
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let cloud = std::sync::Arc::clone(&cloud);
            running.spawn(async move { cloud.sign_in("admin", PASSWORD).await.status.as_u16() });
        }
        while let Some(status) = running.join_next().await {
            assert_eq!(status.unwrap(), 200);
        }
    }
}
