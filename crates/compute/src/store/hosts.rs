//! Hosts, their room, and where a new server goes.

use database::{Error, Tx, params};

/// A host as its operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Whether it answers.
    pub up: bool,
    /// Whether it takes no new servers.
    pub drained: bool,
    /// Whether its operator gave it up: nothing that was there is left.
    pub given_up: bool,
    /// Its memory, in MiB.
    pub memory_mib: i64,
    /// Its disk, in GiB.
    pub disk_gib: i64,
    /// Memory booked by servers.
    pub used_memory_mib: i64,
    /// Disk booked by servers.
    pub used_disk_gib: i64,
}

/// Keeps what a host can carry.
pub(crate) async fn survey(tx: &mut Tx, name: &str, memory_mib: i64, disk_gib: i64) -> Result<(), Error> {
    let sql = "INSERT INTO hosts (name, up, drained, memory_mib, disk_gib, used_memory_mib, used_disk_gib)
               VALUES ($1, 1, 0, $2, $3, 0, 0)
               ON CONFLICT (name) DO UPDATE SET up = 1, memory_mib = $2, disk_gib = $3";
    tx.execute(sql, params![name, memory_mib, disk_gib]).await.map(|_| ())
}

/// Notes whether a host answers; `true` if that is news.
pub(crate) async fn set_up(tx: &mut Tx, name: &str, up: bool) -> Result<bool, Error> {
    let sql = "UPDATE hosts SET up = $2 WHERE name = $1 AND up <> $2";
    Ok(tx.execute(sql, params![name, up]).await? == 1)
}

pub(crate) async fn set_drained(tx: &mut Tx, name: &str, drained: bool) -> Result<bool, Error> {
    let sql = "UPDATE hosts SET drained = $2 WHERE name = $1";
    Ok(tx.execute(sql, params![name, drained]).await? == 1)
}

/// Gives a host up, or takes it back: then nobody knows whether it answers. `false` if there is none of that name.
pub(crate) async fn set_given_up(tx: &mut Tx, name: &str, given_up: bool) -> Result<bool, Error> {
    let sql = "UPDATE hosts SET given_up = $2, up = 0 WHERE name = $1";
    Ok(tx.execute(sql, params![name, given_up]).await? == 1)
}

/// The hosts that are given up.
pub(crate) async fn given_up(tx: &mut Tx) -> Result<Vec<String>, Error> {
    let rows = tx.rows("SELECT name FROM hosts WHERE given_up = 1", &[]).await?;
    rows.into_iter().map(|mut row| row.take(0)).collect()
}

/// Whether a host answers, if there is one of that name.
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
                given_up: row.take(3)?,
                memory_mib: row.take(4)?,
                disk_gib: row.take(5)?,
                used_memory_mib: row.take(6)?,
                used_disk_gib: row.take(7)?,
            })
        })
        .collect()
}

/// The host for a new server: among those with room, the one with the fewest of the tenant's servers, then the
/// emptiest. The server is counted there; its room is booked when its row is written.
pub(crate) async fn place(
    tx: &mut Tx,
    tenant: &str,
    size: (i64, i64),
    disk_overcommit: i64,
) -> Result<Option<String>, Error> {
    place_beside(tx, tenant, size, disk_overcommit, "").await
}

/// Another host than this one for a server that leaves it, with room for so many MiB of memory and GiB of disk.
pub(crate) async fn place_beside(
    tx: &mut Tx,
    tenant: &str,
    (memory_mib, disk_gib): (i64, i64),
    disk_overcommit: i64,
    beside: &str,
) -> Result<Option<String>, Error> {
    let sql = "SELECT h.name FROM hosts h
               LEFT JOIN placements p ON p.host = h.name AND p.tenant = $1
               WHERE h.up = 1 AND h.drained = 0 AND h.given_up = 0 AND h.memory_mib - h.used_memory_mib >= $2
                 AND h.disk_gib * $4 - h.used_disk_gib >= $3 AND h.name <> $5
               ORDER BY COALESCE(p.servers, 0), h.used_memory_mib, h.name LIMIT 1";
    let row = tx.row(sql, params![tenant, memory_mib, disk_gib, disk_overcommit, beside]).await?;
    let Some(mut row) = row else { return Ok(None) };
    let host: String = row.take(0)?;
    let sql = "INSERT INTO placements (tenant, host, servers) VALUES ($1, $2, 1)
               ON CONFLICT (tenant, host) DO UPDATE SET servers = placements.servers + 1";
    tx.execute(sql, params![tenant, host]).await?;
    let sql = "UPDATE hosts SET used_memory_mib = used_memory_mib + $2, used_disk_gib = used_disk_gib + $3
               WHERE name = $1";
    tx.execute(sql, params![host, memory_mib, disk_gib]).await?;
    Ok(Some(host))
}

/// Whether a host has so much more memory and disk free.
pub(crate) async fn has_room(
    tx: &mut Tx,
    host: &str,
    memory_mib: i64,
    disk_gib: i64,
    disk_overcommit: i64,
) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM hosts WHERE name = $1 AND memory_mib - used_memory_mib >= $2
               AND disk_gib * $4 - used_disk_gib >= $3";
    Ok(tx.row(sql, params![host, memory_mib, disk_gib, disk_overcommit]).await?.is_some())
}
