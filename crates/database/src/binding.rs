//! Records which cloud a service's database belongs to. A start with a wrong or missing database is detected before anything
//! is removed that its rows do not name.

use rusqlite::OptionalExtension;

use crate::error::{Error, Result};
use crate::location::{Location, Server};
use crate::session::postgres::reason;
use crate::session::sqlite::connect;

/// The cloud that a service's database belongs to, as recorded in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudBinding {
    /// There is no database yet; opening it would create it.
    Absent,
    /// The database exists but names no cloud: it is new, or an earlier version of the program created it.
    Unbound,
    /// The database belongs to this cloud.
    Bound(CloudRow),
}

/// A cloud, as each of its databases records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudRow {
    /// The cloud's id.
    pub cloud: String,
    /// Fingerprint of the cloud's master key. It reveals nothing about the key.
    pub key_check: String,
    /// When the database was created, in milliseconds since 1970; 0 if unknown.
    pub since: i64,
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS cloud (id BIGINT NOT NULL PRIMARY KEY, cloud TEXT NOT NULL,
                     key_check TEXT NOT NULL, since BIGINT NOT NULL)";

impl CloudBinding {
    /// Reads which cloud `service`'s database at `location` belongs to.
    ///
    /// # Errors
    /// [`Error::Open`] when the database exists and cannot be read.
    pub async fn read(location: &Location, service: &'static str) -> Result<Self> {
        match location {
            Location::Sqlite(dir) => read_sqlite(&dir.join(format!("{service}.db")), service),
            Location::Postgres(server) => read_postgres(server, service).await,
        }
    }

    /// Records the cloud in `service`'s database, which must exist. A cloud that is recorded already stays.
    ///
    /// # Errors
    /// [`Error::Open`] when the database cannot be opened or written.
    pub async fn write(location: &Location, service: &'static str, row: &CloudRow) -> Result<()> {
        match location {
            Location::Sqlite(dir) => {
                let failed = |e: rusqlite::Error| Error::Open { service, reason: e.to_string() };
                let connection = connect(&dir.join(format!("{service}.db"))).map_err(failed)?;
                connection.execute(TABLE, []).map_err(failed)?;
                let sql = "INSERT INTO cloud (id, cloud, key_check, since) VALUES (0, ?1, ?2, ?3)
                           ON CONFLICT (id) DO NOTHING";
                connection.execute(sql, (&row.cloud, &row.key_check, row.since)).map(|_| ()).map_err(failed)
            }
            Location::Postgres(server) => write_postgres(server, service, row).await,
        }
    }
}

fn read_sqlite(path: &std::path::Path, service: &'static str) -> Result<CloudBinding> {
    if !path.exists() {
        return Ok(CloudBinding::Absent);
    }
    let failed = |e: rusqlite::Error| Error::Open { service, reason: e.to_string() };
    let connection = connect(path).map_err(failed)?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    if version == 0 {
        // The process crashed after creating the file and before creating its tables.
        return Ok(CloudBinding::Absent);
    }
    let table: Option<i64> = connection
        .query_row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'cloud'", [], |row| {
            row.get(0)
        })
        .optional()
        .map_err(failed)?;
    if table.is_none() {
        return Ok(CloudBinding::Unbound);
    }
    let row = connection
        .query_row("SELECT cloud, key_check, since FROM cloud WHERE id = 0", [], |row| {
            Ok(CloudRow { cloud: row.get(0)?, key_check: row.get(1)?, since: row.get(2)? })
        })
        .optional()
        .map_err(failed)?;
    Ok(row.map_or(CloudBinding::Unbound, CloudBinding::Bound))
}

async fn read_postgres(server: &Server, service: &'static str) -> Result<CloudBinding> {
    let failed = |e: tokio_postgres::Error| Error::Open { service, reason: reason(&e) };
    let client = server.pool()?.connector().connect("-c statement_timeout=10000").await.map_err(failed)?;
    let schema = server.schema_prefix()? + service;
    let there = |table: &str| {
        let name = format!("{schema}.{table}");
        let client = &client;
        async move {
            let row = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&name]).await?;
            Ok::<bool, tokio_postgres::Error>(row.get(0))
        }
    };
    if !there("schema_version").await.map_err(failed)? {
        return Ok(CloudBinding::Absent);
    }
    let sql = format!("SELECT 1 FROM {schema}.schema_version LIMIT 1");
    if client.query_opt(&sql, &[]).await.map_err(failed)?.is_none() {
        return Ok(CloudBinding::Absent);
    }
    if !there("cloud").await.map_err(failed)? {
        return Ok(CloudBinding::Unbound);
    }
    let sql = format!("SELECT cloud, key_check, since FROM {schema}.cloud WHERE id = 0");
    let row = client.query_opt(&sql, &[]).await.map_err(failed)?;
    Ok(row.map_or(CloudBinding::Unbound, |row| {
        CloudBinding::Bound(CloudRow { cloud: row.get(0), key_check: row.get(1), since: row.get(2) })
    }))
}

async fn write_postgres(server: &Server, service: &'static str, row: &CloudRow) -> Result<()> {
    let failed = |e: tokio_postgres::Error| Error::Open { service, reason: reason(&e) };
    let client = server.pool()?.connector().connect("-c statement_timeout=10000").await.map_err(failed)?;
    let schema = server.schema_prefix()? + service;
    let table = TABLE.replacen("EXISTS cloud", &format!("EXISTS {schema}.cloud"), 1);
    client.batch_execute(&table).await.map_err(failed)?;
    let sql = format!(
        "INSERT INTO {schema}.cloud (id, cloud, key_check, since) VALUES (0, $1, $2, $3) ON CONFLICT (id) DO NOTHING"
    );
    client.execute(&sql, &[&row.cloud, &row.key_check, &row.since]).await.map(|_| ()).map_err(failed)
}
