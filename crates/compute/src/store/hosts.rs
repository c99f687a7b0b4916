//! Hosts, their capacity, and the placement of servers.

use database::{Error, Tx, params};

use crate::model::Flavor;

/// A host as its operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Whether it is reachable.
    pub up: bool,
    /// Whether it takes no new servers.
    pub drained: bool,
    /// Whether its operator declared it lost. Everything on it counts as deleted.
    pub evacuated: bool,
    /// Its memory, in MiB.
    pub memory_mib: i64,
    /// Its disk, in GiB.
    pub disk_gib: i64,
    /// Memory reserved by servers, in MiB.
    pub used_memory_mib: i64,
    /// Disk reserved by servers, in GiB.
    pub used_disk_gib: i64,
}

/// Stores a host's capacity and marks it as up.
pub(crate) async fn set_capacity(
    tx: &mut Tx,
    name: &str,
    memory_mib: i64,
    disk_gib: i64,
) -> Result<(), Error> {
    let sql = "INSERT INTO hosts (name, up, drained, memory_mib, disk_gib, used_memory_mib, used_disk_gib)
               VALUES ($1, 1, 0, $2, $3, 0, 0)
               ON CONFLICT (name) DO UPDATE SET up = 1, memory_mib = $2, disk_gib = $3";
    tx.execute(sql, params![name, memory_mib, disk_gib]).await.map(|_| ())
}

/// Stores whether a host is reachable. Returns whether that is a change.
pub(crate) async fn set_up(tx: &mut Tx, name: &str, up: bool) -> Result<bool, Error> {
    let sql = "UPDATE hosts SET up = $2 WHERE name = $1 AND up <> $2";
    Ok(tx.execute(sql, params![name, up]).await? == 1)
}

pub(crate) async fn set_drained(tx: &mut Tx, name: &str, drained: bool) -> Result<bool, Error> {
    let sql = "UPDATE hosts SET drained = $2 WHERE name = $1";
    Ok(tx.execute(sql, params![name, drained]).await? == 1)
}

/// Sets whether a host is evacuated. A reinstated host is down until it is next checked. Returns `false` if there is
/// no such host.
pub(crate) async fn set_evacuated(tx: &mut Tx, name: &str, evacuated: bool) -> Result<bool, Error> {
    let sql = "UPDATE hosts SET given_up = $2, up = 0 WHERE name = $1";
    Ok(tx.execute(sql, params![name, evacuated]).await? == 1)
}

/// Returns the names of the evacuated hosts.
pub(crate) async fn evacuated(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let rows = tx.rows("SELECT name FROM hosts WHERE given_up = 1", &[]).await?;
    rows.into_iter().map(|mut row| row.take(0)).collect()
}

/// Returns whether a host is reachable; `None` if there is no such host.
pub(crate) async fn is_up(tx: &mut Tx, name: &str) -> Result<Option<bool>, Error> {
    let row = tx.row("SELECT up FROM hosts WHERE name = $1", params![name]).await?;
    row.map(|mut row| row.take(0)).transpose()
}

pub(crate) async fn all(tx: &mut Tx) -> Result<Vec<Host>, Error> {
    let sql =
        "SELECT name, up, drained, given_up, memory_mib, disk_gib, used_memory_mib, used_disk_gib FROM hosts
               ORDER BY name";
    let rows = tx.rows(sql, &[]).await?;
    rows.into_iter()
        .map(|mut row| {
            Ok(Host {
                name: row.take(0)?,
                up: row.take(1)?,
                drained: row.take(2)?,
                evacuated: row.take(3)?,
                memory_mib: row.take(4)?,
                disk_gib: row.take(5)?,
                used_memory_mib: row.take(6)?,
                used_disk_gib: row.take(7)?,
            })
        })
        .collect()
}

/// Capacity that a server needs on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) memory_mib: i64,
    pub(crate) disk_gib: i64,
}

impl Size {
    /// Nothing.
    pub(crate) const ZERO: Self = Self { memory_mib: 0, disk_gib: 0 };

    /// Returns the size of a flavor.
    pub(crate) fn of(flavor: &Flavor) -> Self {
        Self { memory_mib: i64::from(flavor.memory_mib), disk_gib: i64::from(flavor.disk_gib) }
    }
}

/// Chooses a host for a server and reserves `size` there: among hosts with enough capacity, the one with the fewest
/// servers of the tenant, then the one with the least reserved memory.
pub(crate) async fn choose_host(
    tx: &mut Tx,
    tenant: &str,
    size: Size,
    disk_overcommit: i64,
) -> Result<Option<String>, Error> {
    choose_other_host(tx, tenant, size, disk_overcommit, "").await
}

/// As [`choose_host`], but never chooses the host `excluded`.
pub(crate) async fn choose_other_host(
    tx: &mut Tx,
    tenant: &str,
    size: Size,
    disk_overcommit: i64,
    excluded: &str,
) -> Result<Option<String>, Error> {
    let sql = "SELECT h.name FROM hosts h
               LEFT JOIN placements p ON p.host = h.name AND p.tenant = $1
               WHERE h.up = 1 AND h.drained = 0 AND h.given_up = 0 AND h.memory_mib - h.used_memory_mib >= $2
                 AND h.disk_gib * $4 - h.used_disk_gib >= $3 AND h.name <> $5
               ORDER BY COALESCE(p.servers, 0), h.used_memory_mib, h.name LIMIT 1";
    let row = tx.row(sql, params![tenant, size.memory_mib, size.disk_gib, disk_overcommit, excluded]).await?;
    let Some(mut row) = row else { return Ok(None) };
    let host: String = row.take(0)?;
    let sql = "INSERT INTO placements (tenant, host, servers) VALUES ($1, $2, 1)
               ON CONFLICT (tenant, host) DO UPDATE SET servers = placements.servers + 1";
    tx.execute(sql, params![tenant, host]).await?;
    let sql = "UPDATE hosts SET used_memory_mib = used_memory_mib + $2, used_disk_gib = used_disk_gib + $3
               WHERE name = $1";
    tx.execute(sql, params![host, size.memory_mib, size.disk_gib]).await?;
    Ok(Some(host))
}

/// Returns whether a host has this much capacity unreserved.
pub(crate) async fn has_capacity(
    tx: &mut Tx,
    host: &str,
    size: Size,
    disk_overcommit: i64,
) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM hosts WHERE name = $1 AND memory_mib - used_memory_mib >= $2
               AND disk_gib * $4 - used_disk_gib >= $3";
    Ok(tx.row(sql, params![host, size.memory_mib, size.disk_gib, disk_overcommit]).await?.is_some())
}
