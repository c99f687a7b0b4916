//! v3: Keystone's dialect. JSON alone; errors as `{"error": {"code", "title", "message"}}`.

mod assignments;
mod auth;
mod catalog;
mod credentials;
mod domains;
mod projects;
mod roles;
mod token;
mod users;

use axum::extract::{FromRequestParts, State};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use web::query::{Query, encode};
use web::{Format, Response};

use crate::api::versions::VERSIONS;
use crate::api::{Failure, Need, Shared, Table, json as answer};
use crate::service::error::Error;

/// Every route with what it needs.
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

/// `GET /v3`: what this dialect is.
async fn version(State(identity): State<Shared>) -> Response {
    answer(StatusCode::OK, &json!({"version": VERSIONS[0].json(&identity)}))
}

/// The dialect's faults (Keystone v3).
pub(crate) fn fault(failure: &Failure, _: Format) -> Response {
    let status = match failure {
        // Keystone tells a disabled user nothing more than anybody else who may not in.
        Failure::Service(Error::Disabled | Error::PasswordExpired { .. }) => StatusCode::UNAUTHORIZED,
        other => other.status(),
    };
    let message = match failure {
        Failure::Service(Error::Credentials | Error::Disabled | Error::Token) => {
            "The request you have made requires authentication.".to_owned()
        }
        Failure::Service(Error::PasswordExpired { user_id }) => {
            format!("The password is expired and needs to be changed for user: {user_id}.")
        }
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

/// A request's query, and the path for links.
pub(crate) struct Asked {
    query: Query,
    path: String,
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self { query: Query::parse(parts.uri.query()), path: parts.uri.path().to_owned() })
    }
}

impl Asked {
    /// A parameter's text, if it has any.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.query.text(name).filter(|text| !text.is_empty()).map(std::borrow::Cow::into_owned)
    }

    /// A parameter that is set unless it says no (Keystone: `?include_names`, `?include_names=True`).
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.query.text(name).is_some_and(|text| text != "0" && !text.eq_ignore_ascii_case("false"))
    }

    /// A truth value.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        let text = self.text(name)?;
        Some(text != "0" && !text.eq_ignore_ascii_case("false"))
    }

    /// How many at most.
    pub(crate) fn limit(&self) -> Result<Option<i64>, Error> {
        let Some(text) = self.text("limit") else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(limit) if limit >= 0 => Ok(Some(limit).filter(|limit| *limit > 0)),
            _ => Err(Error::invalid("limit must be a whole number")),
        }
    }

    /// A list with its links; `next` is the marker of the page that follows.
    pub(crate) fn list(
        &self,
        shared: &Shared,
        name: &str,
        items: Vec<Value>,
        next: Option<&str>,
    ) -> Response {
        let base = format!("{}/identity/v3{}", shared.settings().public_url, self.path);
        let own: Vec<String> = self
            .query
            .pairs()
            .filter(|(key, _)| *key != "marker")
            .map(|(key, value)| format!("{}={}", encode(key.as_bytes(), false), encode(value, false)))
            .collect();
        let with = |extra: Option<String>| {
            let query: Vec<String> = own.iter().cloned().chain(extra).collect();
            if query.is_empty() { base.clone() } else { format!("{base}?{}", query.join("&")) }
        };
        let next_link = next.map(|marker| with(Some(format!("marker={}", encode(marker.as_bytes(), false)))));
        let mut body = Map::new();
        body.insert(name.to_owned(), Value::Array(items));
        body.insert("links".to_owned(), json!({"self": with(None), "previous": null, "next": next_link}));
        if next.is_some() {
            body.insert("truncated".to_owned(), Value::Bool(true));
        }
        answer(StatusCode::OK, &Value::Object(body))
    }
}

/// A resource's own links.
pub(crate) fn links(shared: &Shared, path: &str) -> Value {
    json!({"self": format!("{}/identity/v3{path}", shared.settings().public_url)})
}
