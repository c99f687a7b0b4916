//! What is about the deployment and no account: health, Flash's policy, and paths that name no account.

use http::{Method, StatusCode};
use web::{Request, Response};

use super::answer;
use super::fault::Fault;

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

/// `/v1` and `/v1/` (Swift, proxy: a path without an account).
pub(super) async fn no_account(request: Request) -> Response {
    let fault = Fault::text(StatusCode::PRECONDITION_FAILED, "Bad URL");
    fault.into_response("unknown", request.method() == Method::HEAD)
}
