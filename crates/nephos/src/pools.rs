//! Address pools: as configured, or defaults that do not overlap this machine's routes.

use std::net::Ipv4Addr;

use hypervisor::Forward;
use ipnet::Ipv4Net;
use networks::{Config as Pools, Pool};

use crate::config::{self, SettingError};

/// Tried in order, each a public and a private network.
const CANDIDATES: [([u8; 4], [u8; 4]); 4] = [
    ([172, 28, 0, 0], [10, 176, 0, 0]),
    ([172, 29, 0, 0], [10, 177, 0, 0]),
    ([192, 168, 0, 0], [10, 208, 0, 0]),
    ([172, 20, 0, 0], [10, 80, 0, 0]),
];
const PREFIX_LENGTH: u8 = 16;
const PUBLIC_BRIDGE: &str = "nephos-pub";
const PRIVATE_BRIDGE: &str = "nephos-priv";

/// Returns the pools to use.
///
/// # Errors
/// [`SettingError`] with the key at fault: an invalid pool, or no default that is free.
pub fn pools(config: &config::Networks) -> Result<Pools, SettingError> {
    let taken = routes();
    let free = CANDIDATES.into_iter().map(|(public, private)| (net(public), net(private))).find(
        |(public, private)| !taken.iter().any(|taken| overlaps(taken, public) || overlaps(taken, private)),
    );
    let default = |which: fn((Ipv4Net, Ipv4Net)) -> Ipv4Net, key: &str| {
        let none = || {
            SettingError::new(
                key,
                "every default overlaps a route of this machine: set cidr, gateway and bridge",
            )
        };
        free.map(which).ok_or_else(none)
    };
    let public = pool(&config.public, "networks.public", PUBLIC_BRIDGE, Forward::Nat, || {
        default(|(public, _)| public, "networks.public")
    })?;
    let private = pool(&config.private, "networks.private", PRIVATE_BRIDGE, Forward::Isolated, || {
        default(|(_, private)| private, "networks.private")
    })?;
    if overlaps(&public.cidr, &private.cidr) {
        return Err(SettingError::new("networks.private.cidr", "it overlaps the public pool"));
    }
    Ok(Pools { public, private })
}

fn pool(
    given: &config::Pool,
    key: &str,
    bridge: &str,
    forward: Forward,
    default: impl FnOnce() -> Result<Ipv4Net, SettingError>,
) -> Result<Pool, SettingError> {
    let cidr = match &given.cidr {
        Some(text) => {
            text.parse().map_err(|e| SettingError::new(&format!("{key}.cidr"), format!("{text:?}: {e}")))?
        }
        None => default()?,
    };
    if cidr.prefix_len() > 29 {
        return Err(SettingError::new(
            &format!("{key}.cidr"),
            "expected a network of /29 or larger, with room for servers",
        ));
    }
    let gateway = match &given.gateway {
        Some(text) => text
            .parse()
            .map_err(|e| SettingError::new(&format!("{key}.gateway"), format!("{text:?}: {e}")))?,
        None => Ipv4Addr::from(u32::from(cidr.network()) + 1),
    };
    if !cidr.contains(&gateway) {
        return Err(SettingError::new(&format!("{key}.gateway"), format!("{gateway} is not in {cidr}")));
    }
    let bridge = given.bridge.clone().unwrap_or_else(|| bridge.to_owned());
    if bridge.is_empty() || bridge.len() > 15 {
        return Err(SettingError::new(&format!("{key}.bridge"), "an interface's name has 1 to 15 bytes"));
    }
    Ok(Pool { cidr: cidr.trunc(), gateway, bridge, forward })
}

fn net(network: [u8; 4]) -> Ipv4Net {
    Ipv4Net::new_assert(network.into(), PREFIX_LENGTH)
}

fn overlaps(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// Returns the machine's routes, without the default route and those of Nephos' own bridges.
fn routes() -> Vec<Ipv4Net> {
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    table.lines().skip(1).filter_map(route).collect()
}

/// Parses a line of `/proc/net/route`: device, then destination and mask in hexadecimal, in the machine's byte order.
fn route(line: &str) -> Option<Ipv4Net> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let address = |field: usize| {
        let number = u32::from_str_radix(fields.get(field)?, 16).ok()?;
        Some(Ipv4Addr::from(number.to_ne_bytes()))
    };
    let (destination, mask) = (address(1)?, address(7)?);
    if mask.is_unspecified() || [PUBLIC_BRIDGE, PRIVATE_BRIDGE].contains(fields.first()?) {
        return None;
    }
    Ipv4Net::with_netmask(destination, mask).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_parsed_from_the_kernels_table() {
        let line = "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        assert_eq!(route(line), Some("192.168.0.0/24".parse().unwrap()));
        assert_eq!(route("eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0"), None);
        assert_eq!(route(&line.replace("eth0", PUBLIC_BRIDGE)), None);
    }

    #[test]
    fn an_invalid_pool_is_rejected_with_its_key() {
        let with = |cidr: &str, gateway: Option<&str>| config::Networks {
            public: config::Pool {
                cidr: Some(cidr.into()),
                gateway: gateway.map(str::to_owned),
                bridge: None,
            },
            private: config::Pool { cidr: Some("10.99.0.0/24".into()), ..config::Pool::default() },
        };
        let refused = |networks| pools(&networks).unwrap_err().to_string();
        assert!(refused(with("nonsense", None)).starts_with("networks.public.cidr: "));
        assert!(refused(with("10.1.0.0/30", None)).starts_with("networks.public.cidr: "));
        assert!(refused(with("10.1.0.0/24", Some("10.2.0.1"))).starts_with("networks.public.gateway: "));
        assert!(refused(with("10.99.0.0/16", None)).starts_with("networks.private.cidr: "));
        let good = pools(&with("203.0.113.7/24", None)).unwrap();
        assert_eq!(
            (good.public.cidr.to_string(), good.public.gateway.to_string()),
            ("203.0.113.0/24".into(), "203.0.113.1".into())
        );
    }
}
