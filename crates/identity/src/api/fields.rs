//! Request bodies, JSON and XML alike, read field by field. Errors name the field.

use axum::extract::FromRequest;
use serde_json::{Map, Value};
use web::xml::Element;
use web::{Format, Request};

use crate::api::{BODY_MAX, Failure};
use crate::service::error::Error;

/// A JSON body. `Content-Type` may be absent but must not name another type.
pub(crate) struct JsonBody(pub(crate) Value);

impl<S: Sync> FromRequest<S> for JsonBody {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let typed = request.headers().contains_key(http::header::CONTENT_TYPE);
        if typed && Format::of_body(request.headers()) != Some(Format::Json) {
            return Err(Failure::MediaType);
        }
        let body = web::body::read(request.into_body(), BODY_MAX).await?;
        Ok(Self(parse_json(&body)?))
    }
}

/// A JSON or XML body. XML is converted to the shape of JSON, with attributes and elements as fields.
pub(crate) struct AnyBody(pub(crate) Value);

impl<S: Sync> FromRequest<S> for AnyBody {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let typed = request.headers().contains_key(http::header::CONTENT_TYPE);
        let format = match Format::of_body(request.headers()) {
            Some(format) => format,
            None if typed => return Err(Failure::MediaType),
            None => Format::Json,
        };
        let body = web::body::read(request.into_body(), BODY_MAX).await?;
        match format {
            Format::Json => Ok(Self(parse_json(&body)?)),
            Format::Xml => {
                let root = web::xml::parse(&body).map_err(|e| Error::invalid(e.to_string()))?;
                Ok(Self(Value::Object(Map::from_iter([(root.name.clone(), value_of(&root))]))))
            }
        }
    }
}

fn parse_json(body: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(body).map_err(|e| Error::invalid(format!("the body is not JSON: {e}")))
}

fn value_of(element: &Element) -> Value {
    if element.attributes.is_empty() && element.children.is_empty() {
        return Value::String(element.text.trim().to_owned());
    }
    let mut map = Map::new();
    for (name, value) in &element.attributes {
        map.insert(name.clone(), Value::String(value.clone()));
    }
    for child in &element.children {
        let value = value_of(child);
        match map.get_mut(&child.name) {
            Some(Value::Array(items)) => items.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
            None => {
                map.insert(child.name.clone(), value);
            }
        }
    }
    Value::Object(map)
}

/// The fields of an object in a body. Names match with or without an extension's prefix (`OS-KSADM:password`).
pub(crate) struct Fields<'b> {
    map: &'b Map<String, Value>,
    path: String,
}

impl<'b> Fields<'b> {
    /// Returns the fields of the body itself.
    pub(crate) fn of(body: &'b Value) -> Result<Self, Error> {
        let map = body.as_object().ok_or_else(|| Error::invalid("the body must be an object"))?;
        Ok(Self { map, path: String::new() })
    }

    /// Returns the fields of the object that the body wraps.
    pub(crate) fn inside(body: &'b Value, name: &str) -> Result<Self, Error> {
        Self::of(body)?.object(name)
    }

