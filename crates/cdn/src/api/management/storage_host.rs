//! Publishing at the storage's own address, as seed 000 shows: PUT or POST of a container with `X-CDN-Enabled`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware::{Next, from_fn_with_state};
use files::api::swift::Tokens;
use http::{HeaderValue, Method, StatusCode, header};
use identity::Right;
use web::{Request, Response};

use super::request::{self, Target};
use super::{Management, empty, headers};
use crate::service::{Cdn, Context};

/// Wraps the storage's routes: after the Swift dialect created or changed the container, the container is published, and the
/// management dialect's response is returned.
pub fn on_storage_host(router: Router, cdn: Cdn, tokens: Arc<dyn Tokens>) -> Router {
    router.layer(from_fn_with_state(Management { cdn, tokens }, publish))
}

async fn publish(State(management): State<Management>, request: Request, next: Next) -> Response {
    let is_change = matches!(*request.method(), Method::PUT | Method::POST);
    if !is_change || !request.headers().contains_key("x-cdn-enabled") {
        return next.run(request).await;
    }
    let target = request::target_of(request.method(), &format!("/cdn{}", request.uri().path()));
    let Ok(Target::Container(tenant, container)) = target else { return next.run(request).await };
    let asked = request.headers().clone();
    // The storage rejects an invalid token itself.
    let Ok(caller) = request::caller(&*management.tokens, &asked).await else {
        return next.run(request).await;
    };
    let context = Context { caller };
    let change = match headers::change(&asked) {
        Ok(change) => change,
        Err(fault) => return fault.into_response(false),
    };
    if let Err(refused) = context.authorise(&tenant, Right::Administer) {
        return super::Fault::from(refused).into_response(false);
    }
    let response = next.run(request).await;
    if !response.status().is_success() {
        return response;
    }
    match management.cdn.publish(&context, &tenant, &container, change).await {
        Ok(published) => {
            let mut response = empty(StatusCode::ACCEPTED);
            headers::describe(&management.cdn, &published.publication, response.headers_mut());
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            response
        }
        Err(refused) => super::Fault::from(refused).into_response(false),
    }
}
