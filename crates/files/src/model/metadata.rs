//! Metadata: what a user puts beside an account, a container or an object.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::model::limits::Limits;

/// Headers kept with a thing, by lower-case name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(pub BTreeMap<String, String>);

/// A header's bytes as text: as they are if they are UTF-8, else behind a NUL (which no header holds), a character a
/// byte. Swift keeps an object's items whatever their bytes.
#[must_use]
pub fn text_of(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(
        |_| std::iter::once('\0').chain(bytes.iter().map(|byte| char::from(*byte))).collect(),
        str::to_owned,
    )
}

/// The bytes that [`text_of`] made a text of.
#[must_use]
pub fn bytes_of(text: &str) -> Cow<'_, [u8]> {
    match text.strip_prefix('\0') {
        None => Cow::Borrowed(text.as_bytes()),
        Some(raw) => Cow::Owned(raw.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()),
    }
}

/// A header's name as Swift shows it: a capital wherever a word begins.
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
    /// From the text that a row holds.
    #[must_use]
    pub fn from_column(text: &str) -> Self {
        // An empty column is the usual case and costs no parser.
        if text.is_empty() { Self::default() } else { Self(serde_json::from_str(text).unwrap_or_default()) }
    }

    /// The text that a row holds.
    #[must_use]
    pub fn to_column(&self) -> String {
        if self.0.is_empty() { String::new() } else { serde_json::to_string(&self.0).unwrap_or_default() }
    }

    /// Applies changes: a value sets, an empty one removes.
    pub fn apply(&mut self, changes: &Changes) {
        for (name, value) in &changes.0 {
            match value {
                Some(value) => self.0.insert(name.clone(), value.clone()),
                None => self.0.remove(name),
            };
        }
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether the user's items, those whose names begin with `prefix`, are within the limits together.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the limit.
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

/// What a request changes: `None` removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub BTreeMap<String, Option<String>>);

impl Changes {
    /// Whether there is anything to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one of the user's items, `prefix` and name being lower-case, after checking it on its own.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the item and the limit.
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

    /// The changed values alone, for a thing whose metadata is replaced as a whole.
    #[must_use]
    pub fn into_values(self) -> Metadata {
        Metadata(self.0.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_checked_alone_and_together() {
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
    fn bytes_survive_whatever_they_are() {
        for bytes in [&b"plain"[..], "é".as_bytes(), b"\xff\x00\xe2", b""] {
            assert_eq!(bytes_of(&text_of(bytes)), bytes);
        }
    }

    #[test]
    fn an_empty_value_removes() {
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
