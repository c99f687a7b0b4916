//! WorkItem items: what a job does to one server, as it is stored with the job.

use std::net::Ipv4Addr;

use images::Origin;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Cadence, Reboot};

/// What a job is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WorkItem {
    Build,
    Reboot {
        kind: Reboot,
    },
    Password {
        sealed: String,
    },
    Rebuild,
    Resize {
        flavor: i64,
        /// The host that it goes to, if not its own.
        #[serde(default)]
        to: Option<String>,
    },
    Confirm,
    Revert,
    Image(NewImage),
    Share {
        address: Ipv4Addr,
        configure: bool,
    },
    Unshare {
        address: Ipv4Addr,
    },
    Suspend,
    Resume,
    Start,
    Delete,
    /// Waits until a resize is confirmed by itself.
    AutoConfirm,
    /// Waits until a host answers that the server was moved from, or on which its resize failed.
    Vacate {
        host: String,
        /// What a disk went over by, if it is there.
        #[serde(default)]
        snapshot: Option<Uuid>,
        /// A resize to this host failed, and nobody knows whether the machine runs there.
        #[serde(default)]
        unseen: bool,
    },
    /// Waits for a backup window.
    Backup {
        cadence: Cadence,
        start: i64,
        end: i64,
    },
}

/// A job's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobPayload {
    pub(crate) server: Uuid,
    pub(crate) work: WorkItem,
    /// Its entry in the log of actions.
    pub(crate) action: Option<String>,
}

impl JobPayload {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl WorkItem {
    /// The subject of the job that confirms a server's resize by itself.
    pub(crate) fn confirm_subject(server: Uuid) -> String {
        format!("confirm:{server}")
    }

    /// The subject of the job that waits for a server's backup window.
    pub(crate) fn backup_subject(server: Uuid, cadence: Cadence) -> String {
        format!("backup:{}:{server}", cadence.origin().as_str())
    }

    /// Whether the job waits for something rather than changing its server.
    pub(crate) fn waits(&self) -> bool {
        matches!(self, Self::AutoConfirm | Self::Vacate { .. } | Self::Backup { .. })
    }
}

/// An image to be made of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewImage {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    /// `None` on demand.
    pub(crate) cadence: Option<Cadence>,
    /// The end of the backup window that it serves.
    #[serde(default)]
    pub(crate) window_end: Option<i64>,
}

impl NewImage {
    pub(crate) fn origin(&self) -> Origin {
        self.cadence.map_or(Origin::Snapshot, Cadence::origin)
    }
}