    fn get(&self, name: &str) -> Option<&'b Value> {
        let suffixed = |key: &str| key.rsplit_once(':').is_some_and(|(_, last)| last == name);
        self.map.get(name).or_else(|| self.map.iter().find(|(key, _)| suffixed(key)).map(|(_, value)| value))
    }

    fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Whether there are no fields.
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether the field is a number.
    pub(crate) fn is_number(&self, name: &str) -> bool {
        self.get(name).is_some_and(Value::is_number)
    }

    /// Returns the fields except those whose name is `left_out`.
    pub(crate) fn without(&self, left_out: impl Fn(&str) -> bool) -> Map<String, Value> {
        let kept = self.map.iter().filter(|(name, _)| !left_out(name));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Whether a field of that name exists.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns a required object.
    pub(crate) fn object(&self, name: &str) -> Result<Self, Error> {
        self.optional_object(name)?.ok_or_else(|| Error::invalid(format!("{} is missing", self.at(name))))
    }

    /// Returns an optional object.
    pub(crate) fn optional_object(&self, name: &str) -> Result<Option<Self>, Error> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self { map, path: self.at(name) })),
            // An XML element without attributes and children.
            Some(Value::String(text)) if text.is_empty() => {
                static NOTHING: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
                Ok(Some(Self { map: &NOTHING, path: self.at(name) }))
            }
            Some(_) => Err(Error::invalid(format!("{} must be an object", self.at(name)))),
        }
    }

    /// Returns a required text.
    pub(crate) fn text(&self, name: &str) -> Result<String, Error> {
        self.optional_text(name)?.ok_or_else(|| Error::invalid(format!("{} is missing", self.at(name))))
    }

    /// Returns an optional text. A number is converted to its digits.
    pub(crate) fn optional_text(&self, name: &str) -> Result<Option<String>, Error> {
        Ok(self.nullable_text(name)?.flatten())
    }

    /// Returns an optional text that may be `null`.
    pub(crate) fn nullable_text(&self, name: &str) -> Result<Option<Option<String>>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(text)) => Ok(Some(Some(text.clone()))),
            Some(Value::Number(number)) => Ok(Some(Some(number.to_string()))),
            Some(_) => Err(Error::invalid(format!("{} must be text", self.at(name)))),
        }
    }

    /// Returns an optional boolean. In XML it is text.
    pub(crate) fn optional_flag(&self, name: &str) -> Result<Option<bool>, Error> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text == "true" || text == "1" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" || text == "0" => Ok(Some(false)),
            Some(_) => Err(Error::invalid(format!("{} must be true or false", self.at(name)))),
        }
    }

    /// Returns an optional list of objects. A single object counts as a list of one, as in XML.
    pub(crate) fn objects(&self, name: &str) -> Result<Vec<Self>, Error> {
        let path = self.at(name);
        let items: Vec<&'b Value> = match self.get(name) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items.iter().collect(),
            Some(Value::String(text)) if text.is_empty() => Vec::new(),
            Some(one) => vec![one],
        };
        let object = |item: &'b Value| match item {
            Value::Object(map) => Ok(Self { map, path: path.clone() }),
            _ => Err(Error::invalid(format!("{path} must be a list of objects"))),
        };
        items.into_iter().map(object).collect()
    }

    /// Returns a required list of texts.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        let wrong = || Error::invalid(format!("{} must be a list of text", self.at(name)));
        let items = self.get(name).and_then(Value::as_array).ok_or_else(wrong)?;
        items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
    }

    /// Whether the field is this text instead of an object: v3's `"scope": "unscoped"`.
    pub(crate) fn is_text(&self, name: &str, expected: &str) -> bool {
        self.get(name).and_then(Value::as_str) == Some(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(text: &str) -> Value {
        let root = web::xml::parse(text.as_bytes()).unwrap();
        Value::Object(Map::from_iter([(root.name.clone(), value_of(&root))]))
    }

    #[test]
    fn xml_and_json_have_the_same_fields() {
        let json =
            serde_json::json!({"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": "jdoe", "apiKey": "k"}}});
        let xml = xml(
            r#"<auth xmlns="urn:a"><apiKeyCredentials xmlns="urn:b" username="jdoe" apiKey="k"/></auth>"#,
        );
        for body in [json, xml] {
            let auth = Fields::inside(&body, "auth").unwrap();
            let credentials = auth.object("apiKeyCredentials").unwrap();
            assert_eq!(credentials.text("username").unwrap(), "jdoe");
            assert_eq!(credentials.text("apiKey").unwrap(), "k");
        }
    }

    #[test]
    fn errors_name_the_field() {
        let body = serde_json::json!({"user": {"name": {"x": 1}, "enabled": "maybe", "list": [1]}});
        let user = Fields::inside(&body, "user").unwrap();
        let said = |error: Error| error.to_string();
        assert_eq!(said(user.text("name").unwrap_err()), "user.name must be text");
        assert_eq!(said(user.text("id").unwrap_err()), "user.id is missing");
        assert_eq!(said(user.optional_flag("enabled").unwrap_err()), "user.enabled must be true or false");
        assert_eq!(said(user.objects("list").err().unwrap()), "user.list must be a list of objects");
        assert_eq!(said(user.texts("list").unwrap_err()), "user.list must be a list of text");
        assert_eq!(said(user.object("other").err().unwrap()), "user.other is missing");
    }
}
