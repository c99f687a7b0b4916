//! A client of this dialect, for synchronising to other clouds (Swift, Container to container synchronisation).

use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use web::client::{Client, Place};
use work::Time;

use super::answer::set;
use super::ranges;
use crate::model::entry::Object;
use crate::model::metadata::bytes_of;
use crate::model::realms::{sign, signed_text};
use crate::model::shape::Shape;
use crate::model::time;
use crate::service::{Content, Remote, SyncItem};

/// Time limit for a request without a body.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Minimum transfer rate, in bytes per second.
const SLOWEST: u64 = 64 << 10;

/// Other clouds over HTTP.
#[derive(Default)]
pub struct Clouds(Client);

impl Clouds {
    async fn ask(
        &self,
        sync_item: &SyncItem,
        method: Method,
        at: Time,
        (query, mut headers, body): (&str, HeaderMap, Body),
        within: Duration,
    ) -> Result<http::Response<()>, String> {
        let to = &sync_item.destination.container;
        let path = format!("{}/{}", to.path, web::query::encode(sync_item.name.as_bytes(), true));
        let timestamp = time::internal(at);
        set(&mut headers, HOST.as_str(), to.authority());
        set(&mut headers, USER_AGENT.as_str(), concat!("nephos/", env!("CARGO_PKG_VERSION")));
        set(&mut headers, "x-timestamp", &timestamp);
        match &sync_item.destination.realm {
            Some((realm, key)) => {
                let mut nonce = [0u8; 16];
                aws_lc_rs::rand::fill(&mut nonce).map_err(|_| "no random bytes".to_owned())?;
                let nonce = hex::encode(nonce);
                let text = signed_text(method.as_str(), &path, &timestamp, &nonce, &sync_item.key);
                set(&mut headers, "x-container-sync-auth", format!("{realm} {nonce} {}", sign(key, &text)));
            }
            None => set(&mut headers, "x-container-sync-key", &sync_item.key),
        }
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = format!("{path}{query}").parse().map_err(|e| format!("{path}: {e}"))?;
        *request.headers_mut() = headers;
        let place = Place { secure: to.secure, host: to.host.clone(), port: to.port };
        self.0.send(&place, request, within).await.map_err(|e| format!("{}: {e}", to.authority()))
    }
}

fn refused(status: StatusCode, method: &str) -> String {
    format!("the other cloud responded to {method} with {}", status.as_u16())
}

#[async_trait]
impl Remote for Clouds {
    async fn changed(&self, sync_item: &SyncItem) -> Result<Option<Time>, String> {
        // Ask for a manifest or link itself, not for what it refers to.
        let query = "?multipart-manifest=get&symlink=get";
        let what = (query, HeaderMap::new(), Body::empty());
        let answer = self.ask(sync_item, Method::HEAD, Time(0), what, ANSWER_WITHIN).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let stamp = answer.headers().get("x-timestamp").and_then(|value| value.to_str().ok());
                Ok(stamp.and_then(time::parse))
            }
            status => Err(refused(status, "HEAD")),
        }
    }

    async fn put(&self, sync_item: &SyncItem, object: &Object, content: Content) -> Result<(), String> {
        let what = ("", headers_of(object), ranges::body(content));
        let within = ANSWER_WITHIN + Duration::from_secs(object.size / SLOWEST);
        let answer = self.ask(sync_item, Method::PUT, object.changed, what, within).await?;
        if answer.status().is_success() { Ok(()) } else { Err(refused(answer.status(), "PUT")) }
    }

    async fn delete(&self, sync_item: &SyncItem, since: Time) -> Result<(), String> {
        let what = ("", HeaderMap::new(), Body::empty());
        let answer = self.ask(sync_item, Method::DELETE, since, what, ANSWER_WITHIN).await?;
        match answer.status() {
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => Ok(()),
            status if status.is_success() => Ok(()),
            status => Err(refused(status, "DELETE")),
        }
    }
}

/// Returns the headers with which another cloud stores an identical object.
fn headers_of(object: &Object) -> HeaderMap {
    let mut headers = HeaderMap::new();
    set(&mut headers, CONTENT_LENGTH.as_str(), object.size.to_string());
    set(&mut headers, CONTENT_TYPE.as_str(), &object.content_type);
    set(&mut headers, ETAG.as_str(), &object.etag);
    for (name, value) in &object.metadata.0 {
        set(&mut headers, name, bytes_of(value));
    }
    if let Some(expires) = object.expires {
        set(&mut headers, "x-delete-at", expires.seconds().to_string());
    }
    match &object.shape {
        None => {}
        Some(Shape::Manifest { .. }) => set(&mut headers, "x-static-large-object", "True"),
        Some(Shape::Link(link)) => {
            let encode = |text: &str, slash| web::query::encode(text.as_bytes(), slash);
            let place = format!("{}/{}", encode(&link.container, false), encode(&link.name, true));
            set(&mut headers, "x-symlink-target", place);
            if let Some(account) = &link.account {
                set(&mut headers, "x-symlink-target-account", encode(account, false));
            }
            if let Some(etag) = &link.etag {
                set(&mut headers, "x-symlink-target-etag", etag);
            }
            if let Some(size) = link.size.filter(|_| link.etag.is_some()) {
                set(&mut headers, "x-symlink-target-bytes", size.to_string());
            }
        }
    }
    headers
}
