//! The tables of compute: every SQL statement of the service, and nothing else.

pub(crate) mod actions;
pub(crate) mod crossing;
pub(crate) mod groups;
pub(crate) mod hosts;
pub(crate) mod limits;
pub(crate) mod schedules;
pub(crate) mod servers;
pub(crate) mod usage;

use database::{Error, Migration, Tx, params};

/// The tables: those of its jobs, and compute's own.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: work::TABLES },
    Migration { version: 2, sql: include_str!("store/tables.sql") },
    Migration { version: 3, sql: include_str!("store/usage.sql") },
    Migration { version: 4, sql: include_str!("store/crossing.sql") },
    Migration { version: 5, sql: include_str!("store/served.sql") },
    Migration { version: 6, sql: include_str!("store/given_up.sql") },
];

pub(crate) fn bad(what: &str) -> Error {
    Error::Statement { statement: "compute".into(), reason: format!("unreadable {what}") }
}

/// The next number of a sequence, from 1.
pub(crate) async fn next_number(tx: &mut Tx, name: &str) -> Result<i64, Error> {
    let sql = "INSERT INTO cursors (name, next) VALUES ($1, 2)
               ON CONFLICT (name) DO UPDATE SET next = cursors.next + 1 RETURNING next - 1";
    tx.row(sql, params![name]).await?.ok_or_else(|| bad("cursor"))?.take(0)
}
