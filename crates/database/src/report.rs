//! Report on a PostgreSQL server, so that operators notice wrong settings before clients do.

use crate::error::{Error, Result};
use crate::location::{Location, Server};
use crate::session::postgres::reason;

/// A server's limits and how this process connects to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerReport {
    /// The server's version, such as `15.18`.
    pub version: String,
    /// Connections that the server admits, excluding those reserved for superusers.
    pub connections_max: i64,
    /// Connections that other clients have open now.
    pub connections_used: i64,
    /// Connections that this process may open, including the one of the lock.
    pub connections_wanted: i64,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// Whether a commit is on the server's disk before it is acknowledged (`fsync` and `synchronous_commit`).
    pub durable: bool,
}

impl ServerReport {
    /// Whether this process's connections fit next to those of other clients.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.connections_used + self.connections_wanted <= self.connections_max
    }
}

/// Queries the server's limits. Returns `None` for SQLite.
///
/// # Errors
/// [`Error::Open`] when the server cannot be reached, [`Error::Location`] for a URL that cannot be used.
pub async fn inspect(location: &Location) -> Result<Option<ServerReport>> {
    let Location::Postgres(server) = location else { return Ok(None) };
    ask(server).await.map(Some)
}

async fn ask(server: &Server) -> Result<ServerReport> {
    let failed = |e: tokio_postgres::Error| Error::Open { service: "PostgreSQL", reason: reason(&e) };
    let client = server.pool()?.connector().connect("-c statement_timeout=10000").await.map_err(failed)?;
    let sql = "SELECT current_setting('server_version'),
                 CAST(current_setting('max_connections') AS BIGINT)
                   - CAST(current_setting('superuser_reserved_connections') AS BIGINT)
                   - CAST(COALESCE(current_setting('reserved_connections', true), '0') AS BIGINT),
                 (SELECT COUNT(*) FROM pg_stat_activity
                  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
                 (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()),
                 current_setting('fsync') = 'on'
                   AND current_setting('synchronous_commit') IN ('on', 'remote_apply', 'remote_write', 'local')";
    let row = client.query_one(sql, &[]).await.map_err(failed)?;
    Ok(ServerReport {
        version: row.get(0),
        connections_max: row.get(1),
        connections_used: row.get(2),
        connections_wanted: i64::try_from(server.connections()).unwrap_or(i64::MAX).saturating_add(1),
        encrypted: row.get(3),
        durable: row.get(4),
    })
}
