//! An edge of a test's own, and requests to it.

use std::sync::Arc;

use axum::body::Body;
use cdn::edge::{CacheSettings, Edge, Origin};
use cdn::model::Names;
use http::{Request, Response};
use http_body_util::BodyExt;
use work::Clock;

use crate::cloud::Answer;

/// The edge's names in tests that need no management.
pub const KEY: &[u8] = b"a key";

pub fn memory() -> CacheSettings {
    CacheSettings { memory: 64 << 20, disk: None }
}

pub async fn edge_over(origin: Arc<dyn Origin>, clock: &Clock) -> Arc<Edge> {
    Edge::open(origin, Names::new("cdn.test:8081", KEY), clock.clone(), &memory(), None).await
}

pub fn request(method: &str, host: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(path);
    if !host.is_empty() {
        request = request.header("host", host);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

pub async fn read(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub async fn ask(edge: &Arc<Edge>, method: &str, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    read(edge.answer(&request(method, host, path, headers)).await).await
}

/// The host of a URI.
pub fn host(uri: &str) -> &str {
    uri.split_once("://").unwrap().1
}
