//! Listings: what is asked for, and how it is written.

use std::fmt::Write;

use http::{HeaderMap, StatusCode};
use web::Response;
use web::format::preferred;
use web::query::Query as UrlQuery;
use web::xml::Element;

use super::answer;
use super::fault::Fault;
use crate::model::listing::{Line, Query};
use crate::model::time;
use crate::service::AccountLine;

/// How a listing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
    Xml,
}

impl Form {
    /// By `format=`, which wins, or by `Accept`.
    pub(super) fn asked(query: &UrlQuery, headers: &HeaderMap) -> Result<Self, Fault> {
        if let Some(format) = query.text("format") {
            return Ok(match format.to_ascii_lowercase().as_str() {
                "json" => Self::Json,
                "xml" => Self::Xml,
                _ => Self::Text,
            });
        }
        let accept =
            headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match preferred(accept, &["text/plain", "application/json", "application/xml", "text/xml"]) {
            Some(0) => Ok(Self::Text),
            Some(1) => Ok(Self::Json),
            Some(_) => Ok(Self::Xml),
            None => Err(Fault::status(StatusCode::NOT_ACCEPTABLE)),
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
            Self::Xml => "application/xml; charset=utf-8",
        }
    }
}

/// Reads a listing's parameters.
pub(super) fn query(query: &UrlQuery, limit_max: usize) -> Result<Query, Fault> {
    let mut limit = limit_max;
    if let Some(text) = query.text("limit")
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
    {
        limit = text.parse().unwrap_or(usize::MAX);
        if limit > limit_max {
            return Err(Fault::text(
                StatusCode::PRECONDITION_FAILED,
                format!("Maximum limit is {limit_max}"),
            ));
        }
    }
    let bytes = |name: &str| -> Result<Vec<u8>, Fault> {
        let bytes = query.bytes(name).unwrap_or_default();
        if std::str::from_utf8(bytes).is_err() || bytes.contains(&0) {
            let text = format!("\"{name}\" parameter not valid UTF-8");
            return Err(Fault::text(StatusCode::BAD_REQUEST, text));
        }
        Ok(bytes.to_vec())
    };
    Ok(Query {
        limit,
        marker: bytes("marker")?,
        end_marker: bytes("end_marker")?,
        prefix: bytes("prefix")?,
        delimiter: bytes("delimiter")?,
        path: query.has("path").then(|| bytes("path")).transpose()?,
        reverse: query.text("reverse").is_some_and(|value| is_true(&value)),
    })
}

/// Swift's words for yes.
pub(super) fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on" | "t" | "y")
}

/// The answer with a written listing: 204 for an empty one of text.
pub(super) fn answer(form: Form, body: String) -> Response {
    let status = if body.is_empty() { StatusCode::NO_CONTENT } else { StatusCode::OK };
    answer::with(status, form.content_type(), body)
}

pub(super) fn write_account(form: Form, account: &str, lines: &[AccountLine]) -> String {
    match form {
        Form::Text => text(lines.iter().map(|line| match line {
            AccountLine::Container(entry) => entry.name.as_str(),
            AccountLine::Subdirectory(name) => name,
        })),
        Form::Json => json(lines, |line, out| match line {
            AccountLine::Container(entry) => {
                out.push_str("{\"name\": ");
                string(&entry.name, out);
                let (counts, changed) = (entry.counts, time::listing(entry.changed));
                let _ = write!(
                    out,
                    ", \"count\": {}, \"bytes\": {}, \"last_modified\": \"{changed}\"}}",
                    counts.objects, counts.bytes
                );
            }
            AccountLine::Subdirectory(name) => subdirectory(name, out),
        }),
        Form::Xml => {
            let children = lines.iter().map(|line| match line {
                AccountLine::Container(entry) => Element::new("container")
                    .child(Element::new("name").text(&*entry.name))
                    .child(Element::new("count").text(entry.counts.objects.to_string()))
                    .child(Element::new("bytes").text(entry.counts.bytes.to_string()))
                    .child(Element::new("last_modified").text(time::listing(entry.changed))),
                AccountLine::Subdirectory(name) => Element::new("subdir").attr("name", name),
            });
            Element::new("account").attr("name", account).children(children).to_document()
        }
    }
}

pub(super) fn write_container(form: Form, container: &str, lines: &[Line]) -> String {
    match form {
        Form::Text => text(lines.iter().map(|line| match line {
            Line::Object(entry) => entry.name.as_str(),
            Line::Subdirectory(name) => name,
        })),
        Form::Json => json(lines, |line, out| match line {
            Line::Object(entry) => {
                let _ = write!(out, "{{\"hash\": \"{}\", \"last_modified\": \"", entry.etag);
                out.push_str(&time::listing(entry.changed));
                let _ = write!(out, "\", \"bytes\": {}, \"name\": ", entry.size);
                string(&entry.name, out);
                out.push_str(", \"content_type\": ");
                string(&entry.content_type, out);
                out.push('}');
            }
            Line::Subdirectory(name) => subdirectory(name, out),
        }),
        Form::Xml => {
            let children = lines.iter().map(|line| match line {
                Line::Object(entry) => Element::new("object")
                    .child(Element::new("name").text(&*entry.name))
                    .child(Element::new("hash").text(&*entry.etag))
                    .child(Element::new("bytes").text(entry.size.to_string()))
                    .child(Element::new("content_type").text(&*entry.content_type))
                    .child(Element::new("last_modified").text(time::listing(entry.changed))),
                Line::Subdirectory(name) => {
                    Element::new("subdir").attr("name", name).child(Element::new("name").text(&**name))
                }
            });
            Element::new("container").attr("name", container).children(children).to_document()
        }
    }
}

fn text<'l>(names: impl Iterator<Item = &'l str>) -> String {
    let mut out = String::new();
    for name in names {
        out.push_str(name);
        out.push('\n');
    }
    out
}

fn json<L>(lines: &[L], mut write: impl FnMut(&L, &mut String)) -> String {
    let mut out = String::with_capacity(2 + lines.len() * 160);
    out.push('[');
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(line, &mut out);
    }
    out.push(']');
    out
}

fn subdirectory(name: &str, out: &mut String) {
    out.push_str("{\"subdir\": ");
    string(name, out);
    out.push('}');
}

fn string(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}
