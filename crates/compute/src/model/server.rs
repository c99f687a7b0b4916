//! Servers and shared IP groups.

use std::net::Ipv4Addr;

use hypervisor::Power;
use networks::{Label, Port};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use work::Time;

use super::flavor::Flavor;
use super::state::State;

/// How a server is named by a dialect: both names mean the same server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    /// v1.0's.
    Number(i64),
    /// Everyone else's.
    Uuid(Uuid),
}

/// Why a server is in error, or why what was last asked of it did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// In words that its owner may read.
    pub message: String,
    /// When, in microseconds since 1970.
    pub at: i64,
}

/// A resize that is neither confirmed nor reverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// What it was before.
    pub from: &'static Flavor,
}

/// A second host that a server has to do with. A resize takes the server there, until it runs there; from then on it is
/// the one with the original, which is kept, shut off, until the resize is decided; and once a resize is given up or
/// reverted, the one that is to be cleared when the original runs again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Its name.
    pub host: String,
    /// The snapshot by which the disk goes over; none once the server is to go back.
    pub snapshot: Option<Uuid>,
}

/// A server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its id in v2, and its machine's on the host.
    pub id: Uuid,
    /// Its id in v1.0.
    pub number: i64,
    /// Whose it is.
    pub tenant: String,
    /// Who made it.
    pub user: String,
    /// Its name in the books.
    pub name: String,
    /// What its guest is called: the name that it was launched with.
    pub hostname: String,
    /// The host that it is on.
    pub host: String,
    /// Its hardware.
    pub flavor: &'static Flavor,
    /// The image that its disk was made from.
    pub image: Uuid,
    /// That image's v1.0 id, which stays when the image goes.
    pub image_number: i64,
    /// Where it is in its life.
    pub state: State,
    /// Whether its machine runs.
    pub power: Power,
    /// Hundredths of the task under way.
    pub progress: u8,
    /// What its owner attached to it, in order.
    pub metadata: Vec<(String, String)>,
    /// Its ports, in the order of its cards.
    pub interfaces: Vec<Port>,
    /// The key pair that it was launched with.
    pub key_name: Option<String>,
    /// Nobody but an operator changes it.
    pub locked: bool,
    /// The shared IP group that it is in, by that group's number.
    pub group: Option<i64>,
    /// What went wrong last.
    pub fault: Option<Fault>,
    /// The resize that waits for a decision.
    pub resize: Option<Resize>,
    /// The second host of a resize that leaves the first one.
    pub other: Option<Other>,
    /// When it was asked for.
    pub created: Time,
    /// When it changed last.
    pub updated: Time,
    /// Its owner deleted it then: a tombstone for those who ask what changed.
    pub deleted: Option<Time>,
}

impl Server {
    /// Its addresses in one of the networks, in order.
    pub fn addresses(&self, label: Label) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.interfaces
            .iter()
            .filter(move |port| port.label == label)
            .flat_map(|port| port.addresses.iter().map(|held| held.address))
    }

    /// Whether it is on its way back to the host that it is on: its original is there and does not run again yet.
    #[must_use]
    pub fn returns(&self) -> bool {
        self.resize.is_none() && self.other.as_ref().is_some_and(|other| other.snapshot.is_none())
    }

    /// Whether it uses an address that belongs to another server.
    #[must_use]
    pub fn shares(&self) -> bool {
        self.interfaces.iter().flat_map(|port| &port.addresses).any(|held| held.shared)
    }
}

/// A shared IP group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id in v2's manner.
    pub id: Uuid,
    /// Its id in v1.0.
    pub number: i64,
    /// Its name.
    pub name: String,
    /// The v1.0 ids of its servers, ascending.
    pub servers: Vec<i64>,
    /// When it or its membership changed last.
    pub updated: Time,
    /// It is gone since then.
    pub deleted: Option<Time>,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Items before it.
    pub offset: i64,
    /// Items in it at most.
    pub limit: i64,
    /// Only what changed since; what was deleted since is among servers with all details alone.
    pub since: Option<Time>,
}
