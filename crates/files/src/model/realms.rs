//! Realms: clouds that trust each other to synchronise containers (Swift, Container to container synchronisation).

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::hmac;

use crate::model::metadata::bytes_of;

/// The realms that this cloud belongs to, by upper-case name.
#[derive(Clone, Debug)]
pub struct Realms {
    /// The realms, each with its key and clusters.
    pub realms: BTreeMap<String, Realm>,
    /// This cloud's own realm and cluster.
    pub current: Option<(String, String)>,
    /// Whether `X-Container-Sync-To` may be a URL.
    pub allow_full_urls: bool,
    /// The hosts that such a URL may name. The cloud never connects to another host at a user's request.
    pub allowed_hosts: Vec<String>,
    /// Interval of checks for changes that another process queued.
    pub interval: Duration,
}

impl Default for Realms {
    fn default() -> Self {
        Self {
            realms: BTreeMap::new(),
            current: None,
            allow_full_urls: true,
            allowed_hosts: Vec::new(),
            interval: Duration::from_secs(5),
        }
    }
}

/// Clusters with a common key.
#[derive(Clone, PartialEq, Eq)]
pub struct Realm {
    /// The key that signs requests between them.
    pub key: String,
    /// A second valid key, for changing the key.
    pub key2: Option<String>,
    /// The clusters' endpoints, by upper-case name.
    pub clusters: BTreeMap<String, Endpoint>,
}

impl std::fmt::Debug for Realm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Realm").field("clusters", &self.clusters).finish_non_exhaustive()
    }
}

/// An address on another cloud.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whether to use TLS.
    pub secure: bool,
    /// Its host, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The path, percent-encoded, without a trailing slash.
    pub path: String,
}

impl Endpoint {
    /// Parses `http://host[:port]/path` or `https://…`.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = || format!("{url:?}: expected http://HOST[:PORT]/v1/");
        let (secure, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(wrong()),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let is_path = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte));
        if !is_path || authority.contains(['@', '?', '#']) {
            return Err(wrong());
        }
        let (host, port) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((host, port))) => (host, port.strip_prefix(':').or(port.is_empty().then_some(""))),
            Some(None) => return Err(wrong()),
            None => {
                authority.split_once(':').map_or((authority, Some("")), |(host, port)| (host, Some(port)))
            }
        };
        let port = match port {
            Some("") => Some(if secure { 443 } else { 80 }),
            Some(port) => port.parse().ok(),
            None => None,
        };
        let fits = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
        match port.filter(|port| *port > 0 && fits) {
            Some(port) => {
                let path = path.trim_end_matches('/').to_owned();
                Ok(Self { secure, host: host.to_ascii_lowercase(), port, path })
            }
            None => Err(wrong()),
        }
    }

    /// Returns host and port as in a `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

/// Where a container's changes are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The other container.
    pub container: Endpoint,
    /// The common realm and its key, if there is one.
    pub realm: Option<(String, String)>,
}

impl Realms {
    /// Parses `X-Container-Sync-To`: `//realm/cluster/account/container`, or a URL. Returns `None` if it is empty.
    ///
    /// # Errors
    /// Swift's message.
    pub fn destination(&self, value: &str) -> Result<Option<Destination>, String> {
        let trimmed = value.trim_end_matches('/');
        if trimmed.is_empty() {
            return Ok(None);
        }
        if let Some(place) = trimmed.strip_prefix("//") {
            let parts: Vec<_> = place.split('/').collect();
            let [realm, cluster, account, container] = parts.as_slice() else {
                return Err(format!("Invalid X-Container-Sync-To format '{value}'"));
            };
            let Some(found) = self.realms.get(&realm.to_uppercase()) else {
                return Err(format!("No realm key for '{realm}'"));
            };
            let Some(endpoint) = found.clusters.get(&cluster.to_uppercase()) else {
                return Err(format!("No cluster endpoint for '{realm}' '{cluster}'"));
            };
            let encoded = |text: &str| {
                let bytes: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
                web::query::encode(&bytes, false)
            };
            let path = format!("{}/{}/{}", endpoint.path, encoded(account), encoded(container));
            let container = Endpoint { path, ..endpoint.clone() };
            return Ok(Some(Destination {
                container,
                realm: Some((realm.to_uppercase(), found.key.clone())),
            }));
        }
        if !self.allow_full_urls {
            return Err(
                "Full URLs are not allowed for X-Container-Sync-To values. Only realm values of the format \
                        //realm/cluster/account/container are allowed.\n"
                    .into(),
            );
        }
        let scheme = trimmed.split_once("://").map_or("", |(scheme, _)| scheme);
        if !matches!(scheme, "http" | "https") {
            return Err(format!(
                "Invalid scheme '{scheme}' in X-Container-Sync-To, must be \"//\", \"http\", or \"https\"."
            ));
        }
        if trimmed.contains(['?', '#', ';']) {
            return Err("Params, queries, and fragments not allowed in X-Container-Sync-To".into());
        }
        let container =
            Endpoint::parse(trimmed).map_err(|_| format!("Invalid X-Container-Sync-To format '{value}'"))?;
        if container.path.is_empty() {
            return Err("Path required in X-Container-Sync-To".into());
        }
        if !self.allowed_hosts.contains(&container.host) {
            return Err(format!("Invalid host '{}' in X-Container-Sync-To", container.host));
        }
        Ok(Some(Destination { container, realm: None }))
    }

