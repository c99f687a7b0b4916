//! A CDN of a test's own, and requests to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use blobs::{Blobs, Local};
use cdn::edge::{Edge, LocalOrigin, Spool};
use cdn::{Cdn, Settings};
use database::Location;
use files::Files;
use files::api::swift::Tokens;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use identity::{Caller, Grant, MasterKey, Product, Right, TenantRef};
use meter::Meter;
use tower::ServiceExt;
use work::{Clock, Time};

/// Saturday, 11 January 2014, 15:17:03 UTC.
pub const START: i64 = 1_389_453_423;
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

pub struct Cloud {
    pub router: Router,
    pub clock: Clock,
    pub files: Files,
    pub cdn: Cdn,
    pub edge: Arc<Edge>,
    pub log: Arc<Spool>,
    pub dir: tempfile::TempDir,
    pub directory: Arc<Directory>,
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

struct Fixed(HashMap<&'static str, Arc<Caller>>);

#[async_trait]
impl Tokens for Fixed {
    async fn caller(&self, token: &str) -> Option<Arc<Caller>> {
        self.0.get(token).cloned()
    }
}

fn caller(tenant: &str, grant: Option<(Option<Product>, Right)>, operator: bool) -> Arc<Caller> {
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
        grants: grant.map(|(product, right)| Grant { product, right }).into_iter().collect(),
        operator,
        service: false,
        expires: Time(i64::MAX),
        delegation: None,
    })
}

/// The tokens that tests use: `store-admin` has `object-store:admin` alone, `compute-admin` has `nova:admin` alone.
pub const TOKENS: [&str; 8] =
    ["operator", "owner", "store-admin", "creator", "observer", "compute-admin", "none", "stranger"];

fn tokens() -> Arc<Fixed> {
    let any = |right| Some((None, right));
    Arc::new(Fixed(HashMap::from([
        ("operator", caller("9", None, true)),
        ("owner", caller("1", any(Right::Administer), false)),
        ("store-admin", caller("1", Some((Some(Product::ObjectStore), Right::Administer)), false)),
        ("creator", caller("1", any(Right::Create), false)),
        ("observer", caller("1", any(Right::Observe), false)),
        ("compute-admin", caller("1", Some((Some(Product::Compute), Right::Administer)), false)),
        ("none", caller("1", None, false)),
        ("stranger", caller("2", any(Right::Administer), false)),
    ])))
}

/// A directory in which all tenants are enabled, or none is.
#[derive(Default)]
pub struct Directory {
    pub is_disabled: AtomicBool,
}

#[async_trait]
impl files::Tenants for Directory {
    async fn state(&self, _tenant: &str) -> Result<files::TenantState, String> {
        let disabled = self.is_disabled.load(Ordering::SeqCst);
        Ok(if disabled { files::TenantState::Disabled } else { files::TenantState::Enabled })
    }
}

pub async fn cloud(location: &Location) -> Cloud {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::frozen_at(Time::from_seconds(START));
    let meter = Meter::open(location, clock.clone()).await.unwrap();
    let store = Arc::new(Local::open(&dir.path().join("blobs")).unwrap()) as Arc<dyn Blobs>;
    let files = Files::open(location, store, clock.clone(), meter, files::Settings::default()).await.unwrap();
    let cdn = open(location, &clock).await;
    let router = files::api::swift::router(files.clone(), tokens());
    let directory = Arc::new(Directory::default());
    let origin = LocalOrigin::new(cdn.clone(), router.clone()).with_tenants(Arc::clone(&directory) as _);
    let origin = Arc::new(origin);
    let log = Spool::open(&dir.path().join("logs")).unwrap();
    let memory = crate::edge::memory();
    let edge = Edge::open(origin, cdn.names().clone(), clock.clone(), &memory, Some(Arc::clone(&log))).await;
    let router = cdn::api::management::on_storage_host(router, cdn.clone(), tokens());
    let router = router.merge(cdn::api::management::router(cdn.clone(), tokens()));
    Cloud { router, clock, files, cdn, edge, log, directory, dir }
}

/// The CDN of a process that starts on what an earlier one left.
pub async fn open(location: &Location, clock: &Clock) -> Cdn {
    let settings =
        Settings { host: "cdn.test:8081".into(), master: Arc::new(MasterKey::from_text(KEY).unwrap()) };
    Cdn::open(location, clock.clone(), settings).await.unwrap()
}

impl Cloud {
    /// `token` may be empty for nobody.
    pub async fn call(&self, token: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(token, method, path, headers, Body::empty()).await
    }

    /// As [`Cloud::call`], with a body.
    pub async fn send(
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
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A call of the management dialect by the account's owner; `path` is below the account.
    pub async fn owner(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.call("owner", method, &format!("/cdn/v1/AUTH_1{path}"), headers).await
    }

    /// Stores an object in the account of the owner, in a container that is made if need be.
    pub async fn store(&self, path: &str, headers: &[(&str, &str)], body: &'static [u8]) {
        let container = path.split('/').nth(1).unwrap();
        let made =
            self.call("owner", "PUT", &format!("/v1/AUTH_1/{container}"), &[("content-length", "0")]).await;
        assert!(made.status.is_success(), "{}", made.status);
        let length = body.len().to_string();
        let headers = [headers, &[("content-length", length.as_str())]].concat();
        let stored = self.send("owner", "PUT", &format!("/v1/AUTH_1{path}"), &headers, body).await;
        assert_eq!(stored.status, 201, "{path}: {}", stored.text());
    }

    /// Publishes a container and returns the host that it is read by.
    pub async fn publish(&self, container: &str, headers: &[(&str, &str)]) -> String {
        let answer = self.owner("PUT", &format!("/{container}"), headers).await;
        assert!(answer.status.is_success(), "{}", answer.status);
        crate::edge::host(answer.header("x-cdn-uri")).to_owned()
    }

    /// A visitor's request.
    pub async fn visit(&self, method: &str, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        crate::edge::ask(&self.edge, method, host, path, headers).await
    }
}
