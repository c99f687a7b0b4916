//! Durable jobs, leases and time, as a library: the tables are part of each service's own database.
//!
//! A job is a row that survives a crash and is run by whoever holds its lease, in small steps that may each run
//! twice. A step that concerns another service is a job too: enqueued in the transaction that made it necessary,
//! delivered until the other service has taken it (an outbox).

pub mod clock;
pub mod jobs;
pub mod lease;
pub mod runner;

pub use clock::{Clock, Time};
pub use jobs::{Job, NewJob};
pub use runner::{Handler, Next, Runner, RunnerHandle};

/// The tables that a service with jobs includes in its first migration.
pub const TABLES: &str = include_str!("tables.sql");

/// Names this process among those that share a database.
#[must_use]
pub fn owner() -> String {
    static OWNER: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| uuid::Uuid::new_v4().to_string());
    OWNER.clone()
}
