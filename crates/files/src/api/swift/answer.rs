//! Builds responses and their headers.

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use web::Response;

/// Returns a response with a body of this media type.
pub(super) fn with(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Returns a response with Swift's default media type.
pub(super) fn html(status: StatusCode, body: String) -> Response {
    with(status, "text/html; charset=UTF-8", body)
}

/// Returns an object's path as headers contain it.
pub(super) fn path(place: &(String, String, String)) -> String {
    let encode = |text: &str, slash| web::query::encode(text.as_bytes(), slash);
    format!("/v1/{}/{}/{}", encode(&place.0, false), encode(&place.1, false), encode(&place.2, true))
}

/// Sets a header; an invalid value is ignored.
pub(super) fn set(headers: &mut HeaderMap, name: &str, value: impl AsRef<[u8]>) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_ref())) {
        headers.insert(name, value);
    }
}
