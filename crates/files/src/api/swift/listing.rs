//! Listings: reads their parameters and writes them in each format.

use std::borrow::Cow;
use std::fmt::Write;

use http::{HeaderMap, StatusCode};
use web::Response;
use web::format::preferred;
use web::query::Query as UrlQuery;
use web::xml::{Element, escape_into};

use super::answer;
use super::fault::Fault;
use crate::model::json::string;
use crate::model::listing::{Line, ObjectEntry, Query, VersionLine};
use crate::model::policy::Policies;
use crate::model::shape::Shape;
use crate::model::time;
use crate::service::AccountLine;

/// The format of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
    Xml,
    /// XML as `text/xml`.
    TextXml,
}

impl Form {
    /// Selects the format by `format=`, which takes precedence, or by `Accept`.
    pub(super) fn asked(query: &UrlQuery, headers: &HeaderMap) -> Result<Self, Fault> {
        Self::asked_with(query, headers, &["text/plain", "application/json", "application/xml", "text/xml"])
    }

    /// As [`Form::asked`], with only some formats offered.
    pub(super) fn asked_with(query: &UrlQuery, headers: &HeaderMap, offered: &[&str]) -> Result<Self, Fault> {
        let named = |kind: &str| match kind {
            "application/json" => Self::Json,
            "application/xml" => Self::Xml,
            "text/xml" => Self::TextXml,
            _ => Self::Text,
        };
        if let Some(format) = query.text("format") {
            let kind = match format.to_ascii_lowercase().as_str() {
                "json" => "application/json",
                "xml" => "application/xml",
                _ => "text/plain",
            };
            let offers = offered.contains(&kind);
            return if offers { Ok(named(kind)) } else { Err(Fault::status(StatusCode::NOT_ACCEPTABLE)) };
        }
        let accept =
            headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !is_accept(accept) {
            return Err(Fault::html(StatusCode::BAD_REQUEST, "Invalid Accept header"));
        }
        let chosen = preferred(accept, offered).ok_or_else(|| Fault::status(StatusCode::NOT_ACCEPTABLE))?;
        Ok(named(offered[chosen]))
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
            Self::Xml => "application/xml; charset=utf-8",
            Self::TextXml => "text/xml; charset=utf-8",
        }
    }
}

/// Returns whether a header's value is a list of media ranges.
fn is_accept(accept: &str) -> bool {
    let token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\"/[]?={}".contains(&byte))
    };
    accept.trim().is_empty()
        || accept.split(',').map(str::trim).filter(|range| !range.is_empty()).all(|range| {
            let media = range.split(';').next().unwrap_or_default().trim();
            media.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
        })
}

/// Adds `Vary: Accept` unless the query selected the format.
pub(super) fn vary(query: &UrlQuery, headers: &mut HeaderMap) {
    if !query.has("format") {
        headers.insert(http::header::VARY, http::HeaderValue::from_static("Accept"));
    }
}

/// Parses a listing's parameters.
pub(super) fn query(query: &UrlQuery, limit_max: usize) -> Result<Query, Fault> {
    let mut limit = limit_max;
    if let Some(text) = query.text("limit")
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
    {
        limit = text.parse().unwrap_or(usize::MAX);
        if limit > limit_max {
            return Err(Fault::html(
                StatusCode::PRECONDITION_FAILED,
                format!("Maximum limit is {limit_max}"),
            ));
        }
    }
    let bytes = |name: &str| -> Result<Vec<u8>, Fault> {
        let bytes = query.bytes(name).unwrap_or_default();
        if std::str::from_utf8(bytes).is_err() {
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

/// Returns whether a value is one of Swift's values for true.
pub(super) fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on" | "t" | "y")
}

/// Builds the response: 204 for an empty listing in text.
pub(super) fn answer(form: Form, body: String) -> Response {
    let status = if body.is_empty() { StatusCode::NO_CONTENT } else { StatusCode::OK };
    let is_empty = body.is_empty();
    let mut response = answer::with(status, form.content_type(), body);
    if is_empty {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, 0.into());
    }
    response
}

pub(super) fn write_account(form: Form, account: &str, lines: &[AccountLine], policies: &Policies) -> String {
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
                    ", \"count\": {}, \"bytes\": {}, \"last_modified\": \"{changed}\", \"storage_policy\": ",
                    counts.objects, counts.bytes
                );
                string(policies.name(entry.policy), out);
                out.push('}');
            }
            AccountLine::Subdirectory(name) => subdirectory(name, out),
        }),
        Form::Xml | Form::TextXml => {
            let children = lines.iter().map(|line| match line {
                AccountLine::Container(entry) => Element::new("container")
                    .child(Element::new("name").text(&*entry.name))
                    .child(Element::new("count").text(entry.counts.objects.to_string()))
                    .child(Element::new("bytes").text(entry.counts.bytes.to_string()))
                    .child(Element::new("last_modified").text(time::listing(entry.changed)))
                    .child(Element::new("storage_policy").text(policies.name(entry.policy))),
                AccountLine::Subdirectory(name) => Element::new("subdir").attr("name", name),
            });
            document("account", account, children, "\n")
        }
    }
}

