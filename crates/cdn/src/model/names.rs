//! Host names of published containers: `{token}-{hash}.r{n}.{cdn host}` and its variants.
//!
//! The hash names the container and gives nothing away about it. The token is an HMAC of the rest of the name, so that
//! nobody can find published containers by guessing names.

use std::fmt;

use aws_lc_rs::hmac;

/// Hexadecimal digits of a token. A label of a host name has at most 63 characters: 20, a hyphen and 32.
const TOKEN_DIGITS: usize = 20;
/// Over how many subdomains containers are spread. It must never change: it is part of their names.
const SUBDOMAINS: u128 = 100;

/// Names a published container.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(u128);

impl Hash {
    /// The hash of a tenant's container under a secret of this cloud.
    #[must_use]
    pub fn of_container(tenant: &str, container: &str, secret: &[u8]) -> Self {
        let mut md5 = fast_md5::Md5::new();
        for part in [b"/AUTH_", tenant.as_bytes(), b"/", container.as_bytes(), b"/", secret] {
            md5.update(part);
        }
        Self(u128::from_be_bytes(md5.finalize()))
    }

    /// Its 16 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The hash of these bytes; `None` unless there are 16.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(u128::from_be_bytes(bytes)))
    }

    fn subdomain(self) -> u128 {
        self.0 % SUBDOMAINS
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a host names no container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHost {
    /// It is not below the CDN's own host.
    Unknown,
    /// It has no hash.
    NoHash,
    /// Its hash is not hexadecimal.
    HashNotHex,
    /// Its token is not one of this cloud's.
    WrongToken,
}

/// Which of a container's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `X-CDN-URI`
    Plain,
    /// `X-CDN-SSL-URI`: one wildcard certificate covers all containers.
    Ssl,
    /// `X-CDN-STREAMING-URI`; serves the same as the plain one.
    Streaming,
    /// `X-CDN-IOS-URI`; serves the same as the plain one.
    Ios,
}

/// The URIs of a published container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uris {
    /// `X-CDN-URI`
    pub plain: String,
    /// `X-CDN-SSL-URI`
    pub ssl: String,
    /// `X-CDN-STREAMING-URI`
    pub streaming: String,
    /// `X-CDN-IOS-URI`
    pub ios: String,
}

/// The host names that this cloud publishes under.
#[derive(Clone)]
pub struct Names {
    /// The common part, without a port, in lower case.
    domain: String,
    /// `:8081`, or nothing for the schemes' own ports.
    port: String,
    key: hmac::Key,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Names({}{})", self.domain, self.port)
    }
}

impl Names {
    /// Names under `host`, which may have a port, with tokens made by `secret`.
    #[must_use]
    pub fn new(host: &str, secret: &[u8]) -> Self {
        let (domain, port) =
            host.split_once(':').map_or((host, String::new()), |(domain, port)| (domain, format!(":{port}")));
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
        Self { domain: domain.to_ascii_lowercase(), port, key }
    }

    /// The URIs of a container.
    #[must_use]
    pub fn uris(&self, hash: Hash) -> Uris {
        let uri = |protocol: &str, scheme| {
            let rest = self.without_token(hash, scheme);
            format!("{protocol}://{}-{rest}{}", self.token(&rest), self.port)
        };
        Uris {
            plain: uri("http", Scheme::Plain),
            ssl: uri("https", Scheme::Ssl),
            streaming: uri("http", Scheme::Streaming),
            ios: uri("http", Scheme::Ios),
        }
    }

