//! The CDN management dialect: `/cdn/v1/{account}[/{container}[/{object}]]` (Cloud Files guide, CDN services).

mod fault;
mod headers;
mod listing;
mod request;
mod storage_host;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::any;
use files::api::swift::Tokens;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use web::listener::ServiceName;
use web::{Request, Response};

use crate::model::Publication;
use crate::service::{Cdn, Context};
use fault::Fault;
use request::Target;
pub use storage_host::on_storage_host;

/// What the dialect's handlers share.
#[derive(Clone)]
struct Management {
    cdn: Cdn,
    tokens: Arc<dyn Tokens>,
}

/// The dialect's routes.
pub fn router(cdn: Cdn, tokens: Arc<dyn Tokens>) -> Router {
    Router::new().route("/cdn/{*path}", any(dispatch)).with_state(Management { cdn, tokens })
}

async fn dispatch(State(management): State<Management>, request: Request) -> Response {
    let is_head = request.method() == Method::HEAD;
    let (head, _) = request.into_parts();
    let mut response = management.handle(&head).await.unwrap_or_else(|fault| fault.into_response(is_head));
    response.extensions_mut().insert(ServiceName("cdn"));
    if response.status() == StatusCode::NO_CONTENT {
        response.extensions_mut().insert(web::wire::WithLength);
    }
    response
}

impl Management {
    async fn handle(&self, head: &Parts) -> Result<Response, Fault> {
        let context = Context { caller: request::caller(&*self.tokens, &head.headers).await? };
        let target = request::target_of(&head.method, head.uri.path())?;
        let call = Call { cdn: &self.cdn, context: &context, head };
        match (head.method.as_str(), &target) {
            ("GET" | "HEAD", Target::Account(tenant)) => call.list(tenant).await,
            ("HEAD", Target::Container(tenant, container)) => call.show(tenant, container).await,
            ("PUT", Target::Container(tenant, container)) => call.publish(tenant, container).await,
            ("POST", Target::Container(tenant, container)) => call.update(tenant, container).await,
            ("DELETE", Target::Container(tenant, container)) => call.delete(tenant, container).await,
            ("DELETE", Target::Object(tenant, container, object)) => {
                call.purge(tenant, container, object).await
            }
            _ => Err(Fault::method(target.methods())),
        }
    }
}

/// One request.
struct Call<'r> {
    cdn: &'r Cdn,
    context: &'r Context,
    head: &'r Parts,
}

impl Call<'_> {
    async fn list(&self, tenant: &str) -> Result<Response, Fault> {
        let asked = listing::Asked::read(self.head)?;
        let found = self.cdn.list(self.context, tenant, asked.page.clone()).await?;
        Ok(listing::render(self.cdn, tenant, &asked, &found))
    }

    async fn show(&self, tenant: &str, container: &str) -> Result<Response, Fault> {
        let publication = self.cdn.publication(self.context, tenant, container).await?;
        Ok(self.described(StatusCode::NO_CONTENT, &publication))
    }

    async fn publish(&self, tenant: &str, container: &str) -> Result<Response, Fault> {
        let mut change = headers::change(&self.head.headers)?;
        change.enabled = change.enabled.or(Some(true));
        let published = self.cdn.publish(self.context, tenant, container, change).await?;
        let status = if published.is_new { StatusCode::CREATED } else { StatusCode::ACCEPTED };
        Ok(self.described(status, &published.publication))
    }

    async fn update(&self, tenant: &str, container: &str) -> Result<Response, Fault> {
        let change = headers::change(&self.head.headers)?;
        let publication = self.cdn.update(self.context, tenant, container, change).await?;
        Ok(self.described(StatusCode::ACCEPTED, &publication))
    }

    /// Removes the publication where `X-Remove-Cdn-Container` says so; otherwise purges the container, as the API of 2011
    /// had it.
    async fn delete(&self, tenant: &str, container: &str) -> Result<Response, Fault> {
        if headers::says_yes(&self.head.headers, "x-remove-cdn-container") {
            self.cdn.remove(self.context, tenant, container).await?;
        } else {
            headers::check_emails(&self.head.headers)?;
            self.cdn.purge_container(self.context, tenant, container).await?;
        }
        Ok(empty(StatusCode::NO_CONTENT))
    }

    async fn purge(&self, tenant: &str, container: &str, object: &str) -> Result<Response, Fault> {
        headers::check_emails(&self.head.headers)?;
        self.cdn.purge_object(self.context, tenant, container, object).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    fn described(&self, status: StatusCode, publication: &Publication) -> Response {
        let mut response = empty(status);
        headers::describe(self.cdn, publication, response.headers_mut());
        response
    }
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
