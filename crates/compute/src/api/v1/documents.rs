//! Documents that describe this API: the guide and the XML schema.

use axum::extract::State;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use identity::Right;
use web::Response;

use super::servers::STATUSES;
use super::{Api, NAMESPACE, routes};
use crate::model::{Daily, Weekly};

/// The faults of the guide's table with their codes. The misspelt one appears in both spellings.
pub(super) const FAULTS: [(&str, &str); 15] = [
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

pub(super) fn document(media: &'static str, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// Returns the XML schema of all requests and responses.
#[must_use]
pub fn schema() -> String {
    let values = |names: &mut dyn Iterator<Item = &'static str>, indent: &str| -> String {
        names.map(|name| format!("{indent}<xsd:enumeration value=\"{name}\"/>\n")).collect()
    };
    let mut faults = String::new();
    for (name, _) in FAULTS {
        let retry = if name == "overLimit" {
            "<xsd:attribute name=\"retryAfter\" type=\"xsd:dateTime\"/>"
        } else {
            ""
        };
        let content = format!("<xsd:extension base=\"api:CloudServersAPIFault\">{retry}</xsd:extension>");
        faults.push_str(&format!(
            "  <xsd:element name=\"{name}\"><xsd:complexType><xsd:complexContent>{content}</xsd:complexContent>\
             </xsd:complexType></xsd:element>\n"
        ));
    }
    include_str!("servers.xsd")
        .replace("@NAMESPACE@", NAMESPACE)
        .replace("@STATUSES@", &values(&mut STATUSES.into_iter(), "      "))
        .replace("@DAYS@", &values(&mut Weekly::names(), "          "))
        .replace("@WINDOWS@", &values(&mut Daily::names(), "          "))
        .replace("@FAULTS@", &faults)
}

pub(super) async fn xsd() -> Response {
    document("application/xml; charset=UTF-8", schema())
}

pub(super) async fn guide(State(api): State<Api>) -> Response {
    let mut rows = String::new();
    for entry in routes().entries() {
        let role = match entry.right {
            Right::Observe => "observer",
            Right::Create => "creator",
            Right::Administer => "admin",
        };
        let path = entry.path.strip_prefix("/v1.0/{tenant}").unwrap_or(entry.path);
        rows.push_str(&format!("<tr><td>{}</td><td>{path}</td><td>{role}</td></tr>\n", entry.method));
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
