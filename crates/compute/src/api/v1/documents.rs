//! Documents that describe this dialect: made from the table of routes, so that they are true of what is served.

use axum::extract::State;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use identity::Right;
use web::Response;
use web::xml::Element;

use super::{Api, NAMESPACE, routes};

const WADL: &str = "http://wadl.dev.java.net/2009/02";
const XML_SCHEMA: &str = "http://www.w3.org/2001/XMLSchema";

/// The faults of the guide's table, with their codes; the one that it misspells in both spellings.
const FAULTS: [(&str, &str); 15] = [
    ("cloudServersFault", "500, 400, 403, 409"),
    ("serviceUnavailable", "503"),
    ("unauthorized", "401"),
    ("badRequest", "400"),
    ("overLimit", "413"),
    ("badMediaType", "415"),
    ("badMethod", "405"),
    ("itemNotFound", "404"),
    ("rescueModelInUse", "409"),
    ("rescueModeInUse", "409"),
    ("buildInProgress", "409"),
    ("serverCapacityUnavailable", "503"),
    ("backupOrResizeInProgress", "409"),
    ("resizeNotAllowed", "403"),
    ("notImplemented", "501"),
];

fn document(media: &'static str, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

pub(super) async fn wadl(State(api): State<Api>) -> Response {
    let base = &api.compute.settings().public_url;
    let table = routes();
    let mut resources = Element::new("resources").attr("base", format!("{base}/"));
    let mut paths: Vec<&str> = table.entries().iter().map(|entry| entry.path).collect();
    paths.dedup();
    paths.sort_unstable();
    paths.dedup();
    for path in paths {
        let parameters = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let parameters = parameters.map(|name| {
            Element::new("param").attr("name", name).attr("style", "template").attr("type", "xsd:string")
        });
        let methods = table.entries().iter().filter(|entry| entry.path == path).map(|entry| {
            let representation = |media| Element::new("representation").attr("mediaType", media);
            let response = Element::new("response")
                .child(representation("application/json"))
                .child(representation("application/xml"));
            Element::new("method").attr("name", &entry.method).child(response)
        });
        let resource = Element::new("resource").attr("path", path.trim_start_matches('/'));
        resources = resources.child(resource.children(parameters).children(methods));
    }
    let schema = Element::new("include").attr("href", format!("{base}/v1.0/docs/servers.xsd"));
    let root = Element::new("application")
        .attr("xmlns", WADL)
        .attr("xmlns:xsd", XML_SCHEMA)
        .child(Element::new("grammars").child(schema))
        .child(resources);
    document("application/vnd.sun.wadl+xml", root.to_document())
}

/// The faults' schema: each extends the base type, so that a client may bind them all at once (guide, Faults).
pub(super) async fn xsd() -> Response {
    let text = |name| Element::new("xsd:element").attr("name", name).attr("type", "xsd:string");
    let base = Element::new("xsd:complexType")
        .attr("name", "CloudServersAPIFault")
        .child(
            Element::new("xsd:sequence").child(text("message")).child(text("details").attr("minOccurs", 0)),
        )
        .child(
            Element::new("xsd:attribute")
                .attr("name", "code")
                .attr("type", "xsd:int")
                .attr("use", "required"),
        );
    let faults = FAULTS.iter().map(|(name, _)| {
        let mut extension = Element::new("xsd:extension").attr("base", "api:CloudServersAPIFault");
        if *name == "overLimit" {
            let retry = Element::new("xsd:attribute").attr("name", "retryAfter").attr("type", "xsd:dateTime");
            extension = extension.child(retry);
        }
        let content = Element::new("xsd:complexContent").child(extension);
        let kind = Element::new("xsd:complexType").child(content);
        Element::new("xsd:element").attr("name", name).child(kind)
    });
    let root = Element::new("xsd:schema")
        .attr("xmlns:xsd", XML_SCHEMA)
        .attr("xmlns:api", NAMESPACE)
        .attr("targetNamespace", NAMESPACE)
        .attr("elementFormDefault", "qualified")
        .child(base)
        .children(faults);
    document("application/xml; charset=UTF-8", root.to_document())
}

pub(super) async fn guide(State(api): State<Api>) -> Response {
    let mut rows = String::new();
    for entry in routes().entries() {
        let role = match entry.right {
            Right::Observe => "observer",
            Right::Create => "creator",
            Right::Administer => "admin",
        };
        rows.push_str(&format!("<tr><td>{}</td><td>{}</td><td>{role}</td></tr>\n", entry.method, entry.path));
    }
    let mut faults = String::new();
    for (name, codes) in FAULTS {
        faults.push_str(&format!("<tr><td>{name}</td><td>{codes}</td></tr>\n"));
    }
    let body = include_str!("guide.html")
        .replace("@BASE@", &api.compute.settings().public_url)
        .replace("@ROUTES@", &rows)
        .replace("@FAULTS@", &faults);
    document("text/html; charset=UTF-8", body)
}
