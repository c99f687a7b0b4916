//! A server that has to do with two hosts, since a resize takes it from one to the other: its row names the other one,
//! with the room that is booked for it there.

use database::{Error, Tx, params};
use uuid::Uuid;
use work::Time;

use super::bad;
use crate::model::Server;

/// The server has to do with a second host from now on, where its room is booked already.
pub(crate) async fn begin(
    tx: &mut Tx,
    id: Uuid,
    host: &str,
    snapshot: Uuid,
    (memory_mib, disk_gib): (i64, i64),
) -> Result<(), Error> {
    let sql =
        "UPDATE servers SET other_host = $2, other_snapshot = $3, other_memory_mib = $4, other_disk_gib = $5
               WHERE id = $1";
    let (id, snapshot) = (id.to_string(), snapshot.to_string());
    tx.execute(sql, params![id, host, snapshot, memory_mib, disk_gib]).await.map(|_| ())
}

/// Its own host is the other one now, and the other one its own. What is booked stays booked.
pub(crate) async fn change_sides(tx: &mut Tx, id: Uuid, now: Time) -> Result<(), Error> {
    let sql = "UPDATE servers SET host = other_host, other_host = host, held_memory_mib = other_memory_mib,
                                  other_memory_mib = held_memory_mib, held_disk_gib = other_disk_gib,
                                  other_disk_gib = held_disk_gib, updated = $2
               WHERE id = $1 AND other_host IS NOT NULL";
    tx.execute(sql, params![id.to_string(), now.0]).await.map(|_| ())
}

/// The snapshot that was to go over is of no use any more.
pub(crate) async fn forget_snapshot(tx: &mut Tx, id: Uuid) -> Result<(), Error> {
    let sql = "UPDATE servers SET other_snapshot = NULL WHERE id = $1";
    tx.execute(sql, params![id.to_string()]).await.map(|_| ())
}

/// Frees the room on the other host, which the server has nothing to do with any more.
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
