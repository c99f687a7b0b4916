//! Metadata that users set on accounts, containers and objects.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::model::limits::Limits;

/// Stored headers, by lower-case name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(pub BTreeMap<String, String>);

/// Encodes a header's bytes as text: unchanged if they are UTF-8, otherwise a NUL (which no header contains) followed by one
/// character per byte. Swift stores an object's items whatever their bytes.
#[must_use]
pub fn text_of(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(
        |_| std::iter::once('\0').chain(bytes.iter().map(|byte| char::from(*byte))).collect(),
        str::to_owned,
    )
}

/// Returns the bytes that [`text_of`] encoded.
#[must_use]
pub fn bytes_of(text: &str) -> Cow<'_, [u8]> {
    match text.strip_prefix('\0') {
        None => Cow::Borrowed(text.as_bytes()),
        Some(raw) => Cow::Owned(raw.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()),
    }
}

/// Formats a header's name as Swift does: each word begins with a capital.
#[must_use]
pub fn titled(name: &str) -> String {
    let mut within = false;
    let letter = |c: char| {
        let shown = if within { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
        within = c.is_ascii_alphabetic();
        shown
    };
    name.chars().map(letter).collect()
}

impl Metadata {
    /// Reads metadata from a column.
    #[must_use]
    pub fn from_column(text: &str) -> Self {
        // The column is usually empty, so skip the parser.
        if text.is_empty() { Self::default() } else { Self(serde_json::from_str(text).unwrap_or_default()) }
    }

    /// Formats metadata for a column.
    #[must_use]
    pub fn to_column(&self) -> String {
        if self.0.is_empty() { String::new() } else { serde_json::to_string(&self.0).unwrap_or_default() }
    }

    /// Applies changes: a value sets an item, an empty one removes it.
    pub fn apply(&mut self, changes: &Changes) {
        for (name, value) in &changes.0 {
            match value {
                Some(value) => self.0.insert(name.clone(), value.clone()),
                None => self.0.remove(name),
            };
        }
    }

    /// Returns the value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Checks the number and total length of the user's items, those whose names begin with `prefix`.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the limit.
    pub fn check_totals(&self, prefix: &str, limits: &Limits) -> Result<()> {
        let items = self.0.iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?, value)));
        let (count, size) = items.fold((0, 0), |(count, size), (name, value)| {
            (count + 1, size + name.len() + bytes_of(value).len())
        });
        if count > limits.max_meta_count {
            return Err(Error::Invalid(format!("Too many metadata items; max {}", limits.max_meta_count)));
        }
        if size > limits.max_meta_overall_size {
            return Err(Error::Invalid(format!(
                "Total metadata too large; max {}",
                limits.max_meta_overall_size
            )));
        }
        Ok(())
    }
}

/// The changes in a request; `None` removes an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub BTreeMap<String, Option<String>>);

impl Changes {
    /// Returns whether there are no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one of the user's items after checking it; `prefix` and `name` are lower case.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the item and the limit.
    pub fn set_item(&mut self, prefix: &str, name: &str, value: &str, limits: &Limits) -> Result<()> {
        if name.is_empty() {
            return Err(Error::Invalid("Metadata name cannot be empty".into()));
        }
        if name.len() > limits.max_meta_name_length {
            return Err(Error::Invalid(format!("Metadata name too long: {prefix}{}", titled(name))));
        }
        if bytes_of(value).len() > limits.max_meta_value_length {
            let max = limits.max_meta_value_length;
            let name = titled(name);
            return Err(Error::Invalid(format!("Metadata value longer than {max}: {prefix}{name}")));
        }
        self.0.insert(format!("{prefix}{name}"), (!value.is_empty()).then(|| value.to_owned()));
        Ok(())
    }

    /// Returns only the values, for an object whose metadata is replaced as a whole.
    #[must_use]
    pub fn into_values(self) -> Metadata {
        Metadata(self.0.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_checked_singly_and_together() {
        let limits = Limits::default();
        let mut changes = Changes::default();
        let long = "x".repeat(257);
        for (name, value) in [("", "v"), (&long[..129], "v"), ("n", &long)] {
            assert!(matches!(
                changes.set_item("x-object-meta-", name, value, &limits),
                Err(Error::Invalid(_))
            ));
        }
        let refused = changes.set_item("x-object-meta-", "a-b1c", &long, &limits);
        let text = "Metadata value longer than 256: x-object-meta-A-B1C";
        assert_eq!(refused, Err(Error::Invalid(text.into())));
        changes.set_item("x-object-meta-", &long[..128], &long[..256], &limits).unwrap();
        let mut metadata = changes.clone().into_values();
        metadata.check_totals("x-object-meta-", &limits).unwrap();
        for n in 0..90 {
            metadata.0.insert(format!("x-object-meta-{n}"), "v".into());
        }
        let refused = metadata.check_totals("x-object-meta-", &limits);
        assert_eq!(refused, Err(Error::Invalid("Too many metadata items; max 90".into())));
        let mut heavy = Metadata::default();
        for n in 0..20 {
            heavy.0.insert(format!("x-object-meta-{n}"), "v".repeat(256));
        }
        let refused = heavy.check_totals("x-object-meta-", &limits);
        assert_eq!(refused, Err(Error::Invalid("Total metadata too large; max 4096".into())));
    }

    #[test]
    fn any_bytes_survive_encoding_as_text() {
        for bytes in [&b"plain"[..], "é".as_bytes(), b"\xff\x00\xe2", b""] {
            assert_eq!(bytes_of(&text_of(bytes)), bytes);
        }
    }

    #[test]
    fn an_empty_value_removes_an_item() {
        let limits = Limits::default();
        let mut metadata = Metadata(BTreeMap::from([("x-container-meta-a".into(), "1".into())]));
        let mut changes = Changes::default();
        changes.set_item("x-container-meta-", "a", "", &limits).unwrap();
        changes.set_item("x-container-meta-", "b", "2", &limits).unwrap();
        metadata.apply(&changes);
        assert_eq!(metadata, Metadata(BTreeMap::from([("x-container-meta-b".into(), "2".into())])));
        assert_eq!(Metadata::from_column(&metadata.to_column()), metadata);
    }
}
