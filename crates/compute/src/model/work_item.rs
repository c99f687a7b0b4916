//! Work items: what a job does to one server. Stored as the job's payload, so names and fields must stay readable.

use std::net::Ipv4Addr;

use images::Origin;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Cadence, Reboot};

/// The work of a job.
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
        /// The target host of a resize to another host.
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
    /// Confirms a resize automatically.
    AutoConfirm,
    /// Removes what a server left on a host, or checks a failed resize there, once the host is reachable.
    #[serde(rename = "vacate")]
    Cleanup {
        host: String,
        /// The snapshot of the migration, if it is on this host.
        #[serde(default)]
        snapshot: Option<Uuid>,
        /// Whether a resize to this host failed and it is unknown whether the machine runs there.
        #[serde(default, rename = "unseen")]
        check_machine: bool,
    },
    /// Creates an image in a backup window.
    Backup {
        cadence: Cadence,
        start: i64,
        end: i64,
    },
}

/// The payload of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobPayload {
    pub(crate) server: Uuid,
    pub(crate) work: WorkItem,
    /// The id of its entry in the action log.
    pub(crate) action: Option<String>,
}

impl JobPayload {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl WorkItem {
    /// Returns the subject of the job that confirms a server's resize automatically.
    pub(crate) fn confirm_subject(server: Uuid) -> String {
        format!("confirm:{server}")
    }

    /// Returns the subject of the job of a server's backup window.
    pub(crate) fn backup_subject(server: Uuid, cadence: Cadence) -> String {
        format!("backup:{}:{server}", cadence.origin().as_str())
    }

    /// Returns whether the job waits for an event and is not the server's current task.
    pub(crate) fn waits(&self) -> bool {
        matches!(self, Self::AutoConfirm | Self::Cleanup { .. } | Self::Backup { .. })
    }
}

/// An image to be created from a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewImage {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    /// The schedule that requested it; `None` if the owner did.
    pub(crate) cadence: Option<Cadence>,
    /// The end of the backup window that it belongs to.
    #[serde(default)]
    pub(crate) window_end: Option<i64>,
}

impl NewImage {
    pub(crate) fn origin(&self) -> Origin {
        self.cadence.map_or(Origin::Snapshot, Cadence::origin)
    }
}
