//! Reads JSON requests as strictly as XML ones: an object with a duplicate name is rejected.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Parses a document. A leading byte order mark is ignored.
///
/// # Errors
/// The parser's error, with line and column; a duplicate name is quoted.
pub fn parse(document: &[u8]) -> Result<Value, serde_json::Error> {
    let text = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Unambiguous.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

struct Unambiguous;

impl<'de> DeserializeSeed<'de> for Unambiguous {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Unambiguous)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format_args!("{name:.80} occurs twice")));
            }
            let value = members.next_value_seed(Unambiguous)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn duplicate_names_are_rejected_and_a_byte_order_mark_is_ignored() {
        let twice = parse(br#"{"server": {"name": "a", "x": [{"name": 1}], "name": "b"}}"#);
        assert!(twice.unwrap_err().to_string().starts_with("name occurs twice at line 1 column "));
        assert_eq!(parse(b"\xef\xbb\xbf[1, {\"a\": null}]").unwrap(), serde_json::json!([1, { "a": null }]));
        for bad in ["", "{", "{} x", "[1,]", "{\"a\" 1}"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse("[".repeat(10_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn otherwise_it_agrees_with_serde_json(text in r#"[\[\]{}:,"a-c0-9. \-ntrue]{0,40}"#) {
            let (ours, theirs) = (parse(text.as_bytes()), serde_json::from_str::<Value>(&text));
            match ours {
                Ok(value) => prop_assert_eq!(value, theirs.unwrap()),
                Err(error) => prop_assert!(theirs.is_err() || error.to_string().contains("twice")),
            }
        }
    }
}
