//! Temporary URLs: a signature in the query replaces a token (Swift, TempURL).

use std::net::IpAddr;

use http::request::Parts;
use http::{Method, StatusCode};
use web::listener::Peer;
use web::query::Query;

use super::fault::Fault;
use crate::Files;
use crate::model::name::Target;
use crate::model::signature::{self, Digest};
use crate::service::{self, Pass};

/// Headers rejected because an upload with them could refer to objects outside the signature's scope.
const REFUSED: [&str; 4] = ["x-object-manifest", "x-symlink-target", "x-copy-from", "x-copy-from-account"];
/// Headers ignored in signed requests (Swift, `incoming_remove_headers`, and headers that authenticate a caller).
const DROPPED: [&str; 4] = ["x-timestamp", "x-open-expired", "x-auth-token", "x-storage-token"];

/// A signature in a query.
pub(super) struct Signed {
    digest: Digest,
    signature: Vec<u8>,
    expires: i64,
    prefix: Option<String>,
    ip_range: Option<String>,
}

/// Returns the one response to every invalid signature.
pub(super) fn invalid() -> Fault {
    let fault = Fault::html(StatusCode::UNAUTHORIZED, "401 Unauthorized: Temp URL invalid\n");
    // Do not name the account to a sender without a valid signature.
    fault.with(http::header::WWW_AUTHENTICATE, "Swift realm=\"unknown\"")
}

/// Returns when a signature expires, in seconds as they were signed: a number, or a date in ISO 8601.
fn expires(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| {
        let fits = text.len() == 20 && text.ends_with('Z');
        fits.then(|| text.parse::<jiff::Timestamp>().ok().map(|at| at.as_second())).flatten()
    })
}

impl Signed {
    /// Parses a query; `None` if it has no signature at all.
    pub(super) fn of(query: &Query) -> Option<Result<Self, Fault>> {
        if !query.has("temp_url_sig") && !query.has("temp_url_expires") {
            return None;
        }
        let text = |name: &str| query.text(name).map(|text| text.into_owned());
        let read = || {
            let (digest, signature) = signature::parse(&text("temp_url_sig")?)?;
            let expires = expires(&text("temp_url_expires")?)?;
            Some(Self {
                digest,
                signature,
                expires,
                prefix: text("temp_url_prefix"),
                ip_range: text("temp_url_ip_range"),
            })
        };
        Some(read().ok_or_else(invalid))
    }

    /// Verifies the signature and returns the access that it grants.
    pub(super) async fn check(self, files: &Files, head: &Parts, target: &Target) -> Result<Pass, Fault> {
        if self.expires < files.now().seconds() {
            return Err(invalid());
        }
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        let (account, container, object) = match target {
            Target::Object(account, container, object) if !object.trim_matches('/').is_empty() => {
                (account, container, object.as_str())
            }
            // For the index of a static website.
            Target::Container(account, container) if reads && self.prefix.as_deref() == Some("") => {
                (account, container, "")
            }
            _ => return Err(invalid()),
        };
        if let Some(range) = &self.ip_range {
            let peer = head.extensions.get::<Peer>().map(|peer| peer.0.ip());
            if !peer.is_some_and(|peer| is_within(peer, range)) {
                return Err(invalid());
            }
        }
        let path = match &self.prefix {
            None => format!("/v1/{account}/{container}/{object}"),
            Some(prefix) if object.starts_with(prefix.as_str()) => {
                format!("prefix:/v1/{account}/{container}/{prefix}")
            }
            Some(_) => return Err(invalid()),
        };
        let methods: &[&str] = match head.method.as_str() {
            // A signature for reading or writing allows HEAD too.
            "HEAD" => &["HEAD", "GET", "POST", "PUT"],
            "GET" => &["GET"],
            "PUT" => &["PUT"],
            "POST" => &["POST"],
            "DELETE" => &["DELETE"],
            _ => return Err(invalid()),
        };
        let range = self.ip_range.as_ref().map(|range| format!("ip={range}\n")).unwrap_or_default();
        let texts =
            methods.iter().map(|method| format!("{range}{method}\n{}\n{path}", self.expires)).collect();
        let signed = service::Signed { digest: self.digest, signature: self.signature, texts };
        files.grant_for(account, container, &signed).await.map_err(|_| invalid())
    }
}

