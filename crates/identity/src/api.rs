//! The dialects. Each parses requests, authorises, calls the service, renders the response, and has its own mapping of
//! errors.

mod access;
mod asked;
mod fields;
mod v1;
mod v11;
mod v2;
mod v3;
mod versions;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::ALLOW;
use http::{HeaderValue, StatusCode, Uri};
use tower::ServiceExt;
use web::listener::ServiceName;
use web::wire::Refused;
use web::{Format, Request, Response};

use crate::service::Identity;
use crate::service::error::Error;

pub(crate) use access::Need;

/// Maximum size of a request body, in bytes.
const BODY_MAX: usize = 64 * 1024;

/// State shared by all handlers.
pub(crate) type Shared = Arc<Identity>;
/// A dialect's routes, each with the access it needs.
pub(crate) type Table = web::Routes<Shared, Need>;
/// Result of a handler.
pub(crate) type HandlerResult = Result<Response, Failure>;

/// Why a request failed. The dialect renders it.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// An error of the service.
    Service(Error),
    /// No such path.
    NoRoute,
    /// The path exists, but not for this method.
    Method(Option<HeaderValue>),
    /// The body's media type is not supported.
    MediaType,
    /// The body is too long.
    TooLong,
    /// The body did not arrive in time.
    TooSlow,
    /// A `limit` above the largest page size.
    OverLimit(i64),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Service(error)
    }
}

impl From<web::body::Error> for Failure {
    fn from(error: web::body::Error) -> Self {
        match error {
            web::body::Error::TooLong { .. } => Self::TooLong,
            web::body::Error::TooSlow => Self::TooSlow,
            web::body::Error::Broken { reason } => {
                Self::Service(Error::invalid(format!("the body ended early: {reason}")))
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response.extensions_mut().insert(self);
        response
    }
}

impl Failure {
    /// Returns the status. All dialects agree on it, except for [`Error::TooManyAttempts`] and [`Error::Disabled`].
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Service(error) => match error {
                Error::Invalid { .. } => StatusCode::BAD_REQUEST,
                Error::Credentials | Error::UnknownToken | Error::Token | Error::Disabled => {
                    StatusCode::UNAUTHORIZED
                }
                Error::Forbidden { .. } | Error::PasswordExpired { .. } => StatusCode::FORBIDDEN,
                Error::NotFound { .. } => StatusCode::NOT_FOUND,
                Error::Conflict { .. } => StatusCode::CONFLICT,
                Error::TooManyAttempts { .. } => StatusCode::TOO_MANY_REQUESTS,
                Error::Busy | Error::Database(_) | Error::Secret => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLong | Self::OverLimit(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    pub(crate) fn message(&self) -> String {
        match self {
            Self::Service(error) => error.to_string(),
            Self::NoRoute => "The resource could not be found.".to_owned(),
            Self::Method(_) => "The method is not allowed for the requested URL.".to_owned(),
            Self::MediaType => "The body's Content-Type is not supported here.".to_owned(),
            Self::TooLong => format!("The body is longer than {BODY_MAX} bytes."),
            Self::TooSlow => "The body did not arrive in time.".to_owned(),
            Self::OverLimit(most) => format!("limit must be at most {most}."),
        }
    }

    /// Adds the headers that the failure has in every dialect.
    pub(crate) fn add_headers(&self, response: &mut Response) {
        let headers = response.headers_mut();
        match self {
            Self::Method(Some(allow)) => {
                headers.insert(ALLOW, allow.clone());
            }
            Self::Service(Error::TooManyAttempts { retry_after }) => {
                headers.insert(http::header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs()));
            }
            _ => {}
        }
    }
}

/// A route of a dialect, for tests that go through all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: http::Method,
    /// The path below the root, with `{names}`.
    pub path: String,
    /// What the caller needs: `open`, `token`, `account:observe`, `account:administer` or `operator`.
    pub need: &'static str,
}

/// Returns every route of every table, with what it needs.
#[must_use]
pub fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for (root, table) in [("/v1.1", v11::table()), ("/v2.0", v2::table()), ("/v3", v3::table())] {
        routes.extend(table.entries().iter().map(|entry| Route {
            method: entry.method.clone(),
            path: format!("{root}{}", entry.path).trim_end_matches('/').to_owned(),
            need: entry.right.name(),
        }));
    }
    routes
}

/// Renders a dialect's fault.
type Render = fn(&Failure, Format) -> Response;

impl Identity {
    /// Returns the router with every dialect at both of its paths: below `/identity`, and at the root, where older clients
    /// look.
    pub fn router(self: &Arc<Self>) -> Router {
        let v1 = v1::router(Arc::clone(self));
        let tempauth = v1::tempauth_router(Arc::clone(self));
        let v11 = dialect(v11::table().into_router().with_state(Arc::clone(self)), v11::fault);
        let v2 = dialect(v2::table().into_router().with_state(Arc::clone(self)), v2::fault);
        let v3 = dialect(v3::table().into_router().with_state(Arc::clone(self)), v3::fault);
        let mut router = Router::new();
        for prefix in ["/identity", ""] {
            router = router
                .route_service(&format!("{prefix}/v1.0"), v1.clone())
                .route_service(&format!("{prefix}/v1.0/"), v1.clone())
                .nest_service(&format!("{prefix}/v1.1"), v11.clone())
                .nest_service(&format!("{prefix}/v2.0"), v2.clone())
                .nest_service(&format!("{prefix}/v3"), v3.clone());
        }
        for path in ["/identity/v1", "/auth", "/auth/"] {
            router = router.route_service(path, v1.clone());
        }
        // Cloud Files rejects other requests to this path.
        router = router.route("/v1", axum::routing::get_service(v1.clone()));
        for path in ["/auth/v1.0", "/auth/v1.0/", "/auth/v1", "/auth/v1/"] {
            router = router.route_service(path, tempauth.clone());
        }
        let versions = Router::new().route("/", get(versions::list)).with_state(Arc::clone(self));
        let versions = dialect(versions, v3::fault);
        router
            .route_service("/identity", at_root(versions.clone()))
            .route_service("/identity/", at_root(versions))
    }
}

/// Responds to a request that is rejected before routing, in the dialect that its path belongs to.
#[must_use]
pub fn refuse(refused: &Refused) -> Response {
    let path = refused.path().unwrap_or_default();
    let path = path.strip_prefix("/identity").unwrap_or(path);
    let failure = Failure::Service(Error::invalid(refused.reason.clone()));
    let mut response = match path.split('/').nth(1).unwrap_or_default() {
        "v2.0" => v2::fault(&failure, refused.format),
        "v1.1" => v11::fault(&failure, refused.format),
        "v1.0" | "v1" | "auth" => refused.reason.clone().into_response(),
        _ => v3::fault(&failure, refused.format),
    };
    *response.status_mut() = refused.status;
    response.extensions_mut().insert(ServiceName("identity"));
    response
}

/// Wraps a dialect's router in what all dialects share: response format, trailing slashes, and faults in the dialect's
/// shape.
fn dialect(
    inner: Router,
    render: Render,
) -> impl tower::Service<Request, Response = Response, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    let inner = inner
        .fallback(|| async { Failure::NoRoute })
        .method_not_allowed_fallback(|| async { Failure::Method(None) });
    tower::service_fn(move |request: Request| {
        let inner = inner.clone();
        async move {
            let request = web::format::negotiate(tidy_path(request));
            let format = request.extensions().get::<Format>().copied().unwrap_or_default();
            let answered = inner.oneshot(request).await.unwrap_or_else(|never| match never {});
            Ok(finish(answered, render, format))
        }
    })
}