    /// Returns whether a signature was made with the realm's key and the container's key.
    #[must_use]
    pub fn is_signed(&self, realm: &str, text: &str, signature: &str) -> bool {
        let Some(realm) = self.realms.get(&realm.to_uppercase()) else { return false };
        let Ok(signature) = hex::decode(signature) else { return false };
        std::iter::once(&realm.key)
            .chain(&realm.key2)
            .any(|key| hmac::verify(&hmac_key(key), text.as_bytes(), &signature).is_ok())
    }
}

/// Returns the text that is signed: the method, the path as sent, `X-Timestamp`, a nonce, and the container's key.
#[must_use]
pub fn signed_text(method: &str, path: &str, timestamp: &str, nonce: &str, container_key: &str) -> String {
    format!("{method}\n{path}\n{timestamp}\n{nonce}\n{container_key}")
}

/// Signs a text with a realm's key.
#[must_use]
pub fn sign(realm_key: &str, text: &str) -> String {
    hex::encode(hmac::sign(&hmac_key(realm_key), text.as_bytes()))
}

fn hmac_key(key: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes_of(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realms() -> Realms {
        let endpoint = Endpoint::parse("http://dfw.example.com:8080/v1/").unwrap();
        let clusters = BTreeMap::from([("DFW".to_owned(), endpoint)]);
        let realm = Realm { key: "realm key".into(), key2: Some("next".into()), clusters };
        Realms {
            realms: BTreeMap::from([("US".to_owned(), realm)]),
            allowed_hosts: vec!["other.example.com".into()],
            ..Realms::default()
        }
    }

    #[test]
    fn destinations_are_parsed_as_swift_does() {
        let realms = realms();
        let found = realms.destination("//us/dfw/AUTH_1/c d/").unwrap().unwrap();
        assert_eq!(found.container.path, "/v1/AUTH_1/c%20d");
        assert_eq!(found.container.authority(), "dfw.example.com:8080");
        assert_eq!(found.realm, Some(("US".into(), "realm key".into())));
        let url = realms.destination("https://other.example.com/v1/AUTH_1/c").unwrap().unwrap();
        assert_eq!((url.container.secure, url.container.port, url.realm), (true, 443, None));
        assert_eq!(realms.destination("/"), Ok(None));
        for (bad, why) in [
            ("//us/dfw/c", "Invalid X-Container-Sync-To format '//us/dfw/c'"),
            ("//eu/dfw/a/c", "No realm key for 'eu'"),
            ("//us/ord/a/c", "No cluster endpoint for 'us' 'ord'"),
            (
                "ftp://other.example.com/c",
                "Invalid scheme 'ftp' in X-Container-Sync-To, must be \"//\", \"http\", or \"https\".",
            ),
            ("http://other.example.com", "Path required in X-Container-Sync-To"),
            (
                "http://other.example.com/c?x",
                "Params, queries, and fragments not allowed in X-Container-Sync-To",
            ),
            ("http://127.0.0.1/c", "Invalid host '127.0.0.1' in X-Container-Sync-To"),
            (
                "http://other.example.com@127.0.0.1/c",
                "Invalid X-Container-Sync-To format 'http://other.example.com@127.0.0.1/c'",
            ),
        ] {
            assert_eq!(realms.destination(bad), Err(why.into()));
        }
        let closed = Realms { allow_full_urls: false, ..realms };
        assert!(closed.destination("http://other.example.com/c").unwrap_err().starts_with("Full URLs"));
    }

    #[test]
    fn signatures_with_either_key_are_valid() {
        let realms = realms();
        let text = signed_text("PUT", "/v1/AUTH_1/c/o", "1389453423.35964", "nonce", "container key");
        for (key, expected) in [("realm key", true), ("next", true), ("other", false)] {
            assert_eq!(realms.is_signed("us", &text, &sign(key, &text)), expected, "{key}");
        }
        assert!(!realms.is_signed("eu", &text, &sign("realm key", &text)));
        assert!(!realms.is_signed("us", &text, "zz"));
    }

    #[test]
    fn endpoints_are_plain_urls() {
        let six = Endpoint::parse("http://[::1]:81/v1").unwrap();
        assert_eq!((six.host.as_str(), six.port, six.authority()), ("::1", 81, "[::1]:81".into()));
        for bad in [
            "",
            "host/v1",
            "http://",
            "http://h:x/",
            "http://h:0/",
            "http://[::1/",
            "http://a@b/",
            "http://h/a b",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }
}
