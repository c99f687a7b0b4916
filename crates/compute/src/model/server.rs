//! Servers and shared IP groups.

use std::net::Ipv4Addr;

use hypervisor::Power;
use networks::{Label, Port};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use work::Time;

use super::flavor::Flavor;
use super::state::State;

/// A server's id in either form. Both refer to the same server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    /// The id in v1.0.
    Number(i64),
    /// The id in every other API.
    Uuid(Uuid),
}

/// Why a server is in ERROR, or why its last action failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The message that its owner may read.
    pub message: String,
    /// When, in microseconds since 1970.
    pub at: i64,
}

/// A resize that is neither confirmed nor reverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// The old flavor.
    pub from: &'static Flavor,
}

/// The second host of a server during a resize to another host. It is
/// - the target host until the new machine may run there;
/// - then the host of the original machine, which is kept shut off until the resize is confirmed or reverted;
/// - after a failed or reverted resize the host to be cleaned up once the original machine runs again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Its name.
    pub host: String,
    /// The snapshot that the disk is copied from; `None` once the server is rolled back.
    pub snapshot: Option<Uuid>,
}

/// A server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its id in v2, and the id of its machine on the host.
    pub id: Uuid,
    /// Its id in v1.0.
    pub number: i64,
    /// The tenant that owns it.
    pub tenant: String,
    /// The id of the user who created it.
    pub user: String,
    /// Its name in the API.
    pub name: String,
    /// The guest's host name: the name that the server was created with.
    pub hostname: String,
    /// The host that it is on.
    pub host: String,
    /// Its flavor.
    pub flavor: &'static Flavor,
    /// The image that its disk was created from.
    pub image: Uuid,
    /// That image's v1.0 id, which stays known after the image is deleted.
    pub image_number: i64,
    /// Its state.
    pub state: State,
    /// Its machine's power state.
    pub power: Power,
    /// Progress of the current task in percent.
    pub progress: u8,
    /// Its metadata in order.
    pub metadata: Vec<(String, String)>,
    /// Its ports in the order of its network interfaces.
    pub interfaces: Vec<Port>,
    /// The key pair that it was created with.
    pub key_name: Option<String>,
    /// Whether only an operator may change it.
    pub locked: bool,
    /// The v1.0 id of its shared IP group.
    pub group: Option<i64>,
    /// The last failure.
    pub fault: Option<Fault>,
    /// The resize that was neither confirmed nor reverted.
    pub resize: Option<Resize>,
    /// The second host during a resize to another host.
    pub other: Option<Other>,
    /// When its creation was requested.
    pub created: Time,
    /// When it changed last.
    pub updated: Time,
    /// When its owner deleted it. The row stays for `changes-since`.
    pub deleted: Option<Time>,
}

impl Server {
    /// Returns its addresses in a network, in order.
    pub fn addresses(&self, label: Label) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.interfaces
            .iter()
            .filter(move |port| port.label == label)
            .flat_map(|port| port.addresses.iter().map(|held| held.address))
    }

    /// Returns whether a resize to another host is being rolled back: the server's host has the original machine,
    /// which does not run yet.
    #[must_use]
    pub fn is_rolling_back(&self) -> bool {
        self.resize.is_none() && self.other.as_ref().is_some_and(|other| other.snapshot.is_none())
    }

    /// Returns whether it uses an address that belongs to another server.
    #[must_use]
    pub fn uses_shared_address(&self) -> bool {
        self.interfaces.iter().flat_map(|port| &port.addresses).any(|held| held.shared)
    }
}

/// A shared IP group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its UUID.
    pub id: Uuid,
    /// Its id in v1.0.
    pub number: i64,
    /// Its name.
    pub name: String,
    /// The v1.0 ids of its servers, ascending.
    pub servers: Vec<i64>,
    /// When it or its membership changed last.
    pub updated: Time,
    /// When it was deleted.
    pub deleted: Option<Time>,
}

/// Which part of a list to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Number of items to skip.
    pub offset: i64,
    /// Maximum number of items.
    pub limit: i64,
    /// Only items that changed at this time or later. Only the detailed list of servers includes deleted ones.
    pub since: Option<Time>,
}
