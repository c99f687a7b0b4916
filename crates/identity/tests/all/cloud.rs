//! A cloud with identity alone, and requests to it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use database::Location;
use http::{HeaderMap, Method, Request, StatusCode};
use identity::{Identity, MasterKey, NewTenantUser, Settings};
use serde_json::Value;
use tower::ServiceExt;
use web::listener::Peer;
use web::xml::Element;
use work::{Clock, Time};

pub const PASSWORD: &str = "correct horse";
pub const API_KEY: &str = "a86850deb2742ec3cb41518e26aa2d89";
pub const PUBLIC: &str = "http://cloud.test:8080";
/// 2010-10-10T12:00:00Z.
pub const START: i64 = 1_286_712_000;

pub struct Cloud {
    pub identity: Arc<Identity>,
    pub clock: Clock,
    pub router: Router,
    peer: SocketAddr,
}

pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

/// Settings with cheap passwords.
pub fn settings() -> Settings {
    let mut settings = Settings::new(PUBLIC);
    settings.password_memory_kib = 64;
    settings
}

pub fn key() -> Arc<MasterKey> {
    Arc::new(MasterKey::from_text(&"5a".repeat(32)).unwrap())
}

impl Cloud {
    /// Starts a cloud with its first user `admin` of tenant 100001, on its own clock.
    pub async fn start(location: &Location) -> Self {
        Self::start_with(location, settings()).await
    }

    pub async fn start_with(location: &Location, settings: Settings) -> Self {
        let clock = Clock::frozen_at(Time::from_seconds(START));
        let identity = Identity::open(location, clock.clone(), key(), settings).await.unwrap();
        identity.bootstrap(Some(PASSWORD.into()), Some(API_KEY.into())).await.unwrap();
        let router = identity.router();
        Self { identity, clock, router, peer: "192.0.2.1:4711".parse().unwrap() }
    }

    /// A cloud that was started before, by a process that has ended.
    pub async fn again(location: &Location, clock: Clock) -> Self {
        let identity = Identity::open(location, clock.clone(), key(), settings()).await.unwrap();
        let router = identity.router();
        Self { identity, clock, router, peer: "192.0.2.1:4711".parse().unwrap() }
    }

    /// Returns the same cloud as seen from another address.
    pub fn seen_from(&self, address: &str) -> Self {
        Self {
            identity: Arc::clone(&self.identity),
            clock: self.clock.clone(),
            router: self.router.clone(),
            peer: SocketAddr::new(address.parse().unwrap(), 4711),
        }
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        request.extensions_mut().insert(Peer(self.peer));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = web::body::read(body, 1 << 20).await.unwrap();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub async fn get(&self, path: &str, token: &str) -> Reply {
        self.send(Method::GET, path, &[("x-auth-token", token)], "").await
    }

    pub async fn delete(&self, path: &str, token: &str) -> Reply {
        self.send(Method::DELETE, path, &[("x-auth-token", token)], "").await
    }

    pub async fn json(&self, method: Method, path: &str, token: &str, body: Value) -> Reply {
        let headers = [("x-auth-token", token), ("content-type", "application/json")];
        self.send(method, path, &headers, &body.to_string()).await
    }

    /// Signs in by v2.0 with a password, scoped to the user's own tenant.
    pub async fn token(&self, user: &str, password: &str) -> String {
        let reply = self.sign_in(user, password).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        reply.value()["access"]["token"]["id"].as_str().unwrap().to_owned()
    }

    pub async fn sign_in(&self, user: &str, password: &str) -> Reply {
        let body =
            serde_json::json!({"auth": {"passwordCredentials": {"username": user, "password": password}}});
        self.send(Method::POST, "/v2.0/tokens", &[("content-type", "application/json")], &body.to_string())
            .await
    }

    pub async fn admin(&self) -> String {
        self.token("admin", PASSWORD).await
    }

    /// Creates a tenant of that name with a user of that name and these roles. Returns the tenant's id, the user's id and
    /// its token.
    pub async fn account(&self, name: &str, roles: &[&str]) -> (String, String, String) {
        let administration = self.identity.administration();
        let tenant = administration.create_tenant(name, "").await.unwrap();
        let (user, token) = self.user(name, &tenant.id, roles).await;
        (tenant.id, user, token)
    }

    /// Creates a user of a tenant. Returns its id and its token.
    pub async fn user(&self, name: &str, tenant: &str, roles: &[&str]) -> (String, String) {
        let new = NewTenantUser {
            name: name.into(),
            tenant: tenant.into(),
            password: Some(PASSWORD.into()),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..NewTenantUser::default()
        };
        let user = self.identity.administration().create_user(new).await.unwrap();
        (user.id, self.token(name, PASSWORD).await)
    }
}

impl Reply {
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub fn xml(&self) -> Element {
        web::xml::parse(self.body.as_bytes()).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Panics with the body unless the status is the expected one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }
}
