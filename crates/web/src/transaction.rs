//! Transaction ids: one per request, in `X-Trans-Id`, `X-Openstack-Request-Id` and the log.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

/// A request's id in Swift's form: `tx`, 21 hex digits, `-`, the time in 10 hex digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionId(Arc<str>);

impl TransactionId {
    /// Creates an id for a request that arrived at `unix_seconds`.
    #[must_use]
    pub fn new(unix_seconds: i64) -> Self {
        let mut random = [0u8; 11];
        // The id needs only be unique, so a failing random generator must not fail the request.
        let _ = aws_lc_rs::rand::fill(&mut random);
        Self(format!("tx{}-{unix_seconds:010x}", &hex::encode(random)[..21]).into())
    }

    /// Returns the id as sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Adds the id to a response's headers.
    pub(crate) fn show(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(self.as_str()) {
            headers.insert("x-trans-id", value.clone());
            headers.insert("x-openstack-request-id", value);
        }
    }
}

impl std::fmt::Display for TransactionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_swifts_format() {
        let id = TransactionId::new(0x52d9_5365);
        let (random, time) = id.as_str().split_once('-').unwrap();
        assert_eq!(time, "0052d95365");
        assert_eq!(random.len(), 23);
        assert!(random.starts_with("tx") && random[2..].bytes().all(|b| b.is_ascii_hexdigit()));
        assert_ne!(id, TransactionId::new(0x52d9_5365));
    }
}
