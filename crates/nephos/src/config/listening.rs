//! `[connections]` and `[metrics]`: limits of listeners, and the metrics listener.

use std::net::SocketAddr;

use serde::Deserialize;
use web::listener::Limits;

use super::{SettingError, address};

/// Minimum and maximum of the memory that all connections may hold together, in MiB.
const MEMORY_MIN: u64 = 16;
const MEMORY_MAX: u64 = 1 << 20;

/// `[connections]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Connections {
    max: Option<usize>,
    per_address: Option<usize>,
    /// In MiB.
    memory: Option<u64>,
}

impl Connections {
    /// Checks that the figures are consistent.
    ///
    /// # Errors
    /// [`SettingError`] with the key at fault.
    pub(super) fn checked(self) -> Result<Self, SettingError> {
        for (key, value) in [("connections.max", self.max), ("connections.per_address", self.per_address)] {
            if value == Some(0) {
                return Err(SettingError::new(key, "0: expected at least 1"));
            }
        }
        if self.memory.is_some_and(|memory| !(MEMORY_MIN..=MEMORY_MAX).contains(&memory)) {
            let reason = format!("expected {MEMORY_MIN} to {MEMORY_MAX} MiB");
            return Err(SettingError::new("connections.memory", reason));
        }
        Ok(self)
    }

    /// Returns the connection limits of a process that may have `files` open files.
    pub fn limits(&self, files: u64) -> Limits {
        let own = Limits::for_files(files);
        let all = self.max.unwrap_or(own.all).min(own.all);
        let per_address = self.per_address.unwrap_or((all / 4).max(16)).min(all);
        let memory = self.memory.map_or(own.memory, |mebibytes| mebibytes << 20);
        Limits { all, per_address, memory, ..own }
    }
}

/// `[metrics]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    listen: Option<String>,
}

impl Metrics {
    /// Returns the address of the metrics listener, if there is one.
    ///
    /// # Errors
    /// [`SettingError`] with the key at fault.
    pub(super) fn listen(&self) -> Result<Option<SocketAddr>, SettingError> {
        self.listen.as_ref().map(|text| address("metrics.listen", text)).transpose()
    }
}
