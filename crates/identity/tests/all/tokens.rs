//! Tokens as other services see them: valid for a day, and invalid at once when revoked.

use std::sync::Arc;
use std::time::Duration;

use database::on_each_engine;
use http::Method;
use identity::{Denied, Identity, Product, Right, TenantChange, UserChange};
use serde_json::json;

use crate::cloud::{API_KEY, Cloud, PASSWORD, key, settings};

async fn v1(cloud: &Cloud) -> String {
    let headers = [("x-auth-user", "admin"), ("x-auth-key", API_KEY)];
    let reply = cloud.send(Method::GET, "/v1.0", &headers, "").await.expect(204);
    reply.header("x-auth-token").to_owned()
}

async fn is_good(identity: &Identity, token: &str) -> bool {
    match identity.authenticate(token).await {
        Ok(_) => true,
        Err(Denied::Invalid) => false,
        Err(other) => panic!("{other}"),
    }
}

on_each_engine! {
    async fn a_token_is_valid_for_a_day_and_reissued_until_its_last_hour(location: &Location) {
        let cloud = Cloud::start(location).await;
        let first = v1(&cloud).await;
        cloud.clock.advance(Duration::from_secs(23 * 3600 - 1));
        assert_eq!(v1(&cloud).await, first);
        cloud.clock.advance(Duration::from_secs(1));
        let second = v1(&cloud).await;
        assert_ne!(second, first);
        assert!(is_good(&cloud.identity, &first).await);
        cloud.clock.advance(Duration::from_secs(3600));
        assert!(!is_good(&cloud.identity, &first).await);
        assert!(is_good(&cloud.identity, &second).await);
        assert_eq!(v1(&cloud).await, second);
    }
}

on_each_engine! {
    async fn invalid_tokens_are_denied(location: &Location) {
        let cloud = Cloud::start(location).await;
        for token in ["", "x", &"0".repeat(32), &"0".repeat(300), "'; DROP TABLE tokens; --"] {
            assert!(!is_good(&cloud.identity, token).await, "{token}");
        }
    }
}

on_each_engine! {
    async fn changing_a_user_revokes_its_tokens_at_once(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.identity.administration();
        admin.create_tenant("shop", "").await.unwrap();
        let (id, token) = cloud.user("jdoe", "shop", &[]).await;
        assert!(is_good(&cloud.identity, &token).await);

        let password = UserChange { password: Some("another password".into()), ..UserChange::default() };
        admin.set_user("jdoe", password).await.unwrap();
        assert!(!is_good(&cloud.identity, &token).await);
        cloud.sign_in("jdoe", PASSWORD).await.expect(401);
        let token = cloud.token("jdoe", "another password").await;

        let disabled = UserChange { enabled: Some(false), ..UserChange::default() };
        admin.set_user(&id, disabled).await.unwrap();
        assert!(!is_good(&cloud.identity, &token).await);
        let refused = cloud.sign_in("jdoe", "another password").await.expect(403);
        assert_eq!(refused.value()["userDisabled"]["code"], 403);

        let enabled = UserChange { enabled: Some(true), ..UserChange::default() };
        admin.set_user(&id, enabled).await.unwrap();
        assert!(!is_good(&cloud.identity, &token).await);
        let token = cloud.token("jdoe", "another password").await;
        admin.delete_user("jdoe").await.unwrap();
        assert!(!is_good(&cloud.identity, &token).await);
        cloud.sign_in("jdoe", "another password").await.expect(401);
    }
}

on_each_engine! {
    async fn role_changes_apply_to_tokens_at_once(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, user, token) = cloud.account("shop", &["none"]).await;
        let may = async |product, right| {
            let caller = cloud.identity.authenticate(&token).await.unwrap();
            caller.may(&tenant, product, right)
        };
        assert!(!may(Product::Compute, Right::Observe).await);
        let admin = cloud.identity.administration();
        admin.grant_role(&user, "nova:creator", Some(&tenant)).await.unwrap();
        assert!(may(Product::Compute, Right::Create).await);
        assert!(!may(Product::Compute, Right::Administer).await);
        assert!(!may(Product::ObjectStore, Right::Observe).await);
        admin.grant_role(&user, "observer", Some("shop")).await.unwrap();
        assert!(may(Product::ObjectStore, Right::Observe).await);
        assert!(!may(Product::ObjectStore, Right::Create).await);
        admin.revoke_role(&user, "nova:creator", Some("shop")).await.unwrap();
        assert!(!may(Product::Compute, Right::Create).await);
        assert!(may(Product::Compute, Right::Observe).await);
        admin.grant_role(&user, "operator", None).await.unwrap();
        assert!(cloud.identity.authenticate(&token).await.unwrap().operator);
        admin.revoke_role(&user, "operator", None).await.unwrap();
        assert!(!cloud.identity.authenticate(&token).await.unwrap().operator);
        admin.grant_role(&user, "service", Some("shop")).await.unwrap();
        assert!(cloud.identity.authenticate(&token).await.unwrap().service);
    }
}

