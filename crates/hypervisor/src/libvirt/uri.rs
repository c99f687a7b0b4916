//! Parses a libvirt URI with Nephos' own query keys.

use crate::{Error, Result};

pub const DEFAULT_POOL_PATH: &str = "/var/lib/libvirt/images/nephos";

/// The configured accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceleratorChoice {
    /// KVM if a probe guest runs under it, else TCG.
    Auto,
    Kvm,
    Tcg,
}

/// A host's URI and Nephos' settings for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The URI passed to libvirt.
    pub uri: String,
    pub accelerator: AcceleratorChoice,
    /// Directory of Nephos' storage pool on the host.
    pub pool_path: String,
}

impl Address {
    /// Removes `accel` and `pool` from the query and keeps everything else.
    pub fn parse(given: &str) -> Result<Self> {
        let bad = |reason: &str| Error::BadUri { uri: given.to_owned(), reason: reason.to_owned() };
        let (base, query) = given.split_once('?').unwrap_or((given, ""));
        let scheme = base.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
        if scheme != "qemu" && !scheme.starts_with("qemu+") {
            return Err(bad("it must begin with `simulated:`, `qemu:///` or `qemu+TRANSPORT://`"));
        }
        let (mut accelerator, mut pool_path) = (AcceleratorChoice::Auto, DEFAULT_POOL_PATH.to_owned());
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("accel", "auto") => accelerator = AcceleratorChoice::Auto,
                ("accel", "kvm") => accelerator = AcceleratorChoice::Kvm,
                ("accel", "tcg") => accelerator = AcceleratorChoice::Tcg,
                ("accel", _) => return Err(bad("`accel` must be auto, kvm or tcg")),
                ("pool", path) if path.starts_with('/') && path.len() > 1 => {
                    path.trim_end_matches('/').clone_into(&mut pool_path);
                }
                ("pool", _) => return Err(bad("`pool` must be an absolute path")),
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
    fn own_keys_are_removed_and_others_kept() {
        let address =
            Address::parse("qemu+unix:///system?socket=/run/a&accel=tcg&mode=direct&pool=/srv/p/").unwrap();
        assert_eq!(address.uri, "qemu+unix:///system?socket=/run/a&mode=direct");
        assert_eq!((address.accelerator, address.pool_path.as_str()), (AcceleratorChoice::Tcg, "/srv/p"));
        let plain = Address::parse("qemu:///system?accel=auto").unwrap();
        assert_eq!((plain.uri.as_str(), plain.pool_path.as_str()), ("qemu:///system", DEFAULT_POOL_PATH));
    }

    #[test]
    fn invalid_values_are_rejected() {
        for uri in ["xen:///", "nonsense", "qemu:///system?accel=fast", "qemu:///system?pool=here"] {
            assert!(matches!(Address::parse(uri), Err(Error::BadUri { .. })), "{uri}");
        }
    }
}
