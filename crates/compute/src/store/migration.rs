//! Servers on two hosts during a resize to another host: the row names the other host and the capacity reserved there.

use database::{Error, Tx, params};
use uuid::Uuid;
use work::Time;

use super::bad;
use super::hosts::Size;
use crate::model::Server;

/// Records the second host of a server. The capacity there was reserved by `choose_host`.
pub(crate) async fn begin(
    tx: &mut Tx,
    id: Uuid,
    host: &str,
    snapshot: Uuid,
    size: Size,
) -> Result<(), Error> {
    let sql =
        "UPDATE servers SET other_host = $2, other_snapshot = $3, other_memory_mib = $4, other_disk_gib = $5
               WHERE id = $1";
    let (id, snapshot) = (id.to_string(), snapshot.to_string());
    tx.execute(sql, params![id, host, snapshot, size.memory_mib, size.disk_gib]).await.map(|_| ())
}

/// Swaps a server's host and its other host, with their reservations.
pub(crate) async fn switch_host(tx: &mut Tx, id: Uuid, now: Time) -> Result<(), Error> {
    let sql = "UPDATE servers SET host = other_host, other_host = host, held_memory_mib = other_memory_mib,
                                  other_memory_mib = held_memory_mib, held_disk_gib = other_disk_gib,
                                  other_disk_gib = held_disk_gib, updated = $2
               WHERE id = $1 AND other_host IS NOT NULL";
    tx.execute(sql, params![id.to_string(), now.0]).await.map(|_| ())
}

/// Removes the migration's snapshot from a server.
pub(crate) async fn clear_snapshot(tx: &mut Tx, id: Uuid) -> Result<(), Error> {
    let sql = "UPDATE servers SET other_snapshot = NULL WHERE id = $1";
    tx.execute(sql, params![id.to_string()]).await.map(|_| ())
}

/// Removes a server's other host and frees the reservation there.
pub(crate) async fn end(tx: &mut Tx, server: &Server) -> Result<(), Error> {
    let id = server.id.to_string();
    let sql = "SELECT other_host, other_memory_mib, other_disk_gib FROM servers WHERE id = $1";
    let row = tx.row(sql, params![id]).await?.ok_or_else(|| bad("server"))?;
    let Some(host) = row.get::<Option<String>>(0)? else { return Ok(()) };
    let (memory, disk): (i64, i64) = (row.get(1)?, row.get(2)?);
    let sql = "UPDATE hosts SET used_memory_mib = used_memory_mib - $2, used_disk_gib = used_disk_gib - $3
               WHERE name = $1";
    tx.execute(sql, params![host, memory, disk]).await?;
    let sql = "UPDATE placements SET servers = servers - 1 WHERE tenant = $1 AND host = $2";
    tx.execute(sql, params![server.tenant, host]).await?;
    let sql = "UPDATE servers SET other_host = NULL, other_snapshot = NULL, other_memory_mib = 0, other_disk_gib = 0
               WHERE id = $1";
    tx.execute(sql, params![id]).await.map(|_| ())
}
