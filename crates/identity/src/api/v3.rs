//! v3: Keystone's dialect. JSON only; errors are `{"error": {"code", "title", "message"}}`.

mod assignments;
mod auth;
mod catalog;
mod credentials;
mod crud;
mod domains;
mod filters;
mod projects;
mod roles;
mod token;
mod users;

use axum::extract::State;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use web::{Format, Response};

use crate::api::asked::QueryParameters;
use crate::api::versions::VERSIONS;
use crate::api::{Failure, Need, Shared, Table, json as answer};
use crate::model::Extra;
use crate::service::Listed;
use crate::service::error::Error;

/// Returns every route with the access it needs.
pub(crate) fn table() -> Table {
    let mut table = Table::new().add(Method::GET, "/", Need::Open, version);
    for add in [
        auth::add as fn(Table) -> Table,
        users::add,
        projects::add,
        domains::add,
        roles::add,
        assignments::add,
        catalog::add,
        credentials::add,
    ] {
        table = add(table);
    }
    table
}

/// `GET /v3`: describes this dialect.
async fn version(State(identity): State<Shared>) -> Response {
    answer(StatusCode::OK, &json!({"version": VERSIONS[0].json(&identity)}))
}

/// Renders the dialect's faults (Keystone v3).
pub(crate) fn fault(failure: &Failure, _: Format) -> Response {
    let status = match failure {
        // As in Keystone, a disabled user gets the same response as wrong credentials.
        Failure::Service(Error::Disabled | Error::PasswordExpired { .. }) => StatusCode::UNAUTHORIZED,
        // Keystone treats the token as a resource that was not found.
        Failure::Service(Error::UnknownToken) => StatusCode::NOT_FOUND,
        other => other.status(),
    };
    let message = match failure {
        Failure::Service(Error::Credentials | Error::Disabled | Error::Token) => {
            "The request you have made requires authentication.".to_owned()
        }
        Failure::Service(Error::PasswordExpired { user_id }) => {
            format!("The password is expired and needs to be changed for user: {user_id}.")
        }
        Failure::Service(Error::UnknownToken) => "Failed to validate token".to_owned(),
        other => other.message(),
    };
    let title = status.canonical_reason().unwrap_or("Error");
    let body = json!({"error": {"code": status.as_u16(), "title": title, "message": message}});
    let mut response = answer(status, &body);
    response.headers_mut().insert(http::header::VARY, HeaderValue::from_static("X-Auth-Token"));
    if status == StatusCode::UNAUTHORIZED
        && let Ok(challenge) = HeaderValue::from_str("Keystone uri=\"/identity/v3\"")
    {
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Returns the requested page size.
pub(crate) fn limit(asked: &QueryParameters) -> Result<Option<i64>, Error> {
    let Some(text) = asked.text("limit") else { return Ok(None) };
    match text.parse::<i64>() {
        Ok(limit) if limit >= 0 => Ok(Some(limit).filter(|limit| *limit > 0)),
        _ => Err(Error::invalid("limit must be a whole number")),
    }
}

/// Renders a list with its links. `next` is the marker of the following page.
pub(crate) fn listing(
    shared: &Shared,
    asked: &QueryParameters,
    name: &str,
    items: Vec<Value>,
    next: Option<&str>,
) -> Response {
    let link = |marker: &str| asked.link(shared, "v3", marker);
    let mut body = Map::new();
    body.insert(name.to_owned(), Value::Array(items));
    body.insert("links".to_owned(), json!({"self": link(""), "previous": null, "next": next.map(link)}));
    if next.is_some() {
        body.insert("truncated".to_owned(), Value::Bool(true));
    }
    answer(StatusCode::OK, &Value::Object(body))
}

/// A resource that v3 shows individually and in pages.
pub(crate) trait Resource {
    /// Key of a single resource.
    const ONE: &'static str;
    /// Key of a list, also used in paths.
    const MANY: &'static str;
    /// The id, which is the marker of the page that follows the resource.
    fn id(&self) -> &str;
    /// The fields that v3 defines.
    fn fields(&self) -> Value;

    /// The further attributes that clients gave the resource.
    fn extra(&self) -> Option<&Extra> {
        None
    }

    /// Renders the resource with its links.
    fn view(&self, shared: &Shared) -> Value {
        let mut view = self.fields();
        for (name, value) in self.extra().into_iter().flat_map(|extra| &extra.0) {
            view[name] = value.clone();
        }
        view["links"] = links(shared, &format!("/{}/{}", Self::MANY, self.id()));
        view
    }
}

/// Returns a response with one resource.
pub(crate) fn one<R: Resource>(shared: &Shared, status: StatusCode, resource: &R) -> Response {
    answer(status, &json!({ (R::ONE): resource.view(shared) }))
}

/// Returns a response with a page of resources.
pub(crate) fn page<R: Resource>(shared: &Shared, asked: &QueryParameters, listed: &Listed<R>) -> Response {
    let next = listed.items.last().filter(|_| listed.more).map(Resource::id);
    let items = listed.items.iter().map(|item| item.view(shared)).collect();
    listing(shared, asked, R::MANY, items, next)
}

/// Returns a resource's own links.
pub(crate) fn links(shared: &Shared, path: &str) -> Value {
    json!({"self": format!("{}/identity/v3{path}", shared.settings().public_url)})
}
