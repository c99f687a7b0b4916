//! Compresses listings and reports with gzip on request. Objects are sent as they were stored.

use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use http::{HeaderMap, HeaderValue};
use web::{Response, gzip};

/// Size from which a response is compressed on a blocking thread, in bytes.
const LARGE_BYTES: usize = 64 << 10;

/// Compresses a response whose body is in memory, if the request accepts gzip.
pub(super) async fn packed(headers: &HeaderMap, response: Response) -> Response {
    if !headers.contains_key(ACCEPT_ENCODING) || !gzip::accepted(headers) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(whole) = web::body::read(body, usize::MAX).await else {
        // Cannot happen: the body is in memory.
        return Response::from_parts(parts, Body::empty());
    };
    if whole.is_empty() {
        return Response::from_parts(parts, Body::empty());
    }
    let small = pack(whole).await;
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let vary = match parts.headers.get(VARY).and_then(|value| value.to_str().ok()) {
        Some(other) => format!("{other}, Accept-Encoding"),
        None => "Accept-Encoding".to_owned(),
    };
    super::answer::set(&mut parts.headers, VARY.as_str(), vary);
    Response::from_parts(parts, Body::from(small))
}

async fn pack(whole: Bytes) -> Vec<u8> {
    if whole.len() < LARGE_BYTES {
        return gzip::packed(&whole);
    }
    let packing = tokio::task::spawn_blocking(move || gzip::packed(&whole));
    packing.await.unwrap_or_default()
}
