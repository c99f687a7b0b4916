//! A libvirt URI with our own query keys.

use crate::{Error, Result};

pub const DEFAULT_POOL_PATH: &str = "/var/lib/libvirt/images/nephos";

/// Which accelerator to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// KVM where a probe guest has really run under it.
    Auto,
    Kvm,
    Tcg,
}

/// Where a host is and how we use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// What libvirt is given.
    pub uri: String,
    pub accelerator: Wish,
    /// Directory of our storage pool on the host.
    pub pool_path: String,
}

impl Address {
    /// Takes `accel` and `pool` out of the query and leaves all else as it is.
    pub fn parse(given: &str) -> Result<Self> {
        let bad = |reason: &str| Error::BadUri { uri: given.to_owned(), reason: reason.to_owned() };
        let (base, query) = given.split_once('?').unwrap_or((given, ""));
        let scheme = base.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
        if scheme != "qemu" && !scheme.starts_with("qemu+") {
            return Err(bad("it begins with `simulated:`, `qemu:///` or `qemu+TRANSPORT://`"));
        }
        let (mut accelerator, mut pool_path) = (Wish::Auto, DEFAULT_POOL_PATH.to_owned());
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("accel", "auto") => accelerator = Wish::Auto,
                ("accel", "kvm") => accelerator = Wish::Kvm,
                ("accel", "tcg") => accelerator = Wish::Tcg,
                ("accel", _) => return Err(bad("`accel` is auto, kvm or tcg")),
                ("pool", path) if path.starts_with('/') && path.len() > 1 => {
                    path.trim_end_matches('/').clone_into(&mut pool_path);
                }
                ("pool", _) => return Err(bad("`pool` is an absolute path")),
                _ => kept.push(pair),
            }
        }
        let uri = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
        Ok(Self { uri, accelerator, pool_path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_keys_are_taken_out_and_others_left() {
        let address =
            Address::parse("qemu+unix:///system?socket=/run/a&accel=tcg&mode=direct&pool=/srv/p/").unwrap();
        assert_eq!(address.uri, "qemu+unix:///system?socket=/run/a&mode=direct");
        assert_eq!((address.accelerator, address.pool_path.as_str()), (Wish::Tcg, "/srv/p"));
        let plain = Address::parse("qemu:///system?accel=auto").unwrap();
        assert_eq!((plain.uri.as_str(), plain.pool_path.as_str()), ("qemu:///system", DEFAULT_POOL_PATH));
    }

    #[test]
    fn wrong_values_are_refused() {
        for uri in ["xen:///", "nonsense", "qemu:///system?accel=fast", "qemu:///system?pool=here"] {
            assert!(matches!(Address::parse(uri), Err(Error::BadUri { .. })), "{uri}");
        }
    }
}
