//! Parses request bodies, JSON or XML by Content-Type, into one type. Members in JSON correspond to attributes in XML.

use axum::body::Body;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use serde_json::Value;
use web::xml::Element;
use web::{Format, body, gzip, json, xml};

use super::fault::Fault;

/// Maximum length of a body in bytes: five files of 10 KB in base64 with white space.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// A parsed body.
pub(super) enum Document {
    Json(Value),
    Xml(Element),
}

/// An object in JSON or an element in XML.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    Json(&'a Value),
    Xml(&'a Element),
}

fn unreadable(error: body::Error) -> Fault {
    match error {
        body::Error::TooLong { .. } => Fault::new("overLimit", 413, error.to_string()),
        other => Fault::bad_request(other.to_string()),
    }
}

impl Document {
    /// Reads and parses a body.
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Fault> {
        let Some(format) = Format::of_body(headers) else {
            let message = "Content-Type must be application/json or application/xml";
            return Err(Fault::new("badMediaType", 415, message));
        };
        body::announced(headers, BODY_BYTES_MAX).map_err(unreadable)?;
        let mut bytes = body::read(body, BODY_BYTES_MAX).await.map_err(unreadable)?;
        match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase()).as_deref() {
            None | Some(b"identity") => {}
            Some(b"gzip" | b"x-gzip") => {
                bytes = gzip::unpacked(&bytes, BODY_BYTES_MAX).map_err(unreadable)?.into();
            }
            Some(_) => {
                return Err(Fault::new("badMediaType", 415, "the only supported Content-Encoding is gzip"));
            }
        }
        match format {
            Format::Json => json::parse(&bytes)
                .map(Self::Json)
                .map_err(|error| Fault::bad_request(format!("malformed JSON: {error}"))),
            Format::Xml => xml::parse(&bytes)
                .map(Self::Xml)
                .map_err(|error| Fault::bad_request(format!("malformed {error}"))),
        }
    }

    /// Returns the only object of the body, which may be null, and its name.
    pub(super) fn only(&self) -> Result<(&str, Node<'_>), Fault> {
        match self {
            Self::Xml(root) => Ok((root.name.as_str(), Node::Xml(root))),
            Self::Json(Value::Object(map)) if map.len() == 1 => {
                let mut members = map.iter();
                let (name, value) = members.next().ok_or_else(|| Fault::bad_request("the body is empty"))?;
                if !value.is_object() && !value.is_null() {
                    let message = format!("{name:.80} must be an object, not {}", kind(value));
                    return Err(Fault::bad_request(message));
                }
                Ok((name.as_str(), Node::Json(value)))
            }
            Self::Json(_) => Err(Fault::bad_request("the body must be an object with one member")),
        }
    }

    /// Returns the object with this name, which must be the only one.
    pub(super) fn root(&self, expected: &str) -> Result<Node<'_>, Fault> {
        let missing = |found: &str| {
            Fault::bad_request(format!("the object {expected} is missing: the body holds {found:.80}"))
        };
        match self {
            Self::Xml(root) if root.name == expected => Ok(Node::Xml(root)),
            Self::Xml(root) => Err(missing(&root.name)),
            Self::Json(Value::Object(map)) => match map.get(expected) {
                Some(found @ Value::Object(_)) if map.len() == 1 => Ok(Node::Json(found)),
                Some(Value::Object(_)) => {
                    Err(Fault::bad_request(format!("the body must hold {expected} and nothing else")))
                }
                Some(other) => Err(Fault::bad_request(format!(
                    "the object {expected} is missing: it is {}",
                    kind(other)
                ))),
                None => Err(missing(map.keys().next().map_or("nothing", String::as_str))),
            },
            Self::Json(other) => Err(missing(kind(other))),
        }
    }
}

/// Returns the kind of a JSON value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Returns the only child element with this name, if any.
fn single<'a>(element: &'a Element, name: &str) -> Result<Option<&'a Element>, Fault> {
    let mut found = element.children.iter().filter(|child| child.name == name);
    match (found.next(), found.next()) {
        (found, None) => Ok(found),
        _ => Err(Fault::bad_request(format!("{name} occurs twice"))),
    }
}

