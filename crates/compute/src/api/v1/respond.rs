//! Plain responses: a status, and a body in either format.

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use web::format::Formatted;
use web::{Format, Response};

/// Returns a response without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Returns a response with a body.
pub(super) fn respond(status: StatusCode, format: Format, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let media = match format {
        Format::Json => HeaderValue::from_static("application/json"),
        Format::Xml => HeaderValue::from_static("application/xml; charset=UTF-8"),
    };
    response.headers_mut().insert(CONTENT_TYPE, media);
    response.extensions_mut().insert(Formatted);
    response
}
