//! Error responses in Swift's form: a status with a small HTML page or a line of text.

use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use web::Response;

use super::answer;
use crate::Error;
use crate::model::time;
use crate::model::version::{MARKER_TYPE, UNVERSIONED};

/// Header with the version that the response refers to.
pub(super) const VERSION_ID: HeaderName = HeaderName::from_static("x-object-version-id");

/// Header with the current version of the object.
pub(super) const CURRENT_VERSION_ID: HeaderName = HeaderName::from_static("x-object-current-version-id");

/// An error response.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    body: Form,
    headers: Vec<(HeaderName, String)>,
    is_withheld: bool,
}

#[derive(Debug)]
enum Form {
    /// The standard page of the status.
    Page,
    /// A line of text.
    Text(String),
    /// A line of text with the media type of HTML.
    Html(String),
}

impl Fault {
    /// Returns whether it rejects the caller (401 or 403).
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }

    fn new(status: StatusCode, body: Form) -> Self {
        Self { status, body, headers: Vec::new(), is_withheld: false }
    }

    /// Returns whether pages of other origins must not read it, because it refers to more than the requested container (Swift,
    /// DLO) or was produced before the container was looked up.
    pub(super) fn is_withheld(&self) -> bool {
        self.is_withheld
    }

    /// Hides it from pages of other origins.
    pub(super) fn withheld(self) -> Self {
        Self { is_withheld: true, ..self }
    }

    pub(super) fn status(status: StatusCode) -> Self {
        Self::new(status, Form::Page)
    }

    pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self::new(status, Form::Text(text.into()))
    }

    pub(super) fn html(status: StatusCode, text: impl Into<String>) -> Self {
        Self::new(status, Form::Html(text.into()))
    }

    pub(super) fn method(allowed: &'static str) -> Self {
        Self::status(StatusCode::METHOD_NOT_ALLOWED).with(ALLOW, allowed)
    }

    pub(super) fn range(length: u64) -> Self {
        Self::status(StatusCode::RANGE_NOT_SATISFIABLE).with(CONTENT_RANGE, format!("bytes */{length}"))
    }

    /// Creates the fault for requesting a version in a container without versions.
    pub(super) fn unversioned() -> Self {
        Self::html(StatusCode::BAD_REQUEST, UNVERSIONED)
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Returns whether it has the header.
    pub(super) fn names(&self, name: &HeaderName) -> bool {
        self.headers.iter().any(|(given, _)| given == name)
    }

    /// Names the account in a rejection, for accounts other than the request's own.
    pub(super) fn of_account(self, account: &str) -> Self {
        if self.status != StatusCode::UNAUTHORIZED {
            return self;
        }
        self.with(WWW_AUTHENTICATE, realm(account))
    }

    pub(super) fn code(&self) -> StatusCode {
        self.status
    }

    pub(super) fn into_response(self, account: &str, is_head: bool) -> Response {
        let (body, content_type) = match self.body {
            Form::Text(text) => (text, "text/plain"),
            Form::Html(text) => (text, "text/html; charset=UTF-8"),
            Form::Page => (page(self.status), "text/html; charset=UTF-8"),
        };
        let length = body.len();
        let body = if is_head { String::new() } else { body };
        let mut response = answer::with(self.status, content_type, body);
        if is_head {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                response.headers_mut().insert(name, value);
            }
        }
        if self.status == StatusCode::UNAUTHORIZED
            && !response.headers().contains_key(WWW_AUTHENTICATE)
            && let Ok(realm) = HeaderValue::from_str(&realm(account))
        {
            response.headers_mut().insert(WWW_AUTHENTICATE, realm);
        }
        response
    }
}

