//! Reports of bulk operations, in text, JSON or XML (Swift, bulk operations).

use std::collections::BTreeMap;

use http::{HeaderMap, StatusCode};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use web::format::preferred;

use crate::model::json;

/// The format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
    Xml,
    TextXml,
}

impl Form {
    /// Selects the format by `Accept`; `None` if none is acceptable.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        Self::accepted_of(headers, &[Self::Text, Self::Json, Self::Xml, Self::TextXml])
    }

    /// As [`Form::accepted`], with only some formats offered.
    pub(super) fn accepted_of(headers: &HeaderMap, offered: &[Self]) -> Option<Self> {
        let accept =
            headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let types: Vec<_> = offered.iter().map(|form| form.media_type()).collect();
        Some(offered[preferred(accept, &types)?])
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Json => "application/json",
            Self::Xml => "application/xml",
            Self::TextXml => "text/xml",
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Json => "application/json",
            Self::Xml => "application/xml",
            Self::TextXml => "text/xml",
        }
    }
}

/// The outcome of a bulk operation.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) fields: BTreeMap<&'static str, Value>,
    /// Headers for a response whose status is that of the report.
    pub(super) headers: Vec<(String, String)>,
    /// Failed items: the percent-encoded name and the status.
    pub(super) errors: Vec<(String, String)>,
}

impl Report {
    /// Writes the report; `root` is the root element in XML.
    pub(super) fn write(&self, form: Form, root: &str) -> String {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), Value::from(value.as_str())));
        let fields: BTreeMap<&str, Value> =
            self.fields.iter().map(|(name, value)| (*name, value.clone())).chain(headers).collect();
        match form {
            Form::Json => {
                let mut members: Vec<_> = fields.into_iter().collect();
                // Swift's order: the response first, texts sorted.
                members.sort_by_key(|(name, _)| match *name {
                    "Response Status" => 0,
                    "Response Body" => 1,
                    _ => 2,
                });
                members.push((
                    "Errors",
                    self.errors.iter().map(|(name, status)| json!([name, status])).collect(),
                ));
                json::to_text(&InOrder(members))
            }
            Form::Xml | Form::TextXml => {
                let mut out = format!("<{root}>\n");
                for (name, value) in &fields {
                    let tag = name.replace(' ', "_").to_ascii_lowercase();
                    out.push_str(&format!("<{tag}>"));
                    web::xml::escape_into(&plain(value), &mut out);
                    out.push_str(&format!("</{tag}>\n"));
                }
                out.push_str("<errors>\n");
                for (name, status) in &self.errors {
                    out.push_str("<object><name>");
                    web::xml::escape_into(name, &mut out);
                    out.push_str("</name><status>");
                    web::xml::escape_into(status, &mut out);
                    out.push_str("</status></object>\n");
                }
                out.push_str(&format!("</errors>\n</{root}>\n"));
                out
            }
            Form::Text => {
                let mut out = String::new();
                for (name, value) in &fields {
                    out.push_str(&format!("{name}: {}\n", plain(value)));
                }
                out.push_str("Errors:\n");
                for (name, status) in &self.errors {
                    out.push_str(&format!("{name}, {status}\n"));
                }
                out
            }
        }
    }
}

/// A JSON object whose members keep their order.
struct InOrder<'a>(Vec<(&'a str, Value)>);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Formats a status with its reason, as in reports and status lines.
pub(super) fn line(status: StatusCode) -> String {
    let reason = match status.as_u16() {
        413 => "Request Entity Too Large",
        416 => "Requested Range Not Satisfiable",
        499 => "Client Disconnect",
        500 => "Internal Error",
        _ => status.canonical_reason().unwrap_or_default(),
    };
    format!("{} {reason}", status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_three_forms() {
        let report = Report {
            fields: [("Number Deleted", 1.into()), ("Response Body", "".into())].into(),
            errors: vec![("c/a%20b".into(), "409 Conflict".into())],
            ..Report::default()
        };
        assert_eq!(
            report.write(Form::Text, "delete"),
            "Number Deleted: 1\nResponse Body: \nErrors:\nc/a%20b, 409 Conflict\n"
        );
        assert_eq!(
            report.write(Form::Json, "delete"),
            r#"{"Response Body": "", "Number Deleted": 1, "Errors": [["c/a%20b", "409 Conflict"]]}"#
        );
        assert_eq!(
            report.write(Form::Xml, "delete"),
            "<delete>\n<number_deleted>1</number_deleted>\n<response_body></response_body>\n<errors>\n<object><name>c/a%20b</name><status>409 Conflict</status></object>\n</errors>\n</delete>\n"
        );
    }
}
