//! What is about the deployment and no account: health, Flash's policy, and paths that name no account.

use http::{Method, StatusCode};
use web::wire::{Refusal, Refused};
use web::{Request, Response};

use super::answer;
use super::fault::{self, Fault};
use crate::model::name;

/// `/healthcheck` (Swift, healthcheck).
pub(super) async fn health() -> Response {
    answer::with(StatusCode::OK, "text/plain; charset=UTF-8", "OK")
}

/// `/crossdomain.xml` (Swift, crossdomain): what anyone may read by HTTP, a Flash page may, too.
pub(super) async fn crossdomain() -> Response {
    const POLICY: &str = "<?xml version=\"1.0\"?>\n\
        <!DOCTYPE cross-domain-policy SYSTEM \"http://www.adobe.com/xml/dtds/cross-domain-policy.dtd\" >\n\
        <cross-domain-policy>\n<allow-access-from domain=\"*\" secure=\"false\" />\n</cross-domain-policy>";
    answer::with(StatusCode::OK, "application/xml", POLICY)
}

/// `/v1`, `/v1/` and whatever else has one segment (Swift, proxy: a path without an account).
pub(super) async fn no_account(request: Request) -> Response {
    let fault = Fault::text(StatusCode::PRECONDITION_FAILED, "Bad URL");
    fault.into_response("unknown", request.method() == Method::HEAD)
}

/// What is answered to a head that could not be read: as Swift does where its path is why, and its page otherwise.
pub fn refuse(refused: Refused<'_>) -> Refusal {
    match refused.target {
        Some(target) if target.starts_with(b"/v1/") => Refusal {
            status: StatusCode::PRECONDITION_FAILED,
            content_type: "text/plain; charset=UTF-8",
            body: name::NOT_TEXT.to_owned(),
        },
        _ => Refusal {
            status: refused.status,
            content_type: "text/html; charset=UTF-8",
            body: fault::page(refused.status),
        },
    }
}