pub(super) fn write_container(form: Form, (account, container): (&str, &str), lines: &[Line]) -> String {
    match form {
        Form::Text => text(lines.iter().map(|line| match line {
            Line::Object(entry) => entry.name.as_str(),
            Line::Subdirectory(name) => name,
        })),
        Form::Json => json(lines, |line, out| match line {
            Line::Object(entry) => {
                object(entry, (account, container), out);
                manifest(entry, out);
                out.push('}');
            }
            Line::Subdirectory(name) => subdirectory(name, out),
        }),
        Form::Xml | Form::TextXml => {
            let children = lines.iter().map(|line| match line {
                Line::Object(entry) => Element::new("object")
                    .child(Element::new("name").text(&*entry.name))
                    .child(Element::new("hash").text(&*entry.etag))
                    .child(Element::new("bytes").text(shown_size(entry).to_string()))
                    .child(Element::new("content_type").text(listed_type(&entry.content_type)))
                    .child(Element::new("last_modified").text(time::listing(entry.changed))),
                Line::Subdirectory(name) => {
                    Element::new("subdir").attr("name", name).child(Element::new("name").text(&**name))
                }
            });
            document("container", container, children, "")
        }
    }
}

/// Writes a listing of versions in JSON (Swift, Object versioning).
pub(super) fn write_versions(place: (&str, &str), lines: &[VersionLine]) -> String {
    json(lines, |line, out| match line {
        VersionLine::Version(entry) => {
            object(&entry.object, place, out);
            let id = entry.version.map_or_else(|| "null".to_owned(), time::internal);
            let _ = match entry.version {
                None => write!(out, ", \"version_id\": \"{id}\", \"is_latest\": {}", entry.is_latest),
                Some(_) => write!(out, ", \"is_latest\": {}, \"version_id\": \"{id}\"", entry.is_latest),
            };
            manifest(&entry.object, out);
            out.push('}');
        }
        VersionLine::Subdirectory(name) => subdirectory(name, out),
    })
}

/// Writes a static large object's own members, which come last.
fn manifest(entry: &ObjectEntry, out: &mut String) {
    let etag = match entry.shape.as_deref() {
        Some(Shape::Manifest { etag, .. }) => Some(etag),
        Some(Shape::Link(link)) if entry.version.is_none() => link.manifest_etag.as_ref(),
        _ => None,
    };
    if let Some(etag) = etag {
        let _ = write!(out, ", \"slo_etag\": \"\\\"{etag}\\\"\"");
    }
}

/// Writes an object's other members, without the closing brace.
fn object(entry: &ObjectEntry, (account, container): (&str, &str), out: &mut String) {
    let _ = write!(out, "{{\"bytes\": {}, \"hash\": \"{}\", \"name\": ", shown_size(entry), entry.etag);
    string(&entry.name, out);
    out.push_str(", \"content_type\": ");
    string(&listed_type(&entry.content_type), out);
    out.push_str(", \"last_modified\": \"");
    out.push_str(&time::listing(entry.changed));
    out.push('"');
    if let Some(version) = entry.version {
        // Swift stores a versioned object as a link to its version and lists that link.
        let place = answer::path(&(account.to_owned(), container.to_owned(), entry.name.clone()));
        out.push_str(", \"symlink_path\": ");
        string(&format!("{place}?version-id={}", time::internal(version)), out);
        out.push_str(", \"version_symlink\": true");
    }
    // For a link to a version Swift omits the link's target.
    if let Some(Shape::Link(link)) = entry.shape.as_deref().filter(|_| entry.version.is_none()) {
        let place = link.account.clone().unwrap_or_else(|| account.to_owned());
        let place = (place, link.container.clone(), link.name.clone());
        out.push_str(", \"symlink_path\": ");
        string(&answer::path(&place), out);
        if let (Some(etag), Some(size)) = (&link.etag, link.size) {
            let _ = write!(out, ", \"symlink_etag\": \"{etag}\", \"symlink_bytes\": {size}");
        }
    }
}

/// Writes a listing as XML, with line breaks and spaces where Swift's writer puts them.
fn document(kind: &str, name: &str, children: impl Iterator<Item = Element>, end: &str) -> String {
    const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    let mut out = format!("{DECLARATION}<{kind} name=\"");
    escape_into(name, &mut out);
    let mut children = children.peekable();
    if children.peek().is_none() && end.is_empty() {
        out.push_str("\" />");
        return out;
    }
    out.push_str("\">");
    out.push_str(end);
    for child in children {
        let written = child.to_document();
        let written = written.strip_prefix(DECLARATION).unwrap_or(&written);
        match written.strip_suffix("/>") {
            Some(empty) => out.extend([empty, " />"]),
            None => out.push_str(written),
        }
        out.push_str(end);
    }
    let _ = write!(out, "</{kind}>");
    out
}

/// Formats a media type as Swift's listings do: its parameters are parsed and joined again.
pub(super) fn listed_type(content_type: &str) -> Cow<'_, str> {
    let Some((kind, parameters)) = content_type.split_once(';') else { return content_type.into() };
    let mut out = kind.to_owned();
    for parameter in unquoted_parts(parameters).map(str::trim).filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let _ = write!(out, ";{}={}", name.trim(), value.trim());
    }
    out.into()
}

/// Splits a media type's parameters; a semicolon within quotes does not separate (RFC 9110, 5.6.4).
fn unquoted_parts(parameters: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    parameters.split(move |character| {
        let was_escaped = std::mem::take(&mut escaped);
        match character {
            '\\' if quoted && !was_escaped => escaped = true,
            '"' if !was_escaped => quoted = !quoted,
            _ => {}
        }
        character == ';' && !quoted
    })
}

/// Returns the listed size; for a static large object that is the sum of its segments.
fn shown_size(entry: &ObjectEntry) -> u64 {
    match entry.shape.as_deref() {
        Some(Shape::Manifest { size, .. }) => *size,
        _ => entry.size,
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
