//! Cloud Servers v1.0 (developer guide of 2009-07-13), in JSON and XML.

mod actions;
mod addresses;
mod body;
mod call;
mod documents;
mod fault;
mod flavors;
mod groups;
mod images;
mod limits;
mod respond;
mod schedules;
mod servers;
mod sharing;
mod versions;
mod wadl;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use http::{Method, Uri};
use identity::Right;
use tower::Service;
use web::listener::ServiceName;
use web::wire::Refused;
use web::{Format, Response, Routes, format, gzip};

use super::Tokens;
use crate::Compute;
use fault::Fault;

pub use documents::schema;
pub use wadl::description;

/// The XML namespace of all elements.
pub(crate) const NAMESPACE: &str = "http://docs.rackspacecloud.com/servers/api/v1.0";

/// State shared by the handlers.
#[derive(Clone)]
pub struct Api {
    pub(crate) compute: Compute,
    pub(crate) tokens: Arc<dyn Tokens>,
}

/// Returns all operations with the right that each needs. Paths are relative to `/servers`.
#[must_use]
pub fn routes() -> Routes<Api, Right> {
    use Right::{Administer, Create, Observe};
    let routes = Routes::new()
        .add(Method::GET, "/v1.0/{tenant}/limits", Observe, limits::show)
        .add(Method::GET, "/v1.0/{tenant}/flavors", Observe, flavors::list)
        .add(Method::GET, "/v1.0/{tenant}/flavors/detail", Observe, flavors::detail)
        .add(Method::GET, "/v1.0/{tenant}/flavors/{id}", Observe, flavors::show)
        .add(Method::GET, "/v1.0/{tenant}/images", Observe, images::list)
        .add(Method::GET, "/v1.0/{tenant}/images/detail", Observe, images::detail)
        .add(Method::GET, "/v1.0/{tenant}/images/{id}", Observe, images::show)
        .add(Method::POST, "/v1.0/{tenant}/images", Create, images::create)
        .add(Method::DELETE, "/v1.0/{tenant}/images/{id}", Administer, images::delete)
        .add(Method::PUT, "/v1.0/{tenant}/images/{id}", Create, sharing::publish)
        .add(Method::GET, "/v1.0/{tenant}/images/{id}/access", Observe, sharing::show)
        .add(Method::PUT, "/v1.0/{tenant}/images/{id}/access/{member}", Create, sharing::share)
        .add(Method::DELETE, "/v1.0/{tenant}/images/{id}/access/{member}", Administer, sharing::unshare)
        .add(Method::GET, "/v1.0/{tenant}/servers", Observe, servers::list)
        .add(Method::GET, "/v1.0/{tenant}/servers/detail", Observe, servers::detail)
        .add(Method::POST, "/v1.0/{tenant}/servers", Create, servers::create);
    routes
        .add(Method::GET, "/v1.0/{tenant}/servers/{id}", Observe, servers::show)
        .add(Method::PUT, "/v1.0/{tenant}/servers/{id}", Create, servers::update)
        .add(Method::DELETE, "/v1.0/{tenant}/servers/{id}", Administer, servers::delete)
        .add(Method::POST, "/v1.0/{tenant}/servers/{id}/action", Create, actions::act)
        .add(Method::GET, "/v1.0/{tenant}/servers/{id}/ips", Observe, addresses::list)
        .add(Method::GET, "/v1.0/{tenant}/servers/{id}/ips/public", Observe, addresses::public)
        .add(Method::GET, "/v1.0/{tenant}/servers/{id}/ips/private", Observe, addresses::private)
        .add(Method::PUT, "/v1.0/{tenant}/servers/{id}/ips/public/{address}", Create, addresses::share)
        .add(
            Method::DELETE,
            "/v1.0/{tenant}/servers/{id}/ips/public/{address}",
            Administer,
            addresses::unshare,
        )
        .add(Method::GET, "/v1.0/{tenant}/servers/{id}/backup_schedule", Observe, schedules::show)
        .add(Method::POST, "/v1.0/{tenant}/servers/{id}/backup_schedule", Create, schedules::set)
        .add(Method::DELETE, "/v1.0/{tenant}/servers/{id}/backup_schedule", Administer, schedules::delete)
        .add(Method::GET, "/v1.0/{tenant}/shared_ip_groups", Observe, groups::list)
        .add(Method::GET, "/v1.0/{tenant}/shared_ip_groups/detail", Observe, groups::detail)
        .add(Method::POST, "/v1.0/{tenant}/shared_ip_groups", Create, groups::create)
        .add(Method::GET, "/v1.0/{tenant}/shared_ip_groups/{id}", Observe, groups::show)
        .add(Method::DELETE, "/v1.0/{tenant}/shared_ip_groups/{id}", Administer, groups::delete)
}