/// Returns whether an address is in a network or equal to a single address.
fn is_within(peer: IpAddr, range: &str) -> bool {
    let (network, bits) =
        range.split_once('/').map_or((range, None), |(network, bits)| (network, Some(bits)));
    let Ok(network) = network.parse::<IpAddr>() else { return false };
    let (peer, network, width) = match (peer.to_canonical(), network) {
        (IpAddr::V4(peer), IpAddr::V4(network)) => {
            (u128::from(u32::from(peer)), u128::from(u32::from(network)), 32)
        }
        (IpAddr::V6(peer), IpAddr::V6(network)) => (u128::from(peer), u128::from(network), 128),
        _ => return false,
    };
    let bits = match bits.map(str::parse::<u32>) {
        None => width,
        Some(Ok(bits)) if bits <= width => bits,
        Some(_) => return false,
    };
    let host = width - bits;
    let mask = if host >= 128 { 0 } else { u128::MAX << host };
    // Python's networks must not have bits set outside the mask.
    network & !mask & if width == 32 { 0xffff_ffff } else { u128::MAX } == 0 && peer & mask == network & mask
}

/// Rejects or removes headers that a signature does not cover.
pub(super) fn clean(head: &mut Parts) -> Result<(), Fault> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        for name in REFUSED {
            if head.headers.contains_key(name) {
                let shown = title(name);
                let text = format!("The header '{shown}' is not allowed in this tempurl");
                return Err(Fault::html(StatusCode::BAD_REQUEST, text));
            }
        }
    }
    for name in DROPPED {
        head.headers.remove(name);
    }
    Ok(())
}

fn title(name: &str) -> String {
    let part = |part: &str| {
        let mut chars = part.chars();
        chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect::<String>()
    };
    name.split('-').map(part).collect::<Vec<_>>().join("-")
}

/// Returns the parameters that a signed request may use.
pub(super) fn kept(query: &Query) -> Query {
    query.only(&[
        "temp_url_sig",
        "temp_url_expires",
        "temp_url_prefix",
        "temp_url_ip_range",
        "filename",
        "inline",
    ])
}

/// Completes the response to a signed GET or HEAD: removes private items and sets when caches must drop it.
pub(super) fn finish(response: &mut web::Response, query: &Query) {
    let hidden: Vec<_> = response
        .headers()
        .keys()
        .filter(|name| {
            name.as_str().starts_with("x-object-meta-") && !name.as_str().starts_with("x-object-meta-public-")
        })
        .cloned()
        .collect();
    for name in hidden {
        response.headers_mut().remove(name);
    }
    let ends = query.text("temp_url_expires").and_then(|text| expires(&text));
    if let Some(ends) = ends.filter(|_| response.status().is_success()) {
        super::answer::set(response.headers_mut(), "expires", web::conditional::http_date(ends));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_match_by_network() {
        let v4: IpAddr = "127.0.0.1".parse().unwrap();
        for (range, expected) in [
            ("127.0.0.1", true),
            ("127.0.0.0/8", true),
            ("127.0.0.1/8", false),
            ("0.0.0.0/0", true),
            ("127.0.0.2", false),
            ("10.0.0.0/8", false),
            ("127.0.0.0/33", false),
            ("::1", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_within(v4, range), expected, "{range}");
        }
        assert!(is_within("2001:db8::1".parse().unwrap(), "2001:db8::/32"));
        assert!(is_within("::ffff:127.0.0.1".parse().unwrap(), "127.0.0.0/8"));
    }

    #[test]
    fn expiry_is_in_seconds_or_a_date() {
        assert_eq!(expires("1389453423"), Some(1_389_453_423));
        assert_eq!(expires("2014-01-11T15:17:03Z"), Some(1_389_453_423));
        assert_eq!(expires("2014-01-11T15:17:03.5Z"), None);
        assert_eq!(expires("tomorrow"), None);
        assert_eq!(title("x-copy-from"), "X-Copy-From");
    }
}
