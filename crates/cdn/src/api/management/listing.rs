//! The list of an account's published containers: text, JSON or XML.

use axum::body::Body;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use web::Response;
use web::query::Query;

use super::fault::Fault;
use super::headers::{capitalised, is_yes};
use crate::model::Publication;
use crate::service::{Cdn, Page};

/// Containers in one list at most (Cloud Files guide).
const LIMIT: usize = 10_000;

/// How the list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Xml,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=UTF-8",
            Self::Json => "application/json; charset=UTF-8",
            Self::Xml => "application/xml; charset=UTF-8",
        }
    }

    fn asked(query: &Query, head: &Parts) -> Self {
        match query.text("format").map(|format| format.to_ascii_lowercase()).as_deref() {
            Some("json") => return Self::Json,
            Some("xml") => return Self::Xml,
            Some("text" | "plain") => return Self::Text,
            _ => {}
        }
        let accept = web::format::accept(&head.headers);
        let offered = ["text/plain", "application/json", "application/xml", "text/xml"];
        match web::format::preferred(&accept, &offered) {
            Some(1) => Self::Json,
            Some(2 | 3) => Self::Xml,
            _ => Self::Text,
        }
    }
}

/// What a request asks for.
pub(super) struct Asked {
    pub(super) page: Page,
    form: Form,
    is_head: bool,
}

impl Asked {
    pub(super) fn read(head: &Parts) -> Result<Self, Fault> {
        let query = Query::parse(head.uri.query());
        let refused = |sentence: &str| Fault::page(StatusCode::BAD_REQUEST, sentence);
        let limit = match query.text("limit") {
            None => LIMIT,
            Some(text) => {
                let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let number = is_number.then(|| text.parse().unwrap_or(usize::MAX));
                number.ok_or_else(|| refused("Invalid limit, must be integer"))?.min(LIMIT)
            }
        };
        let name = |key: &str| query.text(key).map(|name| name.into_owned()).unwrap_or_default();
        let enabled = query.text("enabled").map(|word| is_yes(&word));
        let only = query.text("enabled_only").is_some_and(|word| is_yes(&word));
        let page = Page {
            limit,
            marker: name("marker"),
            end_marker: name("end_marker"),
            enabled: if only { Some(true) } else { enabled },
        };
        Ok(Self { page, form: Form::asked(&query, head), is_head: head.method == Method::HEAD })
    }
}

/// A container in JSON. The documentation of 2015 spells the URIs differently from what clients of 2013 read, so both are
/// present.
#[derive(Serialize)]
struct Line<'p> {
    name: &'p str,
    cdn_enabled: bool,
    ttl: u32,
    log_retention: bool,
    cdn_uri: &'p str,
    cdn_ssl_uri: &'p str,
    cdn_streaming_uri: &'p str,
    cdn_ios_uri: &'p str,
    #[serde(rename = "X-Cdn-Uri")]
    header_uri: &'p str,
    #[serde(rename = "X-Cdn-Ssl-Uri")]
    header_ssl_uri: &'p str,
    #[serde(rename = "X-Cdn-Streaming-Uri")]
    header_streaming_uri: &'p str,
    #[serde(rename = "X-Cdn-Ios-Uri")]
    header_ios_uri: &'p str,
}

pub(super) fn render(cdn: &Cdn, tenant: &str, asked: &Asked, found: &[Publication]) -> Response {
    let text = match asked.form {
        Form::Text => found.iter().map(|line| format!("{}\n", line.container)).collect(),
        Form::Json => json(cdn, found),
        Form::Xml => xml(cdn, tenant, found),
    };
    let status = if text.is_empty() { StatusCode::NO_CONTENT } else { StatusCode::OK };
    let length = text.len();
    let mut response = Response::new(if asked.is_head { Body::empty() } else { Body::from(text) });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asked.form.content_type()));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    if status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

fn json(cdn: &Cdn, found: &[Publication]) -> String {
    let uris: Vec<_> = found.iter().map(|line| cdn.uris(line)).collect();
    let lines = found.iter().zip(&uris).map(|(line, uris)| Line {
        name: &line.container,
        cdn_enabled: line.enabled,
        ttl: line.ttl.seconds(),
        log_retention: line.log_retention,
        cdn_uri: &uris.plain,
        cdn_ssl_uri: &uris.ssl,
        cdn_streaming_uri: &uris.streaming,
        cdn_ios_uri: &uris.ios,
        header_uri: &uris.plain,
        header_ssl_uri: &uris.ssl,
        header_streaming_uri: &uris.streaming,
        header_ios_uri: &uris.ios,
    });
    serde_json::to_string(&lines.collect::<Vec<_>>()).unwrap_or_default()
}

fn xml(cdn: &Cdn, tenant: &str, found: &[Publication]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<account name=\"AUTH_");
    web::xml::escape_into(tenant, &mut out);
    out.push_str("\">\n");
    for line in found {
        let uris = cdn.uris(line);
        let ttl = line.ttl.seconds().to_string();
        let elements = [
            ("name", &*line.container),
            ("cdn_enabled", capitalised(line.enabled)),
            ("ttl", &ttl),
            ("log_retention", capitalised(line.log_retention)),
            ("cdn_uri", &uris.plain),
            ("cdn_ssl_uri", &uris.ssl),
            ("cdn_streaming_uri", &uris.streaming),
            ("cdn_ios_uri", &uris.ios),
        ];
        out.push_str("  <container>\n");
        for (name, value) in elements {
            out.push_str(&format!("    <{name}>"));
            web::xml::escape_into(value, &mut out);
            out.push_str(&format!("</{name}>\n"));
        }
        out.push_str("  </container>\n");
    }
    out.push_str("</account>\n");
    out
}
