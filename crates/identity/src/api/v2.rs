//! v2.0: Cloud Identity's dialect, JSON and XML.

mod access;
mod credentials;
mod domains;
mod extensions;
mod policies;
mod roles;
mod tenants;
mod tokens;
mod users;

use axum::extract::State;
use axum::response::IntoResponse;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use web::xml::Element;
use web::{Format, Response};

use crate::api::access::Origin;
use crate::api::asked::QueryParameters;
use crate::api::versions::VERSIONS;
use crate::api::{Failure, Need, Shared, Table};
use crate::service::PAGE_MAX;
use crate::service::error::Error;

/// The dialect's namespace.
pub(crate) const XMLNS: &str = "http://docs.openstack.org/identity/api/v2.0";

/// The namespace of Rackspace's extensions.
pub(crate) const RAX_AUTH: &str = "http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0";
const ATOM: &str = "http://www.w3.org/2005/Atom";

/// Returns every route with the access it needs.
pub(crate) fn table() -> Table {
    let mut table = Table::new().add(Method::GET, "/", Need::Open, version);
    for add in [
        tokens::add as fn(Table) -> Table,
        users::add,
        credentials::add,
        roles::add,
        tenants::add,
        domains::add,
        policies::add,
        extensions::add,
    ] {
        table = add(table);
    }
    table
}

/// A response in both formats.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) json: Value,
    pub(crate) xml: Element,
}

impl Answer {
    /// Creates a response with status 200.
    pub(crate) fn ok(json: Value, xml: Element) -> Self {
        Self { status: StatusCode::OK, json, xml }
    }

    /// Creates a list with its links.
    pub(crate) fn list(
        name: &str,
        json: Vec<Value>,
        xml: Vec<Element>,
        links: Vec<(&'static str, String)>,
    ) -> Self {
        let shown = links.iter().map(|(rel, href)| json!({"rel": rel, "href": href})).collect();
        let mut fields = Map::new();
        fields.insert(name.to_owned(), Value::Array(json));
        fields.insert(format!("{name}_links"), Value::Array(shown));
        let element = Element::new(name).attr("xmlns", XMLNS).attr("xmlns:RAX-AUTH", RAX_AUTH);
        let element = if links.is_empty() { element } else { element.attr("xmlns:atom", ATOM) };
        let links =
            links.iter().map(|(rel, href)| Element::new("atom:link").attr("rel", rel).attr("href", href));
        Self::ok(Value::Object(fields), element.children(xml).children(links))
    }

    /// Renders the response in the requested format.
    pub(crate) fn in_format(self, format: Format) -> Response {
        let body = match format {
            Format::Json => self.json.to_string(),
            Format::Xml => self.xml.to_document(),
        };
        (self.status, [(http::header::CONTENT_TYPE, format.content_type())], body).into_response()
    }
}

/// Returns the requested page size. More than the largest page size is rejected (v2.0, Paginated collections).
pub(crate) fn limit(asked: &QueryParameters) -> Result<Option<i64>, Failure> {
    let Some(text) = asked.text("limit") else { return Ok(None) };
    match text.parse::<i64>() {
        Ok(limit) if limit > PAGE_MAX => Err(Failure::OverLimit(PAGE_MAX)),
        Ok(limit) if limit > 0 => Ok(Some(limit)),
        _ => Err(Error::invalid("limit must be a whole number from 1").into()),
    }
}

/// Returns links to the next and the previous page by their markers. An empty marker means the first page.
pub(crate) fn links(
    shared: &Shared,
    asked: &QueryParameters,
    next: Option<&str>,
    previous: Option<&str>,
) -> Vec<(&'static str, String)> {
    let link = |rel, marker: &str| (rel, asked.link(shared, "v2.0", marker));
    let next = next.map(|marker| link("next", marker));
    next.into_iter().chain(previous.map(|marker| link("previous", marker))).collect()
}

/// Returns a response with one header and no body.
pub(crate) fn header_answer(status: StatusCode, name: &'static str, value: &str) -> Response {
    let mut response = status.into_response();
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    response
}

async fn version(State(identity): State<Shared>, origin: Origin) -> Response {
    let version = &VERSIONS[1];
    let url = version.url(&identity);
    let xml = Element::new("version")
        .attr("xmlns", "http://docs.openstack.org/common/api/v1.0")
        .attr("id", version.id)
        .attr("status", "CURRENT")
        .child(Element::new("link").attr("rel", "self").attr("href", &url));
    Answer::ok(json!({"version": version.json(&identity)}), xml).in_format(origin.format)
}

/// Renders the dialect's faults: `{"unauthorized": {"code": 401, "message": …}}` and the equivalent XML.
pub(crate) fn fault(failure: &Failure, format: Format) -> Response {
    let (status, name) = match failure {
        Failure::Service(Error::Disabled) => (StatusCode::FORBIDDEN, "userDisabled"),
        Failure::Service(Error::TooManyAttempts { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, "overLimit"),
        other => (other.status(), name_of(other.status())),
    };
    let message = failure.message();
    let code = status.as_u16();
    let xml = Element::new(name)
        .attr("xmlns", XMLNS)
        .attr("code", code)
        .child(Element::new("message").text(message.clone()));
    let mut fields = serde_json::Map::new();
    fields.insert(name.to_owned(), json!({"code": code, "message": message}));
    let mut response = Answer { status, json: Value::Object(fields), xml }.in_format(format);
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Keystone uri=\"/identity/v2.0\"");
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn name_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 | 408 => "badRequest",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "itemNotFound",
        405 => "methodNotAllowed",
        409 => "badRequest",
        413 => "overLimit",
        415 => "badMediaType",
        _ => "serviceUnavailable",
    }
}