impl<'a> Node<'a> {
    /// Returns a member of a JSON object unless it is null.
    fn member(self, name: &str) -> Option<&'a Value> {
        match self {
            Self::Json(value) => value.get(name).filter(|value| !value.is_null()),
            Self::Xml(_) => None,
        }
    }

    /// Returns a text value.
    pub(super) fn text(self, name: &str) -> Result<Option<String>, Fault> {
        match (self, self.member(name)) {
            (Self::Xml(element), _) => Ok(element.attribute(name).map(str::to_owned)),
            (_, None) => Ok(None),
            (_, Some(Value::String(text))) => Ok(Some(text.clone())),
            (_, Some(Value::Number(number))) => Ok(Some(number.to_string())),
            (_, Some(_)) => Err(Fault::bad_request(format!("{name} must be a string"))),
        }
    }

    /// Returns a number, which may also be given as text.
    pub(super) fn number(self, name: &str) -> Result<Option<i64>, Fault> {
        if matches!(self.member(name), Some(Value::Bool(_) | Value::Array(_) | Value::Object(_))) {
            return Err(Fault::bad_request(format!("{name} must be a number or text")));
        }
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = text.trim().parse();
        number.map(Some).map_err(|_| Fault::bad_request(format!("{name} must be a whole number")))
    }

    /// Returns a required number.
    pub(super) fn required(self, name: &str) -> Result<i64, Fault> {
        self.number(name)?.ok_or_else(|| Fault::bad_request(format!("{name} is missing")))
    }

    /// Returns a boolean, which may also be given as text.
    pub(super) fn flag(self, name: &str) -> Result<Option<bool>, Fault> {
        if let Some(Value::Bool(flag)) = self.member(name) {
            return Ok(Some(*flag));
        }
        match self.text(name)?.as_deref() {
            None => Ok(None),
            Some("true" | "True" | "1") => Ok(Some(true)),
            Some("false" | "False" | "0") => Ok(Some(false)),
            Some(_) => Err(Fault::bad_request(format!("{name} must be true or false"))),
        }
    }

    /// Returns keys and values: a JSON object, or `<metadata><meta key="…">…</meta></metadata>`.
    pub(super) fn metadata(self) -> Result<Vec<(String, String)>, Fault> {
        if let Self::Xml(element) = self {
            let Some(metadata) = single(element, "metadata")? else { return Ok(Vec::new()) };
            let missing = || Fault::bad_request("metadata has an item without a key");
            return metadata
                .children
                .iter()
                .map(|meta| Ok((meta.attribute("key").ok_or_else(missing)?.to_owned(), meta.text.clone())))
                .collect();
        }
        match self.member("metadata") {
            None => Ok(Vec::new()),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(key, value)| match value {
                    Value::String(text) => Ok((key.clone(), text.clone())),
                    Value::Number(number) => Ok((key.clone(), number.to_string())),
                    Value::Bool(flag) => Ok((key.clone(), flag.to_string())),
                    _ => Err(Fault::bad_request(format!("metadata item {key:.80}: it must be a string"))),
                })
                .collect(),
            Some(_) => Err(Fault::bad_request("metadata must be an object")),
        }
    }

    /// Returns paths and contents of files. The contents are still base64.
    pub(super) fn personality(self) -> Result<Vec<(String, String)>, Fault> {
        let missing = |what: &str| Fault::bad_request(format!("personality has a file without {what}"));
        if let Self::Xml(element) = self {
            let Some(personality) = single(element, "personality")? else { return Ok(Vec::new()) };
            return personality
                .children
                .iter()
                .map(|file| {
                    let path = file.attribute("path").ok_or_else(|| missing("path"))?;
                    Ok((path.to_owned(), file.text.clone()))
                })
                .collect();
        }
        match self.member("personality") {
            None => Ok(Vec::new()),
            Some(Value::Array(files)) => files
                .iter()
                .map(|file| {
                    let file = Node::Json(file);
                    let path = file.text("path")?.ok_or_else(|| missing("path"))?;
                    Ok((path, file.text("contents")?.ok_or_else(|| missing("contents"))?))
                })
                .collect(),
            Some(_) => Err(Fault::bad_request("personality must be an array")),
        }
    }

    /// Returns the requested public addresses of a server: `"addresses": {"public": ["…"]}`, or its XML.
    pub(super) fn public_addresses(self) -> Result<Vec<String>, Fault> {
        if let Self::Xml(element) = self {
            let public = match single(element, "addresses")? {
                Some(addresses) => single(addresses, "public")?,
                None => None,
            };
            let missing = || Fault::bad_request("addresses has an ip without addr");
            let ips = public.map_or(&[][..], |public| &public.children);
            return ips
                .iter()
                .map(|ip| ip.attribute("addr").map(str::to_owned).ok_or_else(missing))
                .collect();
        }
        let Some(addresses) = self.member("addresses") else { return Ok(Vec::new()) };
        match addresses.get("public") {
            None => Ok(Vec::new()),
            Some(Value::Array(public)) => public
                .iter()
                .map(|ip| ip.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or_else(|| Fault::bad_request("addresses must hold strings")),
            Some(_) => Err(Fault::bad_request("addresses.public must be an array")),
        }
    }

    /// Returns the first server of a new group: the member or attribute `server`, or in XML an element with its id.
    /// Several are rejected (guide, Create Shared IP Group).
    pub(super) fn first_server(self) -> Result<Option<i64>, Fault> {
        let one = || Fault::bad_request("a shared IP group is created empty or with a single server");
        let several = match self {
            Self::Xml(element) => {
                let servers: Vec<_> =
                    element.children.iter().filter(|child| child.name == "server").collect();
                match (servers.as_slice(), element.attribute("server")) {
                    ([server], None) if element.find("servers").is_none() => {
                        return Node::Xml(server).required("id").map(Some);
                    }
                    (servers, _) => !servers.is_empty() || element.find("servers").is_some(),
                }
            }
            Self::Json(_) => {
                self.member("servers").is_some() || self.member("server").is_some_and(Value::is_array)
            }
        };
        if several { Err(one()) } else { self.number("server") }
    }
}
