//! The functions behind the command line and the admin socket; the first start; the deletion of tenants.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use database::on_each_engine;
use http::Method;
use identity::{Error, Identity, NewTenantUser, RoleView, TenantChange, TenantDataOwner, UserChange};
use work::{Clock, Time};

use crate::cloud::{API_KEY, Cloud, PASSWORD, START, key, settings};

on_each_engine! {
    async fn the_first_start_creates_one_operator(location: &Location) {
        let clock = Clock::frozen_at(Time::from_seconds(START));
        let identity = Identity::open(location, clock, key(), settings()).await.unwrap();
        let first = identity.bootstrap(None, None).await.unwrap().expect("an empty database");
        assert_eq!((first.tenant_id.as_str(), first.tenant_name.as_str()), ("100001", "admin"));
        assert_eq!(first.user_name, "admin");
        assert_eq!(first.api_key.len(), 32);
        assert!(first.password.len() >= 16);
        assert_eq!(identity.bootstrap(Some("other".into()), None).await.unwrap(), None);
        let shown = identity.administration().user("admin").await.unwrap();
        let at = |tenant: Option<&str>, domain: Option<&str>, role: &str| RoleView {
            role: role.into(), tenant: tenant.map(str::to_owned), domain: domain.map(str::to_owned),
        };
        assert_eq!(shown.roles, [
            at(None, None, "operator"), at(None, Some("default"), "admin"), at(Some("100001"), None, "admin"),
        ]);
        assert_eq!(shown.tenant_name.as_deref(), Some("admin"));
    }
}

on_each_engine! {
    async fn the_last_operator_cannot_be_removed(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.identity.administration();
        let last = |outcome: Result<(), Error>| match outcome {
            Err(Error::Conflict { message }) => message.contains("no operator left"),
            _ => false,
        };
        let disable = || UserChange { enabled: Some(false), ..UserChange::default() };
        assert!(last(admin.delete_user("admin").await));
        assert!(last(admin.set_user("admin", disable()).await.map(|_| ())));
        assert!(last(admin.revoke_role("admin", "operator", None).await));
        admin.create_tenant("shop", "").await.unwrap();
        let new = NewTenantUser { name: "jdoe".into(), tenant: "shop".into(), ..NewTenantUser::default() };
        admin.create_user(new).await.unwrap();
        admin.grant_role("jdoe", "operator", None).await.unwrap();
        admin.set_user("jdoe", disable()).await.unwrap();
        assert!(last(admin.delete_user("admin").await), "a disabled operator does not count");
        admin.set_user("jdoe", UserChange { enabled: Some(true), ..UserChange::default() }).await.unwrap();
        admin.delete_user("admin").await.unwrap();
        // Its role on the whole cloud keeps the user when its tenant is deleted.
        admin.delete_tenant("shop").await.unwrap();
        assert!(last(admin.delete_user("jdoe").await));
    }
}

on_each_engine! {
    async fn tenants_and_users_are_created_shown_changed_and_deleted(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.identity.administration();
        let tenant = admin.create_tenant("shop", "A shop").await.unwrap();
        assert_eq!((tenant.id.as_str(), tenant.name.as_str(), tenant.enabled), ("100002", "shop", true));
        assert_eq!(tenant.created, "2010-10-10T12:00:00Z");
        assert!(matches!(admin.create_tenant("shop", "").await, Err(Error::Conflict { .. })));
        assert!(matches!(admin.create_tenant("a/b", "").await, Err(Error::Invalid { .. })));

        let new = NewTenantUser { name: "jdoe".into(), tenant: "shop".into(), ..NewTenantUser::default() };
        let user = admin.create_user(new.clone()).await.unwrap();
        assert_eq!(user.tenant.as_deref(), Some("100002"));
        assert_eq!(user.roles, [RoleView { role: "admin".into(), tenant: Some("100002".into()), domain: None }]);
        let (password, api_key) = (user.password.unwrap(), user.api_key.unwrap());
        cloud.token("jdoe", &password).await;
        let headers = [("x-auth-user", "jdoe"), ("x-auth-key", api_key.as_str())];
        cloud.send(Method::GET, "/v1.0", &headers, "").await.expect(204);
        assert!(matches!(admin.create_user(new).await, Err(Error::Conflict { .. })));

        let given = NewTenantUser {
            name: "ops".into(), tenant: "100002".into(), password: Some(PASSWORD.into()),
            api_key: Some("my-own-api-key".into()), roles: vec!["nova:admin".into(), "observer".into()],
            email: Some("ops@example.com".into()),
        };
        let ops = admin.create_user(given).await.unwrap();
        assert_eq!((ops.password, ops.api_key.as_deref()), (None, Some("my-own-api-key")));
        assert_eq!(ops.roles.len(), 2);
        let none = NewTenantUser {
            name: "guest".into(), tenant: "shop".into(), roles: vec!["none".into()], ..NewTenantUser::default()
        };
        assert_eq!(admin.create_user(none).await.unwrap().roles, []);
        let unknown = NewTenantUser {
            name: "x".into(), tenant: "shop".into(), roles: vec!["nonsense".into()], ..NewTenantUser::default()
        };
        assert!(matches!(admin.create_user(unknown).await, Err(Error::NotFound { what: "role", .. })));
        assert!(matches!(admin.user("x").await, Err(Error::NotFound { .. })), "the creation was rolled back");

        let names: Vec<String> = admin.users(None).await.unwrap().into_iter().map(|user| user.name).collect();
        assert_eq!(names.len(), 4);
        let change = UserChange {
            name: Some("operations".into()), email: Some("o@example.com".into()), tenant: Some("admin".into()),
            api_key: Some("another-api-key".into()), ..UserChange::default()
        };
        let changed = admin.set_user("ops", change).await.unwrap();
        assert_eq!((changed.name.as_str(), changed.tenant.as_deref()), ("operations", Some("100001")));
        let headers = [("x-auth-user", "operations"), ("x-auth-key", "another-api-key")];
        cloud.send(Method::GET, "/v1.0", &headers, "").await.expect(204);
        let fresh = admin.reset_api_key("operations").await.unwrap();
        assert_eq!(fresh.len(), 32);
        cloud.send(Method::GET, "/v1.0", &headers, "").await.expect(401);

        let renamed = TenantChange { name: Some("store".into()), ..TenantChange::default() };
        assert_eq!(admin.set_tenant("100002", renamed).await.unwrap().name, "store");
        assert!(matches!(admin.tenant("shop").await, Err(Error::NotFound { .. })));
        let all: Vec<String> = admin.tenants(None).await.unwrap().into_iter().map(|t| t.id).collect();
        assert_eq!(all, ["100001", "100002"]);
        admin.delete_user("operations").await.unwrap();
        assert!(matches!(admin.delete_user("operations").await, Err(Error::NotFound { .. })));
        admin.delete_tenant("store").await.unwrap();
        let left = admin.user("jdoe").await.unwrap();
        assert_eq!((left.tenant, left.roles), (None, Vec::new()), "users outlive their tenant");
        let anew: u64 = admin.create_tenant("store", "").await.unwrap().id.parse().unwrap();
        assert!(anew > 100_002, "ids are never reused");
    }
}

