//! `cdn_host`: the host name under which containers are published.

use super::Bad;

/// Default address of the CDN edge, with a name that resolves to this machine everywhere.
const HOST: &str = "cdn.localhost:8081";

/// Checks the host name under which containers are published.
///
/// # Errors
/// [`Bad`] for anything but a host name with an optional port.
pub(super) fn host(given: Option<String>) -> Result<String, Bad> {
    let host = given.unwrap_or_else(|| HOST.to_owned()).to_ascii_lowercase();
    let (name, port) = host.split_once(':').map_or((&*host, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    // The labels in front of it take up to 66 of a name's 253 bytes, and some room is left.
    if name.len() <= 180 && name.split('.').all(is_label) && is_port {
        return Ok(host);
    }
    Err(Bad::new("cdn_host", format!("{host:?}: expected NAME or NAME:PORT, such as cdn.example.com")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cdn_host_is_a_name_with_an_optional_port() {
        assert_eq!(host(None).unwrap(), "cdn.localhost:8081");
        assert_eq!(host(Some("CDN.Example.com".into())).unwrap(), "cdn.example.com");
        for bad in ["", "a..b", "http://a", "a/b", "a:0", "a:b", "a:70000", "a b", ".a", "a:1:2"] {
            assert_eq!(host(Some(bad.into())).unwrap_err().key, "cdn_host", "{bad:?}");
        }
    }
}
