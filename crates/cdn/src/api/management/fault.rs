//! Faults, as HTML pages.

use axum::body::Body;
use http::{HeaderName, HeaderValue, StatusCode, header};
use hyper::ext::ReasonPhrase;
use web::Response;

use crate::Error;

/// The body of a 498.
const USED_UP: &str = "You have exceeded your daily purge limit.\n";

/// A fault.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    page: String,
    header: Option<(HeaderName, HeaderValue)>,
    reason: Option<&'static [u8]>,
}

impl Fault {
    /// Creates a fault from a sentence without a full stop.
    pub(super) fn page(status: StatusCode, sentence: &str) -> Self {
        let title = status.canonical_reason().unwrap_or("Refused");
        let mut page = format!("<html><h1>{title}</h1><p>");
        web::xml::escape_into(sentence, &mut page);
        page.push_str(".</p></html>");
        Self { status, page, header: None, reason: None }
    }

    pub(super) fn unauthenticated() -> Self {
        let page = Self::page(StatusCode::UNAUTHORIZED, "A valid X-Auth-Token is needed");
        let realm = HeaderValue::from_static("Swift realm=\"cdn\"");
        Self { header: Some((header::WWW_AUTHENTICATE, realm)), ..page }
    }

    pub(super) fn no_such_path() -> Self {
        Self::page(StatusCode::NOT_FOUND, "The resource could not be found")
    }

    pub(super) fn method(allowed: &'static str) -> Self {
        let page = Self::page(StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed for this resource");
        Self { header: Some((header::ALLOW, HeaderValue::from_static(allowed))), ..page }
    }

    /// A rejected purge, with the reason in `X-Purge-Failed-Reason`.
    pub(super) fn purge_failed(reason: &str) -> Self {
        let header = HeaderValue::from_str(reason).ok();
        let name = HeaderName::from_static("x-purge-failed-reason");
        Self { header: header.map(|value| (name, value)), ..Self::page(StatusCode::BAD_REQUEST, reason) }
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn into_response(self, is_head: bool) -> Response {
        let length = self.page.len();
        let mut response = Response::new(if is_head { Body::empty() } else { Body::from(self.page) });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
        headers.insert(header::CONTENT_LENGTH, length.into());
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        if let Some(reason) = self.reason {
            response.extensions_mut().insert(ReasonPhrase::from_static(reason));
        }
        response
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Forbidden => Self::page(StatusCode::FORBIDDEN, "Access was denied to this resource"),
            Error::NotPublished => Self::page(StatusCode::NOT_FOUND, "The container was never CDN-enabled"),
            Error::Invalid(reason) => Self::page(StatusCode::BAD_REQUEST, &reason),
            Error::PurgeRefused(reason) => Self::purge_failed(&reason),
            Error::PurgesUsedUp(_) => {
                let status = StatusCode::from_u16(498).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
                Self { status, page: USED_UP.into(), header: None, reason: Some(b"Rate Limited") }
            }
            Error::Unavailable(_) | Error::Unknown(_) => {
                tracing::warn!(%error, "a request to the CDN failed");
                Self::page(StatusCode::SERVICE_UNAVAILABLE, "The service is unavailable; try again")
            }
            Error::Internal(_) => {
                tracing::error!(%error, "a request to the CDN failed");
                Self::page(StatusCode::INTERNAL_SERVER_ERROR, "The server failed to carry out the request")
            }
        }
    }
}
