//! v2.0: Cloud Identity's dialect, JSON and XML.

mod access;
mod tokens;

use axum::extract::State;
use axum::response::IntoResponse;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use web::xml::Element;
use web::{Format, Response};

use crate::api::access::Origin;
use crate::api::versions::VERSIONS;
use crate::api::{Failure, Need, Shared, Table};
use crate::service::error::Error;

/// The dialect's namespace.
pub(crate) const XMLNS: &str = "http://docs.openstack.org/identity/api/v2.0";

/// Every route with what it needs.
pub(crate) fn table() -> Table {
    let mut table = Table::new().add(Method::GET, "/", Need::Open, version);
    for add in [tokens::add as fn(Table) -> Table] {
        table = add(table);
    }
    table
}

/// An answer in both formats.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) json: Value,
    pub(crate) xml: Element,
}

impl Answer {
    /// 200.
    pub(crate) fn ok(json: Value, xml: Element) -> Self {
        Self { status: StatusCode::OK, json, xml }
    }

    /// It, in the format that was asked for.
    pub(crate) fn in_format(self, format: Format) -> Response {
        let body = match format {
            Format::Json => self.json.to_string(),
            Format::Xml => self.xml.to_document(),
        };
        (self.status, [(http::header::CONTENT_TYPE, format.content_type())], body).into_response()
    }
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

/// The dialect's faults: `{"unauthorized": {"code": 401, "message": …}}` and the like in XML.
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
