//! Numbered changes of a service's tables.

use crate::error::{Error, Result};

/// One change of the tables. Versions count from 1 without gaps. A released migration never changes.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The version that the tables have after this change.
    pub version: i64,
    /// Statements in SQLite's dialect, with `BLOB` for bytes. `WITHOUT ROWID` is removed for PostgreSQL.
    pub sql: &'static str,
}

/// Returns the migrations that a database at version `found` still needs.
pub(crate) fn pending<'m>(
    migrations: &'m [Migration],
    found: i64,
    service: &'static str,
) -> Result<&'m [Migration]> {
    let known = migrations.last().map_or(0, |last| last.version);
    debug_assert!(migrations.iter().zip(1..).all(|(migration, n)| migration.version == n));
    if found > known {
        return Err(Error::Newer { service, found, known });
    }
    Ok(&migrations[usize::try_from(found).unwrap_or(0)..])
}
