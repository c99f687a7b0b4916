//! The Swift dialect: `/v1/{account}[/{container}[/{object}]]` and `/info`.

mod accesslog;
mod account;
mod answer;
mod bulk;
mod carried;
mod cname;
mod container;
mod copy;
mod cors;
mod domain;
mod extract;
mod fault;
mod form;
mod headers;
mod heartbeat;
mod info;
mod large;
mod listing;
mod object;
mod operations;
mod pacing;
mod packing;
mod put;
mod ranges;
mod remote;
mod report;
mod request;
mod tempurl;
mod traffic;
mod unpack;
mod unread;
mod website;

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{any, get, put};
use http::header::{CONNECTION, CONTENT_LOCATION};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use identity::Caller;
use web::listener::ServiceName;
use web::query::Query;
use web::{Request, Response};

use crate::Files;
use crate::model::name::Target;
pub use domain::hosted;
pub use domain::remapped;
use fault::Fault;
pub use operations::refuse;
pub use remote::Clouds;
use request::Parsed;
pub use request::Published;
use unread::UnreadBody;

/// Looks up the user that a token belongs to.
#[async_trait]
pub trait Tokens: Send + Sync + 'static {
    /// Returns the caller; `None` for a token that is unknown, revoked or expired.
    async fn caller(&self, token: &str) -> Option<Arc<Caller>>;
}

/// State shared by the dialect's handlers.
#[derive(Clone)]
pub struct Swift {
    files: Files,
    tokens: Arc<dyn Tokens>,
}

/// Returns the router of the dialect.
pub fn router(files: Files, tokens: Arc<dyn Tokens>) -> Router {
    let swift = Swift { files, tokens };
    Router::new()
        .route("/info", any(info::show))
        .route("/healthcheck", get(operations::health))
        .route("/crossdomain.xml", get(operations::crossdomain))
        // `GET /v1` with credentials is identity's sign-in.
        .route("/v1", put(operations::no_account).post(operations::no_account).delete(operations::no_account))
        .route("/v1/", any(operations::no_account))
        .route("/{name}", any(operations::no_account))
        .route("/v1/{*path}", any(dispatch))
        .route("/v1.0/{*path}", any(dispatch))
        .with_state(swift)
}

async fn dispatch(State(swift): State<Swift>, mut request: Request) -> Response {
    let target = request::target_of(request.uri().path());
    let is_published = request.extensions().get::<Published>().is_some();
    let logged = target.as_ref().ok().filter(|_| !is_published);
    let serve_website =
        logged.and_then(|target| accesslog::AccessRecord::begin(&swift.files, &mut request, target));
    headers::as_received(request.headers_mut());
    let is_head = request.method() == Method::HEAD;
    let asked = headers::get(request.headers(), CONNECTION.as_str());
    let keeps = asked.is_some_and(|asked| asked.eq_ignore_ascii_case("keep-alive"))
        && request.version() == http::Version::HTTP_11;
    let mut response = match target {
        Ok(target) => handle(&swift, &target, request)
            .await
            .unwrap_or_else(|fault| fault.into_response(target.account(), is_head)),
        Err(fault) => {
            let account = request.uri().path().split('/').nth(2).unwrap_or_default();
            fault.into_response(&web::query::decoded(account), is_head)
        }
    };
    response.extensions_mut().insert(ServiceName("files"));
    if response.status() == StatusCode::NO_CONTENT {
        response.extensions_mut().insert(web::wire::WithLength);
    }
    if keeps {
        // Swift sends this header to clients that ask for it, although HTTP/1.1 does not require it.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    match serve_website {
        Some(serve_website) => serve_website.end(&swift.files, response).await,
        None => response,
    }
}

async fn handle(swift: &Swift, target: &Target, request: Request) -> Result<Response, Fault> {
    let (mut head, body) = request.into_parts();
    if head.method == Method::OPTIONS {
        request::caller(swift, &head.headers).await?;
        return Ok(cors::options(&swift.files, target, &head, allowed(target)).await);
    }
    let origin = headers::get(&head.headers, "origin").filter(|origin| !origin.is_empty()).map(str::to_owned);
    let outcome = authorised(swift, target, &mut head, body).await;
    let Some(origin) = origin else { return outcome };
    // Swift rejects a caller who may not change a container before it reads the container's CORS settings.
    let changes =
        matches!(target, Target::Container(..)) && !matches!(head.method, Method::GET | Method::HEAD);
    if outcome.as_ref().is_err_and(|fault| fault.is_withheld() || (changes && fault.is_refusal())) {
        return outcome;
    }
    let is_head = head.method == Method::HEAD;
    let mut response = outcome.unwrap_or_else(|fault| fault.into_response(target.account(), is_head));
    // The rules for other origins are those of the link target's container.
    let reached = response.headers().get(CONTENT_LOCATION).and_then(|place| place.to_str().ok());
    let reached = reached.and_then(|place| request::target_of(place).ok());
    cors::finish(&swift.files, reached.as_ref().unwrap_or(target), &origin, &mut response).await;
    Ok(response)
}

