//! Faults (guide, Faults): an element named after the error, with code, message and details, in both formats.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use serde_json::json;
use web::xml::Element;
use web::{Format, Response};
use work::Time;

use super::NAMESPACE;
use super::respond::respond;
use crate::Error;
use crate::model::Refusal;

/// A fault response.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    element: &'static str,
    code: u16,
    message: String,
    details: String,
    /// When to retry, as a time and in seconds from now.
    retry: Option<(Time, u64)>,
}

impl Fault {
    pub(super) fn new(element: &'static str, code: u16, message: impl Into<String>) -> Self {
        Self { element, code, message: message.into(), details: String::new(), retry: None }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new("badRequest", 400, message)
    }

    /// Returns the fault for an error of the service.
    pub(super) fn of(error: &Error, now: Time) -> Self {
        let text = error.to_string();
        match error {
            Error::NotFound(_) | Error::Refused(Refusal::Gone) => Self::new("itemNotFound", 404, text),
            Error::Forbidden | Error::NotOwner(_) => Self::new("cloudServersFault", 403, text),
            Error::Invalid { .. } => Self::bad_request(text),
            Error::Refused(Refusal::BuildInProgress) => Self::new("buildInProgress", 409, text),
            Error::Refused(Refusal::BackupOrResizeInProgress) => {
                Self::new("backupOrResizeInProgress", 409, text)
            }
            Error::Refused(Refusal::NoResize) | Error::ResizeNotAllowed(_) => {
                Self::new("resizeNotAllowed", 403, text)
            }
            Error::Refused(_) | Error::Conflict(_) => Self::new("cloudServersFault", 409, text),
            Error::NoCapacity(_) => Self::new("serverCapacityUnavailable", 503, text),
            Error::Unavailable(_) | Error::Unknown(_) => Self::new("serviceUnavailable", 503, text),
            Error::OverLimit { retry_at: None, .. } => Self::new("overLimit", 413, text),
            Error::OverLimit { retry_at: Some(at), .. } => {
                // Round up, so that a request at that time is accepted.
                let seconds = u64::try_from(at.since(now).as_micros().div_ceil(1_000_000)).unwrap_or(1);
                let at = Time::from_seconds(at.0.div_euclid(1_000_000) + i64::from(at.0 % 1_000_000 != 0));
                Self {
                    details: text,
                    retry: Some((at, seconds)),
                    ..Self::new("overLimit", 413, "OverLimit Please Retry...")
                }
            }
            Error::Internal(reason) => {
                tracing::error!(reason, "a request failed with an internal error");
                Self::new("cloudServersFault", 500, "the service met an unexpected condition")
            }
        }
    }

    pub(super) fn render(&self, format: Format) -> Response {
        let retry_at = self.retry.map(|(at, _)| at.iso_seconds());
        let body = match format {
            Format::Json => {
                let mut fault = json!({
                    "code": self.code, "message": self.message, "details": self.details,
                });
                if let Some(at) = retry_at {
                    fault["retryAfter"] = at.into();
                }
                json!({ self.element: fault }).to_string()
            }
            Format::Xml => Element::new(self.element)
                .attr("xmlns", NAMESPACE)
                .attr("code", self.code)
                .attr_if("retryAfter", retry_at)
                .child(Element::new("message").text(&self.message))
                .child(Element::new("details").text(&self.details))
                .to_document(),
        };
        let status = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = respond(status, format, body);
        if status == StatusCode::UNAUTHORIZED {
            // The scheme has no registered name. "Basic" would make browsers ask for a password, which is useless here.
            let challenge = HeaderValue::from_static("Token realm=\"Cloud Servers\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some((_, seconds)) = self.retry {
            for name in ["retry-after", "reply-after"] {
                response.headers_mut().insert(name, HeaderValue::from(seconds));
            }
        }
        response
    }
}
