//! Requests without an account: the health check, Flash's policy file, and paths that name no account.

use http::{Method, StatusCode};
use web::wire::Refused;
use web::{Request, Response};

use super::answer;
use super::fault::Fault;
use crate::model::name;

/// `/healthcheck` (Swift, healthcheck).
pub(super) async fn health() -> Response {
    answer::with(StatusCode::OK, "text/plain; charset=UTF-8", "OK")
}

/// `/crossdomain.xml` (Swift, crossdomain): allows Flash pages to read what anyone may read by HTTP.
pub(super) async fn crossdomain() -> Response {
    const POLICY: &str = "<?xml version=\"1.0\"?>\n\
        <!DOCTYPE cross-domain-policy SYSTEM \"http://www.adobe.com/xml/dtds/cross-domain-policy.dtd\" >\n\
        <cross-domain-policy>\n<allow-access-from domain=\"*\" secure=\"false\" />\n</cross-domain-policy>";
    answer::with(StatusCode::OK, "application/xml", POLICY)
}

/// `/v1`, `/v1/` and other paths with one segment (Swift, proxy: a path without an account).
pub(super) async fn no_account(request: Request) -> Response {
    let fault = Fault::text(StatusCode::PRECONDITION_FAILED, "Bad URL");
    fault.into_response("unknown", request.method() == Method::HEAD)
}

/// Builds the response to a request that is rejected before routing: Swift's response if the path is invalid, otherwise a
/// page that says what is wrong.
pub fn refuse(refused: &Refused) -> Response {
    let target = refused.target.as_deref().unwrap_or_default();
    if target.starts_with(b"/v1/") && std::str::from_utf8(target).is_err() {
        return Fault::text(StatusCode::PRECONDITION_FAILED, name::NOT_TEXT).into_response("unknown", false);
    }
    let title = refused.status.canonical_reason().unwrap_or("Refused");
    let mut page = format!("<html><h1>{title}</h1><p>");
    web::xml::escape_into(&refused.reason, &mut page);
    page.push_str(".</p></html>");
    answer::html(refused.status, page)
}
