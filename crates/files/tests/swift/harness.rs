//! A Cloud Files service for one test, and requests to it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use blobs::{Blobs, Local};
use database::{Database, Location, Migration};
use files::api::swift::{Tokens, hosted, router};
use files::{Files, Settings};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use identity::{Caller, Grant, Right, TenantRef};
use meter::Meter;
use tower::ServiceExt;
use work::{Clock, Time};

/// The current version of the service's tables.
const TABLES_VERSION: i64 = 5;

pub struct Cloud {
    pub router: Router,
    pub clock: Clock,
    pub files: Files,
    pub dir: tempfile::TempDir,
    revoked: Revoked,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

struct Fixed(HashMap<&'static str, Arc<Caller>>, Revoked);

/// Tokens that were revoked.
type Revoked = Arc<Mutex<HashSet<String>>>;

#[async_trait]
impl Tokens for Fixed {
    async fn caller(&self, token: &str) -> Option<Arc<Caller>> {
        self.0.get(token).filter(|_| !self.1.lock().unwrap().contains(token)).cloned()
    }
}

fn caller(tenant: &str, right: Option<Right>, operator: bool) -> Arc<Caller> {
    Arc::new(Caller {
        user_id: format!("u-{tenant}"),
        user_name: format!("user{tenant}"),
        domain_id: "default".into(),
        tenant: Some(TenantRef {
            id: tenant.into(),
            name: format!("tenant{tenant}"),
            domain_id: "default".into(),
        }),
        roles: Vec::new(),
        grants: right.map(|right| Grant { product: None, right }).into_iter().collect(),
        operator,
        service: false,
        expires: Time(i64::MAX),
        delegation: None,
    })
}

/// The tokens that tests use, named after their users.
pub const TOKENS: [&str; 6] = ["operator", "owner", "creator", "observer", "none", "stranger"];

pub async fn cloud(location: &Location) -> Cloud {
    cloud_with(location, Settings::default()).await
}

pub async fn cloud_with(location: &Location, settings: Settings) -> Cloud {
    cloud_in(location, settings, tempfile::tempdir().unwrap()).await
}

/// Starts a cloud in an existing directory and database; each policy has its own directory.
pub async fn cloud_in(location: &Location, settings: Settings, dir: tempfile::TempDir) -> Cloud {
    let store =
        |index| Arc::new(Local::open(&dir.path().join(format!("policy-{index}"))).unwrap()) as Arc<dyn Blobs>;
    let stores = (0..settings.policies.0.len()).map(store).collect();
    let cloud = cloud_on(location, settings, dir, stores).await;
    cloud.files.start();
    cloud
}

/// Starts a cloud on stores that the test created, without background tasks.
pub async fn cloud_on(
    location: &Location,
    settings: Settings,
    dir: tempfile::TempDir,
    stores: Vec<Arc<dyn Blobs>>,
) -> Cloud {
    let clock = Clock::frozen_at(Time::from_seconds(1_389_453_423));
    let meter = Meter::open(location, clock.clone()).await.unwrap();
    let files = Files::open_with(location, stores, clock.clone(), meter, settings.clone()).await.unwrap();
    let others = ["tenant3", "tenant4", "tenant5", "tenant6", "tenant7", "tenant8"];
    let mut tokens = HashMap::from([
        ("operator", caller("9", None, true)),
        ("owner", caller("1", Some(Right::Administer), false)),
        ("creator", caller("1", Some(Right::Create), false)),
        ("observer", caller("1", Some(Right::Observe), false)),
        ("none", caller("1", None, false)),
        ("stranger", caller("2", Some(Right::Administer), false)),
    ]);
    tokens.extend(others.map(|name| (name, caller(&name[6..], Some(Right::Administer), false))));
    let revoked = Revoked::default();
    let router = hosted(router(files.clone(), Arc::new(Fixed(tokens, Arc::clone(&revoked)))), &settings);
    Cloud { router, clock, files, dir, revoked }
}

/// Opens the service's database, to inspect it and to create the state that a crash or fault leaves.
pub async fn tables(location: &Location) -> Database {
    let known: Vec<_> = (1..=TABLES_VERSION).map(|version| Migration { version, sql: "" }).collect();
    Database::open(location, "files", &known).await.unwrap()
}

/// Returns the number that a query selects.
pub async fn number(tables: &Database, sql: &'static str) -> i64 {
    tables.row(sql, &[]).await.unwrap().unwrap().get(0).unwrap()
}

impl Cloud {
    /// Revokes a token.
    pub fn revoke(&self, token: &str) {
        self.revoked.lock().unwrap().insert(token.to_owned());
    }

    /// Sends a request; `token` may be empty for an anonymous one.
    pub async fn call(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("x-auth-token", token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn owner(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let empty: &[(&str, &str)] = if method == "PUT" { &[("content-length", "0")] } else { &[] };
        self.call("owner", method, path, &[headers, empty].concat(), Body::empty()).await
    }

    /// Sends a request as the owner, with a body and its length.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let length = body.len().to_string();
        let all = [headers, &[("content-length", length.as_str())]].concat();
        self.call("owner", method, path, &all, body.to_owned()).await
    }

    pub async fn put(&self, path: &str, body: &str) -> Answer {
        let length = body.len().to_string();
        self.call("owner", "PUT", path, &[("content-length", &length)], body.to_owned()).await
    }
}
