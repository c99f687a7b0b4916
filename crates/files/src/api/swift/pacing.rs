//! Delays or rejects requests that exceed the rate limits (Swift, Rate limiting).

use http::StatusCode;

use super::fault::Fault;
use crate::model::name::Target;
use crate::service::{Pace, RateDecision};
use crate::{Context, Files};

/// Delays a request or rejects it.
pub(super) async fn pace(
    files: &Files,
    context: &Context,
    target: &Target,
    method: &str,
) -> Result<(), Fault> {
    let what = match (target, method) {
        (Target::Container(..), "PUT" | "DELETE") => Pace::Container,
        (Target::Container(_, container), "GET") => Pace::Listing(container),
        (Target::Object(_, container, _), "PUT" | "DELETE" | "POST" | "COPY") => Pace::Objects(container),
        _ => Pace::Free,
    };
    match files.pace(context, target.account(), what).await? {
        RateDecision::Go => Ok(()),
        RateDecision::TooLong => Err(refused(498, "Slow down")),
        RateDecision::Blacklisted => Err(refused(497, "Your account has been blacklisted")),
    }
}

fn refused(code: u16, text: &str) -> Fault {
    Fault::html(StatusCode::from_u16(code).unwrap_or(StatusCode::TOO_MANY_REQUESTS), text)
}