fn realm(account: &str) -> String {
    format!("Swift realm=\"{}\"", web::query::encode(account.as_bytes(), false))
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Unauthenticated => Self::status(StatusCode::UNAUTHORIZED),
            Error::Forbidden => Self::status(StatusCode::FORBIDDEN),
            Error::NotFound => Self::status(StatusCode::NOT_FOUND),
            Error::NotEmpty | Error::Superseded => Self::status(StatusCode::CONFLICT),
            Error::Conflict(text) if text.is_empty() => Self::status(StatusCode::CONFLICT),
            Error::Conflict(text) => Self::text(StatusCode::CONFLICT, text),
            Error::Precondition(_) => Self::status(StatusCode::PRECONDITION_FAILED),
            Error::Invalid(text) => Self::text(StatusCode::BAD_REQUEST, text),
            Error::Page(text) => Self::html(StatusCode::BAD_REQUEST, text),
            Error::OverQuota(text) | Error::TooMany(text) => Self::html(StatusCode::PAYLOAD_TOO_LARGE, text),
            Error::NoVersion { marker: Some(marker) } => Self::status(StatusCode::NOT_FOUND)
                .with(CONTENT_TYPE, MARKER_TYPE)
                .with(VERSION_ID, time::internal(marker)),
            Error::NoVersion { marker: None } => Self::status(StatusCode::NOT_FOUND),
            Error::Beyond(error, place) => Self::from(*error).with(CONTENT_LOCATION, answer::path(&place)),
            Error::Segments(error) => Self::from(*error).withheld(),
            Error::BrokenLink { text, place } => {
                Self::text(StatusCode::CONFLICT, text).with(CONTENT_LOCATION, answer::path(&place))
            }
            Error::BadName(text) => Self::html(StatusCode::PRECONDITION_FAILED, text),
            Error::WrongEtag => Self::status(StatusCode::UNPROCESSABLE_ENTITY),
            Error::TooLarge => Self::text(StatusCode::PAYLOAD_TOO_LARGE, "Your request is too large."),
            Error::BrokeOff => Self::status(StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)),
            Error::TooSlow => Self::status(StatusCode::REQUEST_TIMEOUT),
            Error::Full => Self::status(StatusCode::INSUFFICIENT_STORAGE),
            Error::Unavailable(reason) | Error::Unknown(reason) => {
                tracing::warn!(reason, "the request cannot be served now; responding with 503");
                Self::status(StatusCode::SERVICE_UNAVAILABLE)
            }
            Error::Internal(reason) => {
                tracing::error!(reason, "internal error; responding with 500");
                Self::status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

/// Returns the page for a status as Swift sends it.
pub(super) fn page(status: StatusCode) -> String {
    let (title, text) = match status.as_u16() {
        301 => ("Moved Permanently", "The resource has moved permanently."),
        307 => ("Temporary Redirect", "The resource has moved temporarily."),
        202 => ("Accepted", "The request is accepted for processing."),
        400 => (
            "Bad Request",
            "The server could not comply with the request since it is either malformed or otherwise incorrect.",
        ),
        401 => (
            "Unauthorized",
            "This server could not verify that you are authorized to access the document you requested.",
        ),
        403 => ("Forbidden", "Access was denied to this resource."),
        404 => ("Not Found", "The resource could not be found."),
        405 => ("Method Not Allowed", "The method is not allowed for this resource."),
        406 => ("Not Acceptable", "The resource is not available in a format acceptable to your browser."),
        408 => {
            ("Request Timeout", "The server has waited too long for the request to be sent by the client.")
        }
        409 => ("Conflict", "There was a conflict when trying to complete your request."),
        411 => ("Length Required", "Content-Length header required."),
        412 => ("Precondition Failed", "A precondition for this request was not met."),
        413 => ("Request Entity Too Large", "The body of your request was too large for this server."),
        414 => ("Request URI Too Long", "The request URI was too long for this server."),
        498 => ("Rate Limited", "Slow down"),
        501 => ("Not Implemented", "The requested method is not implemented by this server."),
        416 => ("Requested Range Not Satisfiable", "The Range requested is not available."),
        422 => ("Unprocessable Entity", "Unable to process the contained instructions"),
        499 => ("Client Disconnect", "The client was disconnected during request."),
        503 => {
            ("Service Unavailable", "The server is currently unavailable. Please try again at a later time.")
        }
        507 => ("Insufficient Storage", "There was not enough space to save the resource."),
        500 => (
            "Internal Error",
            "The server has either erred or is incapable of performing the requested operation.",
        ),
        _ => return String::new(),
    };
    format!("<html><h1>{title}</h1><p>{text}</p></html>")
}