/// The path that the API is mounted at.
const ROOT: &str = "/servers";

/// Returns the API mounted at [`ROOT`]. The root itself may have a format extension; there are no resources below such a root.
pub(crate) fn router(api: Api) -> Router {
    let dialect = dialect(api);
    let mut whole = Router::new().nest_service(ROOT, dialect.clone());
    for extension in [".json", ".xml"] {
        let root = tower::ServiceBuilder::new()
            .map_request(move |mut request: Request| {
                let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
                if let Ok(uri) = format!("/{extension}{query}").parse() {
                    *request.uri_mut() = uri;
                }
                request
            })
            .service(dialect.clone());
        // The API responds with 404 for every path below it.
        whole = whole
            .route_service(&format!("{ROOT}{extension}"), root)
            .route_service(&format!("{ROOT}{extension}/"), dialect.clone())
            .route_service(&format!("{ROOT}{extension}/{{*below}}"), dialect.clone());
    }
    whole
}

/// Returns the API's routes below its root, with the API's own faults for unknown paths and methods.
fn dialect(
    api: Api,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
    let inner = routes()
        .into_router()
        .route("/", axum::routing::get(versions::list))
        .route("/v1.0", axum::routing::get(versions::show))
        .route("/v1.0/docs/guide.html", axum::routing::get(documents::guide))
        .route("/v1.0/application.wadl", axum::routing::get(wadl::show))
        .route("/v1.0/docs/servers.xsd", axum::routing::get(documents::xsd))
        .fallback(|request: Request| async move { not_found(&request) })
        .method_not_allowed_fallback(|request: Request| async move { bad_method(&request) })
        .with_state(api);
    tower::ServiceBuilder::new()
        .layer(axum::middleware::from_fn(gzip::layer))
        .layer(axum::middleware::from_fn(format::layer))
        .map_request(|request: Request| format::negotiate(without_slash(request)))
        .map_response(|mut response: Response| {
            response.extensions_mut().insert(ServiceName("servers"));
            response
        })
        .service(inner)
}

/// Removes trailing slashes from the path: `/servers/` is the same as `/servers`.
fn without_slash(mut request: Request) -> Request {
    let uri = request.uri();
    let path = uri.path();
    if path.len() > 1 && path.ends_with('/') {
        let trimmed = path.trim_end_matches('/');
        let trimmed = if trimmed.is_empty() { "/" } else { trimmed };
        let text = uri.query().map_or_else(|| trimmed.to_owned(), |query| format!("{trimmed}?{query}"));
        if let Ok(shorter) = text.parse::<Uri>() {
            *request.uri_mut() = shorter;
        }
    }
    request
}

fn format_of(request: &Request) -> Format {
    request.extensions().get().copied().unwrap_or_default()
}

/// Returns the response to a request that was rejected before routing.
#[must_use]
pub fn refuse(refused: &Refused) -> Response {
    let mut response = Fault::bad_request(&refused.reason).render(refused.format);
    *response.status_mut() = refused.status;
    response.extensions_mut().insert(ServiceName("servers"));
    response
}

fn not_found(request: &Request) -> Response {
    Fault::new("itemNotFound", 404, "there is no resource at this path").render(format_of(request))
}

fn bad_method(request: &Request) -> Response {
    let message = format!("{} is not allowed on this path", request.method());
    Fault::new("badMethod", 405, message).render(format_of(request))
}
