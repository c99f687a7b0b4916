//! Address pools, ports and the addresses that ports hold.

use std::net::Ipv4Addr;

use hypervisor::{Forward, Mac, NetworkSpec, Nic};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Id of the public network, the same in every cloud (Cloud Servers v2).
pub const PUBLIC_NETWORK: Uuid = Uuid::nil();
/// Id of the private network, the same in every cloud (Cloud Servers v2).
pub const PRIVATE_NETWORK: Uuid = Uuid::from_u128(0x1111_1111_1111_1111_1111_1111_1111_1111);

/// The two networks that every server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Reachable from outside the cloud.
    Public,
    /// Connects the servers of this cloud.
    Private,
}

impl Label {
    /// Both, in the order of a server's network interfaces.
    pub const ALL: [Self; 2] = [Self::Public, Self::Private];

    /// The network's id.
    #[must_use]
    pub fn network(self) -> Uuid {
        match self {
            Self::Public => PUBLIC_NETWORK,
            Self::Private => PRIVATE_NETWORK,
        }
    }

    /// Its name in the APIs and in the database.
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
    /// All its addresses. The network, broadcast and gateway addresses are never allocated.
    pub cidr: Ipv4Net,
    /// The hosts' own address in it.
    pub gateway: Ipv4Addr,
    /// Interface name of the bridge, the same on every host.
    pub bridge: String,
    /// How its traffic leaves a host.
    pub forward: Forward,
}

impl Pool {
    /// Returns the first and the last allocatable address as numbers; `None` if the pool is too small to have any.
    #[must_use]
    pub fn range(&self) -> Option<(u32, u32)> {
        let (first, last) = (u32::from(self.cidr.network()), u32::from(self.cidr.broadcast()));
        (last.checked_sub(first)? >= 2).then(|| (first + 1, last - 1))
    }

    /// Returns whether this address may be allocated to a server.
    #[must_use]
    pub fn is_allocatable(&self, address: u32) -> bool {
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

    /// The networks that every host must have before a machine is defined on it.
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
pub struct PortAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Whether it belongs to another server that shares it with this one.
    pub shared: bool,
}

/// A server's attachment to a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its id.
    pub id: Uuid,
    /// The network.
    pub label: Label,
    /// Address of its network interface.
    pub mac: Mac,
    /// Its addresses: its own first, then shared ones in the order in which they were added.
    pub addresses: Vec<PortAddress>,
}

/// Where a new server's public address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicAddress {
    /// Allocated from the pool.
    Own,
    /// Shared by another server; the new server has no public address of its own.
    Shared(Ipv4Addr),
}

/// Returns the network's name on a host.
fn host_network(label: Label) -> String {
    format!("nephos-{}", label.as_str())
}

/// Returns the network interfaces of a machine with these ports.
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
    fn network_broadcast_and_gateway_addresses_are_never_allocated() {
        let pool = Pool {
            cidr: "192.0.2.0/29".parse().unwrap(),
            gateway: Ipv4Addr::new(192, 0, 2, 1),
            bridge: "b".into(),
            forward: Forward::Nat,
        };
        let allocatable: Vec<u8> =
            (0..8u8).filter(|last| pool.is_allocatable(u32::from(Ipv4Addr::new(192, 0, 2, *last)))).collect();
        assert_eq!(allocatable, [2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_shared_address_is_allowed_and_not_leased() {
        let port = Port {
            id: Uuid::nil(),
            label: Label::Public,
            mac: "02:4e:00:00:00:01".parse().unwrap(),
            addresses: vec![
                PortAddress { address: Ipv4Addr::new(192, 0, 2, 9), shared: true },
                PortAddress { address: Ipv4Addr::new(192, 0, 2, 3), shared: false },
            ],
        };
        let nic = machine_nics(&[port]).remove(0);
        assert_eq!(nic.lease, Some(Ipv4Addr::new(192, 0, 2, 3)));
        assert_eq!(nic.allowed.len(), 2);
        assert_eq!(nic.network, "nephos-public");
    }
}
