//! What can go wrong on a host, in words that a service can act on.

use std::time::Duration;

use uuid::Uuid;

/// The result of every call to a host.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a host did not do what it was asked. Every variant names the operation or the thing concerned, and none
/// carries a secret, so its text may be logged and stored with a machine's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host does not answer at all; nothing is known of what it did. `hint` says what to install or start.
    #[error("host {uri} cannot be reached: {reason} ({hint})")]
    Unreachable {
        /// As libvirt is given it, or a simulated host's name.
        uri: String,
        /// The transport's own message.
        reason: String,
        /// What the operator may do about it, as a whole phrase.
        hint: String,
    },

    /// The URI or one of its query keys is not understood. Only `open` answers this.
    #[error("{uri} is not a hypervisor: {reason}")]
    BadUri {
        /// As it was given, our own query keys included.
        uri: String,
        /// What is expected instead.
        reason: String,
    },

    /// No such machine on this host.
    #[error("{operation}: machine {machine} does not exist")]
    NoMachine {
        /// The trait's method, or `probe_accelerator` on behalf of one.
        operation: &'static str,
        /// Its [`crate::MachineSpec::id`].
        machine: Uuid,
    },

    /// No such image, network, network card, disk or snapshot on this host; `what` names it.
    #[error("{operation}: {what} does not exist")]
    NotFound {
        /// The trait's method, or `probe_accelerator` on behalf of one.
        operation: &'static str,
        /// Kind and name, as in `network public`; a missing disk or config drive by its file.
        what: String,
    },

    /// The host lacks the memory, disk or processors asked for.
    #[error("{operation}: no capacity: {reason}")]
    NoCapacity {
        /// The trait's method, or `probe_accelerator` on behalf of one.
        operation: &'static str,
        /// What is short, with numbers where the host tells them.
        reason: String,
    },

    /// The request does not fit the state the thing is in, or is malformed; asking again will not help.
    #[error("{operation}: refused: {reason}")]
    Refused {
        /// The trait's method, or `probe_accelerator` on behalf of one.
        operation: &'static str,
        /// The state or value in the way.
        reason: String,
    },

    /// The guest's agent does not answer (absent, booting or hung), so the guest could not be asked.
    #[error("{operation}: the agent of guest {machine} does not answer")]
    GuestSilent {
        /// The trait's method, or `probe_accelerator` on behalf of one.
        operation: &'static str,
        /// Its [`crate::MachineSpec::id`].
        machine: Uuid,
    },

    /// The host did not finish within the deadline of the operation; it may still finish later.
    #[error("{operation}: not finished after {} s", .after.as_secs())]
    Timeout {
        /// The trait's method, or `probe_accelerator` on behalf of one.
        operation: &'static str,
        /// The deadline that passed.
        after: Duration,
    },

    /// The host tried and failed; `reason` is its own message.
    #[error("{operation} failed: {reason}")]
    Failed {
        /// The trait's method, or `probe_accelerator` on behalf of one.
        operation: &'static str,
        /// In the host's language; for operators, not for tenants.
        reason: String,
    },
}

impl Error {
    /// Whether the same call may succeed later without anything being changed by the caller.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. } | Self::GuestSilent { .. })
    }

    /// Whether the thing asked for is not there, which ends a deletion well.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NoMachine { .. } | Self::NotFound { .. })
    }
}