fn finish(mut response: Response, render: Render, format: Format) -> Response {
    let failure = match response.extensions_mut().remove::<Failure>() {
        Some(Failure::Method(None)) => Some(Failure::Method(response.headers_mut().remove(ALLOW))),
        // Axum's own rejections of paths that are not UTF-8.
        None if response.status().is_client_error() => {
            Some(Failure::Service(Error::invalid("the path or a header is malformed")))
        }
        found => found,
    };
    if let Some(failure) = failure {
        if let Failure::Service(error) = &failure {
            error.log();
        }
        response = render(&failure, format);
        failure.add_headers(&mut response);
    }
    response.extensions_mut().insert(ServiceName("identity"));
    response
}

/// Wraps a service that the program mounts at one path, so that it sees `/`.
fn at_root<S>(
    inner: S,
) -> impl tower::Service<Request, Response = Response, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static
where
    S: tower::Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    tower::service_fn(move |mut request: Request| {
        *request.uri_mut() = Uri::from_static("/");
        inner.clone().oneshot(request)
    })
}

/// Removes trailing slashes from the path and decodes `%3A`, since clients send `RAX-KSKEY%3AapiKeyCredentials`.
fn tidy_path(mut request: Request) -> Request {
    let path = request.uri().path();
    let tidy = path.trim_end_matches('/').replace("%3A", ":").replace("%3a", ":");
    let tidy = if tidy.is_empty() { "/" } else { &tidy };
    if tidy != path {
        let text = request.uri().query().map_or_else(|| tidy.to_owned(), |query| format!("{tidy}?{query}"));
        if let Ok(path_and_query) = text.parse() {
            let mut parts = request.uri().clone().into_parts();
            parts.path_and_query = Some(path_and_query);
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
    }
    request
}

/// Returns a JSON response.
pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(http::header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// Returns a response without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    status.into_response()
}