    /// The container that a request's host names. A port in it is ignored, and so is a dot at the end.
    ///
    /// # Errors
    /// [`BadHost`] for what names none.
    pub fn parse(&self, host: &str) -> Result<Hash, BadHost> {
        let (host, port) = host.split_once(':').unwrap_or((host, ""));
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadHost::Unknown);
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let labels = host.strip_suffix(&self.domain).and_then(|rest| rest.strip_suffix('.'));
        let labels = labels.ok_or(BadHost::Unknown)?;
        let (first, kind) = labels.split_once('.').ok_or(BadHost::NoHash)?;
        let (token, hash) = first.split_once('-').ok_or(BadHost::NoHash)?;
        let is_hex = hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hash = u128::from_str_radix(hash, 16).ok().filter(|_| is_hex).ok_or(BadHost::HashNotHex)?;
        let hash = Hash(hash);
        let schemes = [Scheme::Plain, Scheme::Ssl, Scheme::Streaming, Scheme::Ios];
        let is_own = schemes.into_iter().any(|scheme| {
            let rest = self.without_token(hash, scheme);
            rest.strip_prefix(&format!("{hash}."))
                .and_then(|rest| rest.strip_suffix(&format!(".{}", self.domain)))
                == Some(kind)
                && self.token(&rest) == token
        });
        if is_own { Ok(hash) } else { Err(BadHost::WrongToken) }
    }

    /// The common part of all names, without a port.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    fn without_token(&self, hash: Hash, scheme: Scheme) -> String {
        let (n, domain) = (hash.subdomain(), &self.domain);
        match scheme {
            Scheme::Plain => format!("{hash}.r{n}.{domain}"),
            Scheme::Ssl => format!("{hash}.ssl.{domain}"),
            Scheme::Streaming => format!("{hash}.r{n}.stream.{domain}"),
            Scheme::Ios => format!("{hash}.iosr.{domain}"),
        }
    }

    fn token(&self, rest: &str) -> String {
        let mut token = hex::encode(hmac::sign(&self.key, rest.as_bytes()));
        token.truncate(TOKEN_DIGITS);
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_documented_form() {
        let hash = Hash::of_container("100001", "images", b"secret");
        let uris = Names::new("CDN.localhost:8081", b"key").uris(hash);
        let n = u128::from_str_radix(&hash.to_string(), 16).unwrap() % 100;
        let part = |uri: &str, protocol: &str, rest: &str| {
            let token = uri.strip_prefix(protocol).and_then(|uri| uri.strip_suffix(rest)).unwrap();
            assert_eq!(token.len(), 20, "{uri}");
            assert!(token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{uri}");
            token.to_owned()
        };
        let tokens = [
            part(&uris.plain, "http://", &format!("-{hash}.r{n}.cdn.localhost:8081")),
            part(&uris.ssl, "https://", &format!("-{hash}.ssl.cdn.localhost:8081")),
            part(&uris.streaming, "http://", &format!("-{hash}.r{n}.stream.cdn.localhost:8081")),
            part(&uris.ios, "http://", &format!("-{hash}.iosr.cdn.localhost:8081")),
        ];
        let different: std::collections::BTreeSet<_> = tokens.iter().collect();
        assert_eq!(different.len(), 4, "each name has a token of its own");
        assert!(uris.plain.split(['/', '.']).all(|label| label.len() <= 63));
    }

    #[test]
    fn hosts_are_read_back_and_others_are_refused() {
        let names = Names::new("cdn.test:81", b"key");
        let hash = Hash::of_container("1", "c", b"secret");
        let uris = names.uris(hash);
        let host = |uri: &str| uri.split_once("://").unwrap().1.to_owned();
        for uri in [&uris.plain, &uris.ssl, &uris.streaming, &uris.ios] {
            let host = host(uri);
            assert_eq!(names.parse(&host), Ok(hash), "{host}");
            assert_eq!(names.parse(&host.to_ascii_uppercase()), Ok(hash), "{host}");
            assert_eq!(names.parse(host.split(':').next().unwrap()), Ok(hash));
            assert_eq!(names.parse(&format!("{}.", host.split(':').next().unwrap())), Ok(hash));
            // Each name has a token of its own; no digit of it may differ.
            let mut other = host.clone().into_bytes();
            other[0] = if other[0] == b'0' { b'1' } else { b'0' };
            assert_eq!(names.parse(std::str::from_utf8(&other).unwrap()), Err(BadHost::WrongToken));
        }
        let plain = host(&uris.plain);
        let (token, rest) = plain.split_once('-').unwrap();
        for (host, bad) in [
            ("cdn.test".to_owned(), BadHost::Unknown),
            ("".to_owned(), BadHost::Unknown),
            (plain.replace("cdn.test", "cdn.other"), BadHost::Unknown),
            (format!("{plain}.cdn.test.evil.org"), BadHost::Unknown),
            ("x.cdn.test".to_owned(), BadHost::NoHash),
            (rest.to_owned(), BadHost::NoHash),
            (format!("{token}-zz{}", &rest[2..]), BadHost::HashNotHex),
            (format!("{token}-+{}", &rest[1..]), BadHost::HashNotHex),
            (format!("{token}-{}", &rest[1..]), BadHost::HashNotHex),
            (format!("{token}-{hash}.ssl.cdn.test"), BadHost::WrongToken),
            (format!("{token}-{hash}.r100.cdn.test"), BadHost::WrongToken),
            (format!("x.{plain}"), BadHost::NoHash),
            (format!("-{rest}"), BadHost::WrongToken),
        ] {
            assert_eq!(names.parse(&host), Err(bad), "{host}");
        }
        assert_eq!(Names::new("cdn.test", b"other").parse(&plain), Err(BadHost::WrongToken));
    }

    #[test]
    fn a_hash_depends_on_each_of_its_parts() {
        let hash = Hash::of_container("1", "c", b"s");
        assert_ne!(hash, Hash::of_container("2", "c", b"s"));
        assert_ne!(hash, Hash::of_container("1", "d", b"s"));
        assert_ne!(hash, Hash::of_container("1", "c", b"t"));
        assert_eq!(Hash::from_bytes(&hash.to_bytes()), Some(hash));
        assert_eq!(Hash::from_bytes(b"short"), None);
    }
}
