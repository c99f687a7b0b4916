//! Pools, ports and the addresses that they hold.

use std::net::Ipv4Addr;

use hypervisor::{Forward, Mac, NetworkSpec, Nic};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The well-known public network, as v2 clients name it.
pub const PUBLIC_NETWORK: Uuid = Uuid::nil();
/// The well-known private network, as v2 clients name it.
pub const PRIVATE_NETWORK: Uuid = Uuid::from_u128(0x1111_1111_1111_1111_1111_1111_1111_1111);

/// Which of the two well-known networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Reached from outside.
    Public,
    /// Between the servers of this cloud.
    Private,
}

impl Label {
    /// Both, in the order of a server's cards.
    pub const ALL: [Self; 2] = [Self::Public, Self::Private];

    /// The network's id.
    #[must_use]
    pub fn network(self) -> Uuid {
        match self {
            Self::Public => PUBLIC_NETWORK,
            Self::Private => PRIVATE_NETWORK,
        }
    }

    /// As dialects write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// A pool of addresses on a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// All its addresses; network, broadcast and gateway are never given out.
    pub cidr: Ipv4Net,
    /// The hosts' own address in it.
    pub gateway: Ipv4Addr,
    /// The bridge's interface name on every host.
    pub bridge: String,
    /// How its traffic leaves a host.
    pub forward: Forward,
}

impl Pool {
    /// The first and the last address that a server may have, both as numbers; `None` when there is no room.
    #[must_use]
    pub fn range(&self) -> Option<(u32, u32)> {
        let (first, last) = (u32::from(self.cidr.network()), u32::from(self.cidr.broadcast()));
        (last.checked_sub(first)? >= 2).then(|| (first + 1, last - 1))
    }

    /// Whether a server may have this address of the pool.
    #[must_use]
    pub fn may_give(&self, address: u32) -> bool {
        self.range().is_some_and(|(first, last)| (first..=last).contains(&address))
            && address != u32::from(self.gateway)
    }
}

/// The pools of this cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[networks.public]`.
    pub public: Pool,
    /// `[networks.private]`.
    pub private: Pool,
}

impl Default for Config {
    fn default() -> Self {
        let pool = |net: [u8; 4], bridge: &str, forward| {
            let cidr = Ipv4Net::new_assert(Ipv4Addr::from(net), 16);
            let gateway = Ipv4Addr::from(u32::from(cidr.network()) + 1);
            Pool { cidr, gateway, bridge: bridge.to_owned(), forward }
        };
        Self {
            public: pool([10, 210, 0, 0], "nephos-pub", Forward::Nat),
            private: pool([10, 211, 0, 0], "nephos-priv", Forward::Isolated),
        }
    }
}

impl Config {
    /// The pool of a network.
    #[must_use]
    pub fn pool(&self, label: Label) -> &Pool {
        match label {
            Label::Public => &self.public,
            Label::Private => &self.private,
        }
    }

    /// What every host must have before a machine is defined on it.
    #[must_use]
    pub fn specs(&self) -> Vec<NetworkSpec> {
        Label::ALL
            .iter()
            .map(|label| {
                let pool = self.pool(*label);
                NetworkSpec {
                    name: host_network(*label),
                    bridge: pool.bridge.clone(),
                    subnet: pool.cidr,
                    gateway: pool.gateway,
                    forward: pool.forward.clone(),
                }
            })
            .collect()
    }
}

/// An address that a port holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// It.
    pub address: Ipv4Addr,
    /// Another server's, shared with this one.
    pub shared: bool,
}

/// A server's attachment to a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its id.
    pub id: Uuid,
    /// The network.
    pub label: Label,
    /// Its card.
    pub mac: Mac,
    /// In order: its own first.
    pub addresses: Vec<Held>,
}

/// Where a new server's public address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicAddress {
    /// The pool.
    Own,
    /// Another server shares it, and the new one has none of its own.
    Shared(Ipv4Addr),
}

/// The network's name on a host.
fn host_network(label: Label) -> String {
    format!("nephos-{}", label.as_str())
}

/// The cards that a host gives a machine with these ports.
#[must_use]
pub fn machine_nics(ports: &[Port]) -> Vec<Nic> {
    ports
        .iter()
        .map(|port| Nic {
            mac: port.mac,
            network: host_network(port.label),
            lease: port.addresses.iter().find(|held| !held.shared).map(|held| held.address),
            allowed: port.addresses.iter().map(|held| held.address.into()).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_broadcast_and_gateway_are_never_given() {
        let pool = Pool {
            cidr: "192.0.2.0/29".parse().unwrap(),
            gateway: Ipv4Addr::new(192, 0, 2, 1),
            bridge: "b".into(),
            forward: Forward::Nat,
        };
        let given: Vec<u8> =
            (0..8u8).filter(|last| pool.may_give(u32::from(Ipv4Addr::new(192, 0, 2, *last)))).collect();
        assert_eq!(given, [2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_shared_address_is_allowed_and_not_leased() {
        let port = Port {
            id: Uuid::nil(),
            label: Label::Public,
            mac: "02:4e:00:00:00:01".parse().unwrap(),
            addresses: vec![
                Held { address: Ipv4Addr::new(192, 0, 2, 9), shared: true },
                Held { address: Ipv4Addr::new(192, 0, 2, 3), shared: false },
            ],
        };
        let nic = machine_nics(&[port]).remove(0);
        assert_eq!(nic.lease, Some(Ipv4Addr::new(192, 0, 2, 3)));
        assert_eq!(nic.allowed.len(), 2);
        assert_eq!(nic.network, "nephos-public");
    }
}
