//! Answers and their headers.

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use web::Response;

/// An answer with a body of this type.
pub(super) fn with(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer of Swift's usual type.
pub(super) fn html(status: StatusCode, body: String) -> Response {
    with(status, "text/html; charset=UTF-8", body)
}

/// The path of an object, as headers show it.
pub(super) fn path(place: &(String, String, String)) -> String {
    let encode = |text: &str, slash| web::query::encode(text.as_bytes(), slash);
    format!("/v1/{}/{}/{}", encode(&place.0, false), encode(&place.1, false), encode(&place.2, true))
}

/// Adds a header; a value that cannot be one is left out.
pub(super) fn set(headers: &mut HeaderMap, name: &str, value: impl AsRef<[u8]>) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_ref())) {
        headers.insert(name, value);
    }
}
