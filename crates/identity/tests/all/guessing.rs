//! Guessing is slowed down, and responses do not reveal which users exist.

use std::time::Duration;

use database::on_each_engine;
use http::Method;
use serde_json::json;

use crate::cloud::{API_KEY, Cloud, PASSWORD};

#[tokio::test]
async fn a_guesser_is_locked_out_with_each_dialects_fault() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    for user in ["admin", "nobody"] {
        for _ in 0..10 {
            cloud.sign_in(user, "wrong password").await.expect(401);
        }
        let locked = cloud.sign_in(user, PASSWORD).await.expect(413);
        assert_eq!(locked.header("retry-after"), "30");
        assert_eq!(locked.value()["overLimit"]["code"], 413);
        let headers = [("x-auth-user", user), ("x-auth-key", API_KEY)];
        // A key that nobody guesses is let through, if it is right.
        let v1 = cloud.send(Method::GET, "/v1.0", &headers, "").await;
        assert_eq!(v1.status, if user == "admin" { 204 } else { 429 });
        if user != "admin" {
            assert_eq!(v1.header("retry-after"), "30");
        }
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
    let scratch = database::testing::TestLocation::sqlite();
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
    let scratch = database::testing::TestLocation::sqlite();
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

/// Who guesses cannot lock out the holder of a secret that nobody guesses.
#[tokio::test]
async fn holders_of_strong_secrets_are_not_locked_out() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let (tenant, id, token) = cloud.account("shop", &["admin"]).await;
    let path = format!("/v3/users/{id}/application_credentials");
    let sign_in_by = async |secret: &str| {
        let mut body =
            json!({"application_credential": {"name": if secret.is_empty() { "made" } else { "chosen" }}});
        if !secret.is_empty() {
            body["application_credential"]["secret"] = json!(secret);
        }
        let made = cloud.json(Method::POST, &path, &token, body).await.expect(201).value();
        let made = &made["application_credential"];
        json!({"auth": {"identity": {"methods": ["application_credential"],
            "application_credential": {"id": made["id"], "secret": made["secret"]}}}})
    };
    let (strong, weak) = (sign_in_by("").await, sign_in_by("chosen by hand").await);
    let weak_key = format!("/v2.0/users/{id}/OS-KSADM/credentials/RAX-KSKEY:apiKeyCredentials");
    let body = json!({"RAX-KSKEY:apiKeyCredentials": {"username": "shop", "apiKey": "chosen-key"}});
    cloud.json(Method::POST, &weak_key, &token, body).await.expect(200);
    for _ in 0..10 {
        cloud.sign_in("shop", "wrong password").await.expect(401);
        cloud.sign_in("admin", "wrong password").await.expect(401);
    }
    let v3 = async |body: &serde_json::Value| {
        cloud.json(Method::POST, "/v3/auth/tokens", "", body.clone()).await.status.as_u16()
    };
    assert_eq!((v3(&strong).await, v3(&weak).await), (201, 429));
    let v1 = async |user: &str, key: &str| {
        let headers = [("x-auth-user", user), ("x-auth-key", key)];
        cloud.send(Method::GET, "/v1.0", &headers, "").await.status.as_u16()
    };
    assert_eq!((v1("admin", API_KEY).await, v1("shop", "chosen-key").await), (204, 429));
    // Wrong ones of the same form are counted as all others.
    let guess = "b86850deb2742ec3cb41518e26aa2d89";
    assert_eq!(v1("admin", guess).await, 429);
    let elsewhere = cloud.seen_from("198.51.100.7");
    let key = json!({"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": "admin", "apiKey": guess}}});
    for _ in 0..10 {
        elsewhere.json(Method::POST, "/v2.0/tokens", "", key.clone()).await.expect(401);
    }
    elsewhere.sign_in("admin", PASSWORD).await.expect(413);
    let _ = tenant;
}

on_each_engine! {
    async fn known_addresses_survive_a_restart(location: &Location) {
        let cloud = Cloud::start(location).await;
        cloud.admin().await;
        let ipv6 = cloud.seen_from("2001:db8::1");
        ipv6.admin().await;
        let Cloud { identity, router, clock, .. } = cloud;
        drop((identity, router, ipv6));
        let cloud = Cloud::again(location, clock).await;
        for n in 0..100 {
            cloud.seen_from(&format!("198.51.100.{n}")).sign_in("admin", "wrong password").await.expect(401);
        }
        cloud.seen_from("203.0.113.1").sign_in("admin", PASSWORD).await.expect(413);
        for known in ["192.0.2.1", "2001:db8::ffff"] {
            cloud.seen_from(known).admin().await;
        }
        // For a month from the last sign-in.
        cloud.clock.advance(Duration::from_secs(31 * 24 * 3600));
        for n in 0..100 {
            cloud.seen_from(&format!("198.51.100.{n}")).sign_in("admin", "wrong password").await.expect(401);
        }
        cloud.sign_in("admin", PASSWORD).await.expect(413);
    }
}

/// Of 200 concurrent wrong passwords ten are checked, as if they came one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_guesses_are_counted_before_they_are_checked() {
    let scratch = database::testing::TestLocation::sqlite();
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