on_each_engine! {
    async fn every_change_is_in_the_audit_log_without_secrets(location: &Location) {
        let cloud = Cloud::start(location).await;
        let token = cloud.admin().await;
        let body = serde_json::json!({"project": {"name": "shop"}});
        let made = cloud.json(Method::POST, "/v3/projects", &token, body).await.expect(201).value();
        let tenant = made["project"]["id"].as_str().unwrap();
        let (user, _) = cloud.user("jdoe", tenant, &["observer"]).await;
        let admin = cloud.identity.administration();
        let change = UserChange { password: Some("hunter2hunter2".into()), ..UserChange::default() };
        admin.set_user("jdoe", change).await.unwrap();
        admin.reset_api_key("jdoe").await.unwrap();
        admin.revoke_role("jdoe", "observer", Some(tenant)).await.unwrap();
        admin.delete_user("jdoe").await.unwrap();
        let log = admin.audit(Some(&user), 100).await.unwrap();
        let actions: Vec<&str> = log.iter().rev().map(|entry| entry.action.as_str()).collect();
        assert_eq!(actions, [
            "user.create", "role.grant", "user.update", "user.api_key.set", "role.revoke", "user.delete",
        ]);
        assert!(log.iter().all(|entry| entry.actor_name == "console"));
        let by_admin = admin.audit(Some(tenant), 100).await.unwrap();
        assert_eq!((by_admin[0].action.as_str(), by_admin[0].actor_name.as_str()), ("tenant.create", "admin"));
        for entry in admin.audit(None, 1000).await.unwrap() {
            assert!(!entry.detail.contains("hunter2") && !entry.detail.contains(API_KEY), "{entry:?}");
        }
    }
}

/// A service that fails at first.
struct Other {
    failures: AtomicU32,
    deleted: Mutex<Vec<String>>,
}

#[async_trait]
impl TenantDataOwner for Other {
    fn service(&self) -> &'static str {
        "other"
    }

    async fn delete_tenant_data(&self, tenant_id: &str) -> Result<(), String> {
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err("not now".into());
        }
        self.deleted.lock().unwrap().push(tenant_id.to_owned());
        Ok(())
    }
}

on_each_engine! {
    async fn a_deleted_tenants_data_is_removed_even_after_a_crash(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, _, _) = cloud.account("shop", &[]).await;
        // Deleted while no job runner is active, as if the process had ended right after the response.
        cloud.identity.administration().delete_tenant(&tenant).await.unwrap();
        let clock = cloud.clock.clone();
        drop(cloud);
        let again = Identity::open(location, clock.clone(), key(), settings()).await.unwrap();
        let other = Arc::new(Other { failures: AtomicU32::new(2), deleted: Mutex::default() });
        let runner = again.start_tenant_deletions(vec![other.clone()]);
        tokio::time::timeout(Duration::from_secs(20), async {
            while other.deleted.lock().unwrap().is_empty() {
                clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the job retries until the service succeeds");
        let second = again.administration().create_tenant("second", "").await.unwrap();
        again.administration().delete_tenant("second").await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), async {
            while other.deleted.lock().unwrap().len() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("a new deletion starts without delay");
        runner.stop().await;
        assert_eq!(*other.deleted.lock().unwrap(), [tenant, second.id]);
    }
}

#[tokio::test]
async fn another_master_key_opens_no_api_key() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let clock = cloud.clock.clone();
    drop(cloud);
    let other = Arc::new(identity::MasterKey::from_text(&"11".repeat(32)).unwrap());
    let identity = Identity::open(&scratch.location, clock.clone(), other, settings()).await.unwrap();
    let request = http::Request::get("/v1.0").header("x-auth-user", "admin").header("x-auth-key", API_KEY);
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(identity.router(), request).await.unwrap();
    assert_eq!(response.status(), 503);
}
