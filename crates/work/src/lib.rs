//! Durable jobs, leases and an injectable clock. Each service keeps these tables in its own database.
//!
//! A job is a row, so it survives a crash. The process that holds its lease runs it in small steps, and each step must be
//! safe to run twice. A call to another service is a job too: it is enqueued in the transaction that made it necessary and
//! retried until the other service has accepted it (an outbox).

pub mod clock;
pub mod jobs;
pub mod lease;
pub mod runner;

pub use clock::{Clock, Time};
pub use jobs::{Job, NewJob};
pub use runner::{Handler, Next, Runner, RunnerHandle};

/// The tables that a service with jobs includes in its first migration.
pub const TABLES: &str = include_str!("tables.sql");

/// Returns this process's id among the processes that share a database. Constant for the life of the process.
#[must_use]
pub fn owner() -> String {
    static OWNER: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| uuid::Uuid::new_v4().to_string());
    OWNER.clone()
}
