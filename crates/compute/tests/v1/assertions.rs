//! Assertions on responses that ignore the order of attributes and chosen values.

use serde_json::Value;
use web::xml::{self, Element};

/// Asserts that an XML response equals the expected element. The order of attributes does not matter; `*` matches any value.
pub fn assert_xml(found: &Element, expected: &str) {
    let expected = xml::parse(expected.as_bytes()).unwrap();
    let found_text = found.to_document();
    assert!(same(found, &expected), "found {found_text}\nexpected {}", expected.to_document());
}

fn same(found: &Element, expected: &Element) -> bool {
    let attributes = found.attributes.len() == expected.attributes.len()
        && expected
            .attributes
            .iter()
            .all(|(name, value)| found.attribute(name).is_some_and(|found| value == "*" || found == value));
    found.name == expected.name
        && attributes
        && found.text.trim() == expected.text.trim()
        && found.children.len() == expected.children.len()
        && found.children.iter().zip(&expected.children).all(|(found, expected)| same(found, expected))
}

/// Asserts that a JSON response equals the expected value. The order of members does not matter; `*` matches any value.
pub fn assert_json(found: &Value, expected: &Value) {
    assert!(same_json(found, expected), "found {found:#}\nexpected {expected:#}");
}

fn same_json(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (_, Value::String(any)) if any == "*" => true,
        (Value::Object(found), Value::Object(expected)) => {
            found.len() == expected.len()
                && expected.iter().all(|(name, value)| found.get(name).is_some_and(|f| same_json(f, value)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| same_json(f, e))
        }
        _ => found == expected,
    }
}