on_each_engine! {
    async fn a_disabled_tenant_has_no_good_tokens(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (_, _, token) = cloud.account("shop", &[]).await;
        let admin = cloud.identity.administration();
        let disabled = TenantChange { enabled: Some(false), ..TenantChange::default() };
        admin.set_tenant("shop", disabled).await.unwrap();
        assert!(!is_good(&cloud.identity, &token).await);
        cloud.sign_in("shop", PASSWORD).await.expect(403);
    }
}

on_each_engine! {
    async fn a_token_survives_a_restart_and_its_revocation_too(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (kept, gone) = (v1(&cloud).await, cloud.admin().await);
        cloud.delete("/v2.0/tokens", &gone).await.expect(204);
        assert!(!is_good(&cloud.identity, &gone).await);
        drop(cloud.router);
        drop(cloud.identity);
        let again = Identity::open(location, cloud.clock, key(), settings()).await.unwrap();
        assert_eq!(again.bootstrap(None, None).await.unwrap(), None);
        assert!(is_good(&again, &kept).await);
        assert!(!is_good(&again, &gone).await);
    }
}

#[tokio::test]
async fn another_process_sees_a_revocation_at_once() {
    let scratch = database::testing::TestLocation::postgres();
    let mut shared = settings();
    shared.alone = false;
    let cloud = Cloud::start_with(&scratch.location, shared.clone()).await;
    let other = Identity::open(&scratch.location, cloud.clock.clone(), key(), shared).await.unwrap();
    let token = cloud.admin().await;
    assert!(is_good(&other, &token).await);
    cloud.delete("/v2.0/tokens", &token).await.expect(204);
    assert!(!is_good(&other, &token).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revocation_wins_over_concurrent_readers() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    for _ in 0..50 {
        let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {
            "name": "admin", "password": PASSWORD, "domain": {"id": "default"}}}}}});
        let reply = cloud.json(Method::POST, "/v3/auth/tokens", "", body).await.expect(201);
        let token = reply.header("x-subject-token").to_owned();
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (identity, token) = (Arc::clone(&cloud.identity), token.clone());
                tokio::spawn(async move {
                    while identity.authenticate(&token).await.is_ok() {
                        // The unit runs on these threads, too.
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        cloud.delete("/v2.0/tokens", &token).await.expect(204);
        assert!(!is_good(&cloud.identity, &token).await);
        for reader in readers {
            reader.await.unwrap();
        }
        assert!(!is_good(&cloud.identity, &token).await);
    }
}

on_each_engine! {
    async fn a_user_at_the_token_limit_loses_the_oldest(location: &Location) {
        let limited = identity::Settings { tokens_per_user: 5, ..settings() };
        let cloud = Cloud::start_with(location, limited).await;
        let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {
            "name": "admin", "password": PASSWORD, "domain": {"id": "default"}}}}}});
        let mut tokens = Vec::new();
        for _ in 0..12 {
            let reply = cloud.json(Method::POST, "/v3/auth/tokens", "", body.clone()).await.expect(201);
            tokens.push(reply.header("x-subject-token").to_owned());
            assert!(is_good(&cloud.identity, tokens.last().unwrap()).await);
            cloud.clock.advance(Duration::from_secs(1));
        }
        let (ended, good) = tokens.split_at(7);
        for token in ended {
            assert!(!is_good(&cloud.identity, token).await);
        }
        for token in good {
            assert!(is_good(&cloud.identity, token).await);
        }
        // Those of an application credential are counted apart.
        let session = good.last().unwrap();
        let id = cloud.identity.authenticate(session).await.unwrap().user_id.clone();
        let made = cloud.json(Method::POST, &format!("/v3/users/{id}/application_credentials"), session,
             json!({"application_credential": {"name": "a"}})).await.expect(201).value();
        let body = json!({"auth": {"identity": {"methods": ["application_credential"], "application_credential":
            {"id": made["application_credential"]["id"], "secret": made["application_credential"]["secret"]}}}});
        let mut delegated = Vec::new();
        for _ in 0..7 {
            let reply = cloud.json(Method::POST, "/v3/auth/tokens", "", body.clone()).await.expect(201);
            delegated.push(reply.header("x-subject-token").to_owned());
            cloud.clock.advance(Duration::from_secs(1));
        }
        for token in good.iter().chain(&delegated[2..]) {
            assert!(is_good(&cloud.identity, token).await);
        }
        assert!(!is_good(&cloud.identity, &delegated[1]).await);
        // Other users' tokens do not count.
        let (_, _, other) = cloud.account("shop", &[]).await;
        assert!(is_good(&cloud.identity, &other).await && is_good(&cloud.identity, &good[0]).await);
    }
}
