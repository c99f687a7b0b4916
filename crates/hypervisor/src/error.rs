//! Errors of hosts, classified so that a service can decide what to do.

use std::time::Duration;

use uuid::Uuid;

/// The result of every call to a host.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call to a host failed. Every variant names the operation or the object. None contains a secret, so the text
/// may be logged and stored with a machine's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host is unreachable, and it is unknown whether the call had an effect. `hint` says what to install or start.
    #[error("host {uri} is unreachable: {reason} ({hint})")]
    Unreachable {
        /// The URI passed to libvirt, or a simulated host's name.
        uri: String,
        /// The transport's message.
        reason: String,
        /// What the operator can do about it.
        hint: String,
    },

    /// The URI or one of its query keys is invalid. Returned only by `open`.
    #[error("{uri} is not a hypervisor URI: {reason}")]
    BadUri {
        /// The URI as given, including Nephos' own query keys.
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

    /// The host lacks memory, disk space or processors.
    #[error("{operation}: no capacity: {reason}")]
    NoCapacity {
        /// The trait's method, or `probe_accelerator` on behalf of one.
        operation: &'static str,
        /// What is lacking, with numbers if the host reports them.
        reason: String,
    },

    /// The request is invalid or does not fit the object's state. A retry will not help.
    #[error("{operation}: refused: {reason}")]
    Refused {
        /// The trait's method, or `probe_accelerator` on behalf of one.
        operation: &'static str,
        /// The state or the invalid value.
        reason: String,
    },

    /// The guest's agent does not respond: it is absent, booting or hung.
    #[error("{operation}: the agent of guest {machine} does not respond")]
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
        /// The host's message; for operators, not for tenants.
        reason: String,
    },
}

impl Error {
    /// Returns whether a retry of the same call may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. } | Self::GuestSilent { .. })
    }

    /// Returns whether the object does not exist, in which case a deletion has succeeded.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NoMachine { .. } | Self::NotFound { .. })
    }
}
