//! Query strings as decoded pairs; of several with one name the first counts.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A request's query, decoded. A name without `=` has an empty value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, Vec<u8>)>);

impl Query {
    /// Parses the part of a URI after the `?`.
    #[must_use]
    pub fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = String::from_utf8_lossy(&decode(name)).into_owned();
            (name, decode(value))
        });
        Self(pairs.collect())
    }

    /// Returns the value's bytes, which need not be UTF-8.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_slice())
    }

    /// Returns the value as text; invalid UTF-8 is replaced.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.bytes(name).map(String::from_utf8_lossy)
    }

    /// Returns whether the name occurs.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.bytes(name).is_some()
    }

    /// Returns only the pairs with these names.
    #[must_use]
    pub fn only(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(name, _)| names.contains(&name.as_str())).cloned().collect())
    }

    /// Returns all pairs, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }
}

fn decode(text: &str) -> Vec<u8> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).collect()
}

/// Percent-decodes a part of a URI; invalid UTF-8 is replaced.
#[must_use]
pub fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// Percent-encodes bytes for a path or query: all but letters, digits and `-._~`, and `/` if `keep_slash`.
#[must_use]
pub fn encode(bytes: &[u8], keep_slash: bool) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/') {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_name_counts_and_bytes_are_kept() {
        let query = Query::parse(Some("limit=1&limit=2&marker=a%2Fb+c&raw=%ff&flag"));
        assert_eq!(query.text("limit").unwrap(), "1");
        assert_eq!(query.text("marker").unwrap(), "a/b c");
        assert_eq!(query.bytes("raw").unwrap(), b"\xff");
        assert!(query.has("flag") && !query.has("other"));
        assert_eq!(query.only(&["flag", "other"]), Query::parse(Some("flag")));
    }

    #[test]
    fn a_slash_is_encoded_unless_it_is_kept() {
        assert_eq!(encode("a b/é".as_bytes(), true), "a%20b/%C3%A9");
        assert_eq!(encode(b"a/b", false), "a%2Fb");
    }
}
