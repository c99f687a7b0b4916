//! The Swift dialect: `/v1/{account}[/{container}[/{object}]]` and `/info`.

mod account;
mod answer;
mod container;
mod conveyed;
mod fault;
mod form;
mod headers;
mod info;
mod listing;
mod object;
mod request;

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::routing::{any, get};
use http::{HeaderValue, Method};
use identity::Caller;
use web::listener::ServiceName;
use web::{Request, Response};

use crate::Files;
use crate::model::name::Target;
use fault::Fault;
use request::Parsed;

/// Answers who a token belongs to.
#[async_trait]
pub trait Tokens: Send + Sync + 'static {
    /// The caller; `None` for a token that is unknown, revoked or run out.
    async fn caller(&self, token: &str) -> Option<Arc<Caller>>;
}

/// What the dialect's handlers share.
#[derive(Clone)]
pub struct Swift {
    files: Files,
    tokens: Arc<dyn Tokens>,
}

/// The dialect's routes.
pub fn router(files: Files, tokens: Arc<dyn Tokens>) -> Router {
    let swift = Swift { files, tokens };
    Router::new().route("/info", get(info::show)).route("/v1/{*path}", any(dispatch)).with_state(swift)
}

async fn dispatch(State(swift): State<Swift>, request: Request) -> Response {
    let is_head = request.method() == Method::HEAD;
    let account = request.uri().path().split('/').nth(2).unwrap_or_default().to_owned();
    let mut response = match handle(&swift, request).await {
        Ok(response) => response,
        Err(fault) => fault.into_response(&account, is_head),
    };
    response.extensions_mut().insert(ServiceName("files"));
    response
}

async fn handle(swift: &Swift, request: Request) -> Result<Response, Fault> {
    let (head, body) = request.into_parts();
    let parsed = Parsed::read(swift, &head).await?;
    let method = head.method.clone();
    if method == Method::OPTIONS {
        return Ok(options(&parsed.target));
    }
    let Parsed { target, context, query } = parsed;
    let tenant = crate::model::name::tenant_of(target.account()).unwrap_or_default().to_owned();
    let method_name = method.as_str();
    let costs = matches!(method_name, "PUT" | "POST" | "COPY")
        || (method_name == "GET" && !matches!(target, Target::Object(..)));
    let (body, received) = conveyed::counting(body);
    let call = Call { files: &swift.files, context: &context, query: &query };
    let outcome = match (method_name, &target) {
        ("GET" | "HEAD", Target::Account(account)) => call.show_account(account, &head).await,
        ("PUT", Target::Account(account)) => call.put_account(account, &head).await,
        ("POST", Target::Account(account)) => call.post_account(account, &head).await,
        ("DELETE", Target::Account(account)) => call.delete_account(account).await,
        ("GET" | "HEAD", Target::Container(account, name)) => call.show_container(account, name, &head).await,
        ("PUT", Target::Container(account, name)) => call.put_container(account, name, &head).await,
        ("POST", Target::Container(account, name)) => call.post_container(account, name, &head, body).await,
        ("DELETE", Target::Container(account, name)) => call.delete_container(account, name).await,
        ("GET" | "HEAD", Target::Object(a, c, o)) => call.show_object(a, c, o, &head).await,
        ("PUT", Target::Object(a, c, o)) => call.put_object(a, c, o, &head, body).await,
        ("POST", Target::Object(a, c, o)) => call.post_object(a, c, o, &head).await,
        ("COPY", Target::Object(a, c, o)) => call.copy_object(a, c, o, &head).await,
        ("DELETE", Target::Object(a, c, o)) => call.delete_object(a, c, o).await,
        _ => Err(Fault::method(allowed(&target))),
    };
    conveyed::meter(swift.files.meter().clone(), tenant, received, costs, outcome)
}

/// One request's service, caller and query.
struct Call<'r> {
    files: &'r Files,
    context: &'r crate::Context,
    query: &'r web::query::Query,
}

fn allowed(target: &Target) -> &'static str {
    match target {
        Target::Object(..) => "COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT",
        _ => "DELETE, GET, HEAD, OPTIONS, POST, PUT",
    }
}

fn options(target: &Target) -> Response {
    let mut response = answer::html(http::StatusCode::OK, String::new());
    response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static(allowed(target)));
    response
}
