//! v1.0: a GET with user and key in headers, which returns a token and URLs in headers (guide, Authentication); and the same
//! in TempAuth's form.

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use web::{Format, Response};

use crate::api::access::{Origin, header_text};
use crate::api::{Failure, HandlerResult, Shared, dialect};
use crate::service::error::Error;
use crate::service::signin::{IdOrName, Proof, RequestedScope, SignIn, TokenKind};

/// Returns the dialect's router. The program mounts it at exact paths, so it ignores the request's path.
pub(crate) fn router(
    identity: Shared,
) -> impl tower::Service<web::Request, Response = Response, Error = std::convert::Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    let router = Router::new().route("/", get(sign_in)).with_state(identity);
    crate::api::at_root(dialect(router, fault))
}

/// TempAuth's form: status 200 where the guide has 204, and tokens in TempAuth's format.
pub(crate) fn tempauth_router(
    identity: Shared,
) -> impl tower::Service<web::Request, Response = Response, Error = std::convert::Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    let router = Router::new().route("/", get(sign_in_tempauth)).with_state(identity);
    crate::api::at_root(dialect(router, fault))
}

async fn sign_in(State(identity): State<Shared>, origin: Origin, headers: HeaderMap) -> HandlerResult {
    answer(&identity, &origin, &headers, TokenKind::Reissued, StatusCode::NO_CONTENT).await
}

async fn sign_in_tempauth(
    State(identity): State<Shared>,
    origin: Origin,
    headers: HeaderMap,
) -> HandlerResult {
    answer(&identity, &origin, &headers, TokenKind::TempAuth, StatusCode::OK).await
}

async fn answer(
    identity: &Shared,
    origin: &Origin,
    headers: &HeaderMap,
    kind: TokenKind,
    status: StatusCode,
) -> HandlerResult {
    let given = |name: &str, other: &str| header_text(headers, name).or_else(|| header_text(headers, other));
    let (Some(user), Some(key)) =
        (given("x-auth-user", "x-storage-user"), given("x-auth-key", "x-storage-pass"))
    else {
        return Err(Error::Credentials.into());
    };
    let (wanted, user) = match user.split_once(':') {
        Some((tenant, user)) => (RequestedScope::TenantIdOrName(tenant.to_owned()), user),
        None => (RequestedScope::Usual, user.as_str()),
    };
    let proof = Proof::Key { user: IdOrName::name(user), key };
    let signed_in = identity.sign_in(SignIn { proof, wanted, address: origin.address, kind }).await?;
    let left = signed_in.session.caller.expires.since(identity.clock.now()).as_secs();
    let mut response = status.into_response();
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    };
    put("x-auth-token", &signed_in.token);
    put("x-storage-token", &signed_in.token);
    put("x-auth-token-expires", &left.to_string());
    if let Some((tenant, _)) = &signed_in.session.tenant {
        let catalog = identity.catalog().await?;
        let urls = [
            ("x-storage-url", "cloudFiles"),
            ("x-cdn-management-url", "cloudFilesCDN"),
            ("x-server-management-url", "cloudServers"),
        ];
        for (name, service) in urls {
            if let Some(url) = catalog.url_of(service, &tenant.id) {
                put(name, &url);
            }
        }
    }
    put("content-type", "text/plain; charset=UTF-8");
    Ok(response)
}

/// Renders v1.0's faults: a status and a line of text. A 401 carries a challenge (RFC 9110).
fn fault(failure: &Failure, _: Format) -> Response {
    let mut response = (failure.status(), failure.message() + "\n").into_response();
    if failure.status() == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Nephos realm=\"identity\"");
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, challenge);
    }
    response
}
