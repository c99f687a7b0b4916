//! v1.1: sign-in by a request body, which returns a token and the catalog of v1.1; JSON and XML.

use axum::extract::State;
use axum::response::IntoResponse;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use web::xml::Element;
use web::{Format, Response};

use crate::api::access::Origin;
use crate::api::fields::{AnyBody, Fields};
use crate::api::versions::VERSIONS;
use crate::api::{Failure, HandlerResult, Need, Shared, Table};
use crate::model::{CatalogService, Interface};
use crate::service::error::Error;
use crate::service::signin::{IdOrName, Proof, RequestedScope, SignIn, TokenKind};

const XMLNS: &str = "http://docs.rackspacecloud.com/auth/api/v1.1";

/// Returns every route with the access it needs.
pub(crate) fn table() -> Table {
    Table::new().add(Method::GET, "/", Need::Open, version).add(Method::POST, "/auth", Need::Open, sign_in)
}

async fn version(State(identity): State<Shared>, origin: Origin) -> Response {
    let version = &VERSIONS[2];
    let xml = Element::new("version")
        .attr("xmlns", "http://docs.openstack.org/common/api/v1.0")
        .attr("id", version.id)
        .attr("status", "DEPRECATED")
        .child(Element::new("link").attr("rel", "self").attr("href", version.url(&identity)));
    in_format(StatusCode::OK, &json!({"version": version.json(&identity)}), &xml, origin.format)
}

async fn sign_in(State(identity): State<Shared>, origin: Origin, AnyBody(body): AnyBody) -> HandlerResult {
    let body = Fields::of(&body)?;
    let proof = if let Some(given) = body.optional_object("credentials")? {
        Proof::ApiKey { user: IdOrName::name(&given.text("username")?), key: given.text("key")? }
    } else {
        let given = body
            .optional_object("passwordCredentials")?
            .ok_or_else(|| Error::invalid("the body must have credentials or passwordCredentials"))?;
        Proof::Password { user: IdOrName::name(&given.text("username")?), password: given.text("password")? }
    };
    let request =
        SignIn { proof, wanted: RequestedScope::Usual, address: origin.address, kind: TokenKind::Reissued };
    let signed_in = identity.sign_in(request).await?;
    let expires = signed_in.session.caller.expires.iso_millis();
    let catalog = identity.catalog().await?;
    let tenant_id = signed_in.session.token.scope.tenant();
    let mut json_services = Map::new();
    let mut xml_services = Element::new("serviceCatalog");
    // v1.1's clients know services only by Rackspace's names.
    for entry in catalog.services.iter().filter(|entry| entry.rackspace && tenant_id.is_some()) {
        let Some(endpoint) = endpoint(entry, tenant_id) else { continue };
        json_services.insert(entry.service.name.clone(), Value::Array(vec![endpoint.json()]));
        xml_services = xml_services
            .child(Element::new("service").attr("name", &entry.service.name).child(endpoint.xml()));
    }
    let json = json!({"auth": {
        "token": {"id": &*signed_in.token, "expires": expires},
        "serviceCatalog": json_services,
    }});
    let token = Element::new("token").attr("id", &signed_in.token).attr("expires", &expires);
    let xml = Element::new("auth").attr("xmlns", XMLNS).child(token).child(xml_services);
    Ok(in_format(StatusCode::OK, &json, &xml, origin.format))
}

/// A service's only endpoint, as v1.1 shows it.
struct Shown {
    region: Option<String>,
    public: String,
    internal: Option<String>,
}

fn endpoint(entry: &CatalogService, tenant_id: Option<&str>) -> Option<Shown> {
    let of = |interface: Interface| entry.endpoints.iter().find(|e| e.interface == interface && e.enabled);
    let public = of(Interface::Public)?;
    Some(Shown {
        region: public.region.clone().filter(|_| !entry.regionless),
        public: public.url_for(tenant_id)?,
        internal: of(Interface::Internal).filter(|_| !entry.regionless).and_then(|e| e.url_for(tenant_id)),
    })
}

impl Shown {
    fn json(&self) -> Value {
        let mut map = Map::new();
        if let Some(region) = &self.region {
            map.insert("region".to_owned(), json!(region));
            map.insert("v1Default".to_owned(), json!(true));
        }
        map.insert("publicURL".to_owned(), json!(self.public));
        if let Some(internal) = &self.internal {
            map.insert("internalURL".to_owned(), json!(internal));
        }
        Value::Object(map)
    }

    fn xml(&self) -> Element {
        Element::new("endpoint")
            .attr_if("region", self.region.as_ref())
            .attr_if("v1Default", self.region.as_ref().map(|_| true))
            .attr("publicURL", &self.public)
            .attr_if("internalURL", self.internal.as_ref())
    }
}

fn in_format(status: StatusCode, json: &Value, xml: &Element, format: Format) -> Response {
    let body = match format {
        Format::Json => json.to_string(),
        Format::Xml => xml.to_document(),
    };
    (status, [(http::header::CONTENT_TYPE, format.content_type())], body).into_response()
}

/// Renders the dialect's faults.
pub(crate) fn fault(failure: &Failure, format: Format) -> Response {
    let (status, name) = match failure {
        Failure::Service(Error::Disabled) => (StatusCode::FORBIDDEN, "userDisabled"),
        Failure::Service(Error::TooManyAttempts { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, "overLimit"),
        other => match other.status() {
            status @ StatusCode::UNAUTHORIZED => (status, "unauthorized"),
            status @ StatusCode::NOT_FOUND => (status, "itemNotFound"),
            status @ StatusCode::SERVICE_UNAVAILABLE => (status, "serviceUnavailable"),
            status if status.is_client_error() => (status, "badRequest"),
            status => (status, "authFault"),
        },
    };
    let (code, message) = (status.as_u16(), failure.message());
    let xml = Element::new(name)
        .attr("xmlns", XMLNS)
        .attr("code", code)
        .child(Element::new("message").text(message.clone()));
    let mut fields = Map::new();
    fields.insert(name.to_owned(), json!({"code": code, "message": message}));
    let mut response = in_format(status, &Value::Object(fields), &xml, format);
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Nephos realm=\"identity\"");
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, challenge);
    }
    response
}
