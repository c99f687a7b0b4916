//! `[connections]` and `[metrics]`: what listeners take, and where metrics are read.

use std::net::SocketAddr;

use serde::Deserialize;
use web::listener::Limits;

use super::{Bad, address};

/// `[connections]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Connections {
    max: Option<usize>,
    per_address: Option<usize>,
}

impl Connections {
    /// The figures make sense.
    ///
    /// # Errors
    /// [`Bad`] with the key.
    pub(super) fn checked(self) -> Result<Self, Bad> {
        for (key, value) in [("connections.max", self.max), ("connections.per_address", self.per_address)] {
            if value == Some(0) {
                return Err(Bad::new(key, "0: expected at least 1"));
            }
        }
        Ok(self)
    }

    /// How many connections a process takes that may have so many files open.
    pub fn limits(&self, files: u64) -> Limits {
        let own = Limits::for_files(files);
        let all = self.max.unwrap_or(own.all).min(own.all);
        let per_address = self.per_address.unwrap_or((all / 4).max(16)).min(all);
        Limits { all, per_address, ..own }
    }
}

/// `[metrics]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    listen: Option<String>,
}

impl Metrics {
    /// The listener of their own, if there is one.
    ///
    /// # Errors
    /// [`Bad`] with the key.
    pub(super) fn listen(&self) -> Result<Option<SocketAddr>, Bad> {
        self.listen.as_ref().map(|text| address("metrics.listen", text)).transpose()
    }
}