async fn authorised(swift: &Swift, target: &Target, head: &mut Parts, body: Body) -> Result<Response, Fault> {
    let query = Query::parse(head.uri.query());
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    if is_read && !matches!(target, Target::Object(..)) {
        // A listing's format is validated before the caller is authenticated (Swift, listing formats).
        listing::Form::asked(&query, &head.headers)?;
    }
    let Parsed { context, query } = Parsed::read(swift, target, head, query).await?;
    let tenant = crate::model::name::tenant_of(target.account()).unwrap_or_default().to_owned();
    if context.published.is_some() {
        let call = Call { files: &swift.files, context: &context, query: &query };
        return call.answer(target, head, UnreadBody::new(body)).await;
    }
    let method = head.method.as_str();
    let is_operator = context.caller.as_ref().is_some_and(|caller| caller.operator);
    if swift.files.settings().read_only
        && !is_operator
        && matches!(method, "PUT" | "POST" | "COPY" | "DELETE")
    {
        let text = "Writes are disabled for this account.\n";
        return Err(Fault::html(StatusCode::METHOD_NOT_ALLOWED, text));
    }
    let costs = matches!(method, "PUT" | "POST" | "COPY")
        || (method == "GET" && !matches!(target, Target::Object(..)));
    pacing::pace(&swift.files, &context, target, method).await?;
    let (body, received) = traffic::counting(body);
    let call = Call { files: &swift.files, context: &context, query: &query };
    let mut outcome = call.answer(target, head, UnreadBody::new(body)).await;
    if let Ok(response) = &mut outcome
        && context.pass.is_some()
        && context.carried.is_none()
        && is_read
    {
        tempurl::finish(response, &query);
    }
    // Count a failed request only if the tenant's own users or signatures sent it. Anyone can send requests that fail before
    // authorisation to any account's name.
    let is_own = context.pass.is_some()
        || context
            .caller
            .as_ref()
            .and_then(|caller| caller.tenant.as_ref())
            .is_some_and(|own| own.id == tenant);
    if outcome.as_ref().is_err_and(|fault| fault.is_refusal() || !is_own) {
        return outcome;
    }
    traffic::meter(swift.files.meter().clone(), tenant, received, costs, outcome)
}

/// The service, caller and query of one request.
struct Call<'r> {
    files: &'r Files,
    context: &'r crate::Context,
    query: &'r Query,
}

impl Call<'_> {
    async fn answer(&self, target: &Target, head: &Parts, body: UnreadBody) -> Result<Response, Fault> {
        let is_visit = website::is_website_request(self.context, head);
        if is_visit && let Some(mut outcome) = self.serve_website(target, head).await {
            if let Ok(page) = &mut outcome
                && page.status().is_success()
                && !self.query.has("format")
            {
                // As for any listing whose format the query does not select (Swift, listing formats).
                cors::vary(page.headers_mut(), "Accept");
            }
            return outcome;
        }
        let outcome = self.route(target, head, body).await;
        match target {
            Target::Object(a, c, o) if is_visit => self.apply_website((a, c, o), head, outcome).await,
            // A signature grants access to a container only as a website.
            Target::Container(..) if self.context.pass.is_some() => Err(tempurl::invalid()),
            _ => outcome,
        }
    }

    async fn route(&self, target: &Target, head: &Parts, body: UnreadBody) -> Result<Response, Fault> {
        let method = head.method.as_str();
        if matches!(method, "POST" | "DELETE") && self.query.has("bulk-delete") {
            return self.bulk_delete(target, head, body).await;
        }
        if method == "PUT" && self.query.has("extract-archive") {
            return self.extract_archive(target, head, body).await;
        }
        match (method, target) {
            ("GET" | "HEAD", Target::Account(account)) => self.show_account(account, head).await,
            ("PUT", Target::Account(account)) => self.put_account(account, head).await,
            ("POST", Target::Account(account)) => self.post_account(account, head).await,
            ("DELETE", Target::Account(account)) => self.delete_account(account, head).await,
            ("GET" | "HEAD", Target::Container(account, name)) => {
                self.show_container(account, name, head).await
            }
            ("PUT", Target::Container(account, name)) => self.put_container(account, name, head).await,
            ("POST", Target::Container(account, name)) => {
                self.post_container(account, name, head, body).await
            }
            ("DELETE", Target::Container(account, name)) => self.delete_container(account, name).await,
            ("GET" | "HEAD", Target::Object(a, c, o)) => self.show_object(a, c, o, head).await,
            ("PUT", Target::Object(a, c, o)) => self.put_object(a, c, o, head, body).await,
            ("POST", Target::Object(a, c, o)) => self.post_object(a, c, o, head, body).await,
            ("COPY", Target::Object(a, c, o)) => self.copy_object(a, c, o, head).await,
            ("DELETE", Target::Object(a, c, o)) => self.delete_object(a, c, o, head).await,
            // COPY is middleware in Swift (server-side copy), so `Allow` of a rejected method does not list it.
            _ => Err(Fault::method(allowed(target).trim_start_matches("COPY, "))),
        }
    }
}

fn allowed(target: &Target) -> &'static str {
    match target {
        Target::Object(..) => "COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT",
        _ => "DELETE, GET, HEAD, OPTIONS, POST, PUT",
    }
}
