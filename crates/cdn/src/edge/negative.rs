//! Error responses.

use axum::body::Body;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::OriginError;

/// The methods that an edge accepts.
pub(super) const METHODS: &str = "GET, HEAD, OPTIONS";
/// Seconds that a negative response may be kept.
pub(super) const NEGATIVE_TTL: u32 = 30;

/// How long clients and proxies may cache a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasting {
    /// Not at all.
    Not,
    /// 30 seconds.
    Briefly,
    /// A day, for what does not change.
    Day,
}

/// An error response. Boxed, because most results are not errors.
pub(super) type Page = Box<Response<Body>>;

/// Creates an error page from a sentence without a full stop.
pub(super) fn refusal(status: StatusCode, sentence: &str, lasting: Lasting) -> Page {
    let title = status.canonical_reason().unwrap_or("Refused");
    let page = format!("<html><h1>{title}</h1><p>{sentence}.</p></html>");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
    headers.insert(CONTENT_LENGTH, page.len().into());
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static(match lasting {
            Lasting::Not => "no-store",
            Lasting::Briefly => "max-age=30, public",
            Lasting::Day => "max-age=86400, public",
        }),
    );
    *response.body_mut() = Body::from(page);
    Box::new(response)
}

/// Removes the body of a response to HEAD.
pub(super) fn for_method(page: Response<Body>, is_head: bool) -> Response<Body> {
    if is_head { page.map(|_| Body::empty()) } else { page }
}

pub(super) fn not_found() -> Page {
    refusal(StatusCode::NOT_FOUND, "The resource could not be found", Lasting::Briefly)
}

pub(super) fn method() -> Page {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let mut response = refusal(status, "The method is not allowed for this resource", Lasting::Day);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
    response
}

/// The response when the origin fails and no copy may be served.
pub(super) fn unavailable(error: &OriginError) -> Page {
    tracing::warn!(%error, "the origin cannot be asked");
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let mut response = refusal(status, "The origin is unavailable; try again", Lasting::Not);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}
