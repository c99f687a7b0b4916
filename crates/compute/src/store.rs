//! All SQL statements of the service, and nothing else.

pub(crate) mod actions;
pub(crate) mod groups;
pub(crate) mod hosts;
pub(crate) mod limits;
pub(crate) mod migration;
pub(crate) mod schedules;
pub(crate) mod servers;
pub(crate) mod usage;

use database::{Error, Migration, Tx, params};

/// The tables of jobs and of compute.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: work::TABLES },
    Migration { version: 2, sql: include_str!("store/tables.sql") },
    Migration { version: 3, sql: include_str!("store/usage.sql") },
    Migration { version: 4, sql: include_str!("store/migration.sql") },
    Migration { version: 5, sql: include_str!("store/served.sql") },
    Migration { version: 6, sql: include_str!("store/evacuated.sql") },
];

pub(crate) fn bad(what: &str) -> Error {
    Error::Statement { statement: "compute".into(), reason: format!("unreadable {what}") }
}

/// Returns the next number of a sequence that starts at 1.
pub(crate) async fn next_number(tx: &mut Tx, name: &str) -> Result<i64, Error> {
    let sql = "INSERT INTO cursors (name, next) VALUES ($1, 2)
               ON CONFLICT (name) DO UPDATE SET next = cursors.next + 1 RETURNING next - 1";
    tx.row(sql, params![name]).await?.ok_or_else(|| bad("cursor"))?.take(0)
}
