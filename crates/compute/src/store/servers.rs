//! Servers, their secrets and the memory used by tenants.
//!
//! `deleted` is the time at which the owner deleted a server, `gone` the time at which its deletion was complete and
//! the row archived.

use std::collections::HashSet;

use database::{Error, Row, Tx, params};
use hypervisor::Power;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;
use work::Time;

use super::bad;
use super::hosts::Size;
use crate::model::{Flavor, Id, Other, Page, Resize, Server, State};

macro_rules! select {
    ($rest:expr) => {
        concat!(
            "SELECT id, number, tenant, user_id, name, hostname, host, flavor, image, image_number, vm, task, power,
                    progress, metadata, interfaces, key_name, locked, ip_group, fault, resize_from, created, updated,
                    deleted, other_host, other_snapshot FROM servers ",
            $rest
        )
    };
}

fn json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|_| bad(what))
}

/// Returns the serialised name of a variant without fields.
fn variant_name<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn parse_variant<T: DeserializeOwned>(text: String, what: &str) -> Result<T, Error> {
    serde_json::from_value(serde_json::Value::String(text)).map_err(|_| bad(what))
}

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn uuid(text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| bad("id"))
}

fn flavor(number: i64) -> Result<&'static Flavor, Error> {
    Flavor::by_number(number).ok_or_else(|| bad("flavor"))
}

fn server(mut row: Row) -> Result<Server, Error> {
    let deleted: i64 = row.take(23)?;
    let task: Option<String> = row.take(11)?;
    let fault: Option<String> = row.take(19)?;
    let resize: Option<i64> = row.take(20)?;
    let resize = resize.map(flavor).transpose()?;
    let other: Option<String> = row.take(24)?;
    let snapshot = row.take::<Option<String>>(25)?.as_deref().map(uuid).transpose()?;
    Ok(Server {
        id: uuid(&row.take::<String>(0)?)?,
        number: row.take(1)?,
        tenant: row.take(2)?,
        user: row.take(3)?,
        name: row.take(4)?,
        hostname: row.take(5)?,
        host: row.take(6)?,
        flavor: flavor(row.take(7)?)?,
        image: uuid(&row.take::<String>(8)?)?,
        image_number: row.take(9)?,
        state: State {
            vm: parse_variant(row.take(10)?, "vm state")?,
            task: task.map(|task| parse_variant(task, "task")).transpose()?,
        },
        power: parse_variant::<Power>(row.take(12)?, "power state")?,
        progress: u8::try_from(row.take::<i64>(13)?).map_err(|_| bad("progress"))?,
        metadata: json(&row.take::<String>(14)?, "metadata")?,
        interfaces: json(&row.take::<String>(15)?, "interfaces")?,
        key_name: row.take(16)?,
        locked: row.take(17)?,
        group: row.take(18)?,
        fault: fault.map(|fault| json(&fault, "fault")).transpose()?,
        resize: resize.map(|from| Resize { from }),
        other: other.map(|host| Other { host, snapshot }),
        created: Time(row.take(21)?),
        updated: Time(row.take(22)?),
        deleted: (deleted > 0).then_some(Time(deleted)),
    })
}

fn servers(rows: Vec<Row>) -> Result<Vec<Server>, Error> {
    rows.into_iter().map(server).collect()
}

pub(crate) async fn insert(tx: &mut Tx, server: &Server) -> Result<(), Error> {
    let sql = "INSERT INTO servers (id, number, tenant, user_id, name, hostname, host, flavor, image, image_number, vm,
                                    task, power, progress, metadata, interfaces, key_name, locked, ip_group, fault,
                                    resize_from, created, updated, deleted, gone, held_memory_mib, held_disk_gib)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, NULL,
                       NULL, $20, $20, 0, 0, $21, $22)";
    tx.execute(
        sql,
        params![
            server.id.to_string(),
            server.number,
            server.tenant,
            server.user,
            server.name,
            server.hostname,
            server.host,
            server.flavor.number,
            server.image.to_string(),
            server.image_number,
            variant_name(&server.state.vm),
            server.state.task.as_ref().map(variant_name),
            variant_name(&server.power),
            i64::from(server.progress),
            text(&server.metadata),
            text(&server.interfaces),
            server.key_name,
            server.locked,
            server.group,
            server.created.0,
            server.flavor.memory_mib,
            server.flavor.disk_gib,
        ],
    )
    .await
    .map(|_| ())
}

/// Updates the columns of a server that may change.
pub(crate) async fn update(tx: &mut Tx, server: &Server) -> Result<(), Error> {
    let sql = "UPDATE servers SET name = $2, flavor = $3, image = $4, image_number = $5, vm = $6, task = $7, power = $8,
                                  progress = $9, interfaces = $10, ip_group = $11, fault = $12, resize_from = $13,
                                  updated = $14, deleted = $15, locked = $16 WHERE id = $1";
    tx.execute(
        sql,
        params![
            server.id.to_string(),
            server.name,
            server.flavor.number,
            server.image.to_string(),
            server.image_number,
            variant_name(&server.state.vm),
            server.state.task.as_ref().map(variant_name),
            variant_name(&server.power),
            i64::from(server.progress),
            text(&server.interfaces),
            server.group,
            server.fault.as_ref().map(text),
            server.resize.map(|resize| resize.from.number),
            server.updated.0,
            server.deleted.map_or(0, |at| at.0),
            server.locked,
        ],
    )
    .await
    .map(|_| ())
}

/// Returns a server that is not archived, without an access check.
pub(crate) async fn by_id(tx: &mut Tx, id: Uuid) -> Result<Option<Server>, Error> {
    let row = tx.row(select!("WHERE id = $1 AND gone = 0"), params![id.to_string()]).await?;
    row.map(server).transpose()
}

/// Returns a tenant's server that is not archived.
pub(crate) async fn of_tenant(tx: &mut Tx, tenant: &str, id: Id) -> Result<Option<Server>, Error> {
    let row = match id {
        Id::Number(number) => {
            let sql = select!("WHERE number = $2 AND tenant = $1 AND gone = 0");
            tx.row(sql, params![tenant, number]).await?
        }
        Id::Uuid(id) => {
            let sql = select!("WHERE id = $2 AND tenant = $1 AND gone = 0");
            tx.row(sql, params![tenant, id.to_string()]).await?
        }
    };
    row.map(server).transpose()
}

/// Returns a server that is not archived by its v1.0 id, without an access check.
pub(crate) async fn by_number(tx: &mut Tx, number: i64) -> Result<Option<Server>, Error> {
    let row = tx.row(select!("WHERE number = $1 AND gone = 0"), params![number]).await?;
    row.map(server).transpose()
}

/// Conditions that select a page of a tenant's servers. Only the index is read up to the page's first row.
macro_rules! page {
    (all) => {
        "WHERE tenant = $1 AND deleted = 0 AND number >=
             (SELECT number FROM servers WHERE tenant = $1 AND deleted = 0 ORDER BY number LIMIT 1 OFFSET $3)
         ORDER BY number LIMIT $2"
    };
    (since) => {
        "WHERE tenant = $1 AND updated >= $4 ORDER BY number LIMIT $2 OFFSET $3"
    };
    (not deleted since) => {
        "WHERE tenant = $1 AND updated >= $4 AND deleted = 0 ORDER BY number LIMIT $2 OFFSET $3"
    };
}

pub(crate) async fn page(tx: &mut Tx, tenant: &str, page: Page) -> Result<Vec<Server>, Error> {
    servers(match page.since {
        None => tx.rows(select!(page!(all)), params![tenant, page.limit, page.offset]).await?,
        Some(since) => {
            tx.rows(select!(page!(since)), params![tenant, page.limit, page.offset, since.0]).await?
        }
    })
}

/// Returns the numbers and names of a page of a tenant's servers that are not deleted.
pub(crate) async fn names(tx: &mut Tx, tenant: &str, page: Page) -> Result<Vec<(i64, String)>, Error> {
    let rows = match page.since {
        None => {
            let sql = concat!("SELECT number, name FROM servers ", page!(all));
            tx.rows(sql, params![tenant, page.limit, page.offset]).await?
        }
        Some(since) => {
            let sql = concat!("SELECT number, name FROM servers ", page!(not deleted since));
            tx.rows(sql, params![tenant, page.limit, page.offset, since.0]).await?
        }
    };
    rows.into_iter().map(|mut row| Ok((row.take(0)?, row.take(1)?))).collect()
}

pub(crate) async fn latest_change(tx: &mut Tx, tenant: &str) -> Result<Option<Time>, Error> {
    let row = tx.row("SELECT MAX(updated) FROM servers WHERE tenant = $1", params![tenant]).await?;
    Ok(row.map(|row| row.get::<Option<i64>>(0)).transpose()?.flatten().map(Time))
}

pub(crate) async fn in_group(tx: &mut Tx, group: i64) -> Result<Vec<Server>, Error> {
    let sql = select!("WHERE ip_group = $1 AND deleted = 0 ORDER BY number");
    servers(tx.rows(sql, params![group]).await?)
}

/// Returns up to `limit` servers on a host that are not archived, with ids greater than `after`, in order.
pub(crate) async fn on_host(tx: &mut Tx, host: &str, after: &str, limit: i64) -> Result<Vec<Server>, Error> {
    let sql = select!("WHERE host = $1 AND gone = 0 AND id > $2 ORDER BY id LIMIT $3");
    servers(tx.rows(sql, params![host, after, limit]).await?)
}

/// Returns up to `limit` servers that are not archived, with ids greater than `after`, in order.
pub(crate) async fn all(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<Server>, Error> {
    let sql = select!("WHERE gone = 0 AND id > $1 ORDER BY id LIMIT $2");
    servers(tx.rows(sql, params![after, limit]).await?)
}

/// Marks all servers on a host as changed, because the host became unreachable or reachable. Returns their number.
pub(crate) async fn touch_servers_on(tx: &mut Tx, host: &str, now: Time) -> Result<u64, Error> {
    let sql = "UPDATE servers SET updated = $2 WHERE host = $1 AND gone = 0 AND deleted = 0";
    tx.execute(sql, params![host, now.0]).await
}

/// Returns those of `ids` whose servers are not archived.
pub(crate) async fn existing(tx: &mut Tx, ids: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
    let mut found = HashSet::new();
    for id in ids {
        let sql = "SELECT 1 FROM servers WHERE id = $1 AND gone = 0";
        if tx.row(sql, params![id.to_string()]).await?.is_some() {
            found.insert(*id);
        }
    }
    Ok(found)
}

/// Returns whether a server existed and is archived.
pub(crate) async fn is_archived(tx: &mut Tx, id: Uuid) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM servers WHERE id = $1 AND gone > 0";
    Ok(tx.row(sql, params![id.to_string()]).await?.is_some())
}

/// Archives a server whose deletion is complete: frees its reservations and deletes everything but the row, which
/// stays as a tombstone for `changes-since`.
pub(crate) async fn archive(tx: &mut Tx, server: &Server, now: Time) -> Result<(), Error> {
    let sql = "UPDATE servers SET gone = $2, vm = 'deleted', task = NULL WHERE id = $1 AND gone = 0";
    if tx.execute(sql, params![server.id.to_string(), now.0]).await? == 0 {
        return Ok(());
    }
    reserve(tx, server.id, &server.host, Size::ZERO).await?;
    super::migration::end(tx, server).await?;
    let sql = "UPDATE placements SET servers = servers - 1 WHERE tenant = $1 AND host = $2";
    tx.execute(sql, params![server.tenant, server.host]).await?;
    tx.execute("DELETE FROM secrets WHERE server = $1", params![server.id.to_string()]).await?;
    super::usage::delete_reading(tx, server.id).await?;
    tx.execute("DELETE FROM schedules WHERE server = $1", params![server.id.to_string()]).await.map(|_| ())
}

/// Moves a server to another host, whose capacity was reserved by `choose_other_host`, and frees the reservation on
/// the old host.
pub(crate) async fn move_to(tx: &mut Tx, server: &Server, host: &str, size: Size) -> Result<(), Error> {
    let sql = "UPDATE hosts SET used_memory_mib = used_memory_mib - s.held_memory_mib,
                                used_disk_gib = used_disk_gib - s.held_disk_gib
               FROM servers s WHERE s.id = $1 AND hosts.name = $2";
    tx.execute(sql, params![server.id.to_string(), server.host]).await?;
    let sql = "UPDATE placements SET servers = servers - 1 WHERE tenant = $1 AND host = $2";
    tx.execute(sql, params![server.tenant, server.host]).await?;
    let sql = "UPDATE servers SET host = $2, held_memory_mib = $3, held_disk_gib = $4 WHERE id = $1";
    tx.execute(sql, params![server.id.to_string(), host, size.memory_mib, size.disk_gib]).await.map(|_| ())
}

/// Replaces a server's reservation on its host.
pub(crate) async fn reserve(tx: &mut Tx, id: Uuid, host: &str, size: Size) -> Result<(), Error> {
    let sql = "SELECT held_memory_mib, held_disk_gib FROM servers WHERE id = $1";
    let row = tx.row(sql, params![id.to_string()]).await?.ok_or_else(|| bad("server"))?;
    let (memory, disk): (i64, i64) = (row.get(0)?, row.get(1)?);
    let sql = "UPDATE servers SET held_memory_mib = $2, held_disk_gib = $3 WHERE id = $1";
    tx.execute(sql, params![id.to_string(), size.memory_mib, size.disk_gib]).await?;
    let sql = "UPDATE hosts SET used_memory_mib = used_memory_mib + $2, used_disk_gib = used_disk_gib + $3
               WHERE name = $1";
    tx.execute(sql, params![host, size.memory_mib - memory, size.disk_gib - disk]).await.map(|_| ())
}

/// Returns a server's reserved memory in MiB; during a resize to another host the larger of both reservations.
pub(crate) async fn reserved_memory(tx: &mut Tx, id: Uuid) -> Result<i64, Error> {
    let sql =
        "SELECT CASE WHEN other_memory_mib > held_memory_mib THEN other_memory_mib ELSE held_memory_mib END
               FROM servers WHERE id = $1";
    tx.row(sql, params![id.to_string()]).await?.ok_or_else(|| bad("server"))?.take(0)
}

pub(crate) async fn set_secret(tx: &mut Tx, server: Uuid, name: &str, sealed: &[u8]) -> Result<(), Error> {
    let sql = "INSERT INTO secrets (server, name, sealed) VALUES ($1, $2, $3)
               ON CONFLICT (server, name) DO UPDATE SET sealed = $3";
    tx.execute(sql, params![server.to_string(), name, sealed]).await.map(|_| ())
}

pub(crate) async fn secret(tx: &mut Tx, server: Uuid, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let sql = "SELECT sealed FROM secrets WHERE server = $1 AND name = $2";
    let row = tx.row(sql, params![server.to_string(), name]).await?;
    row.map(|mut row| row.take(0)).transpose()
}

pub(crate) async fn delete_secret(tx: &mut Tx, server: Uuid, name: &str) -> Result<(), Error> {
    let sql = "DELETE FROM secrets WHERE server = $1 AND name = $2";
    tx.execute(sql, params![server.to_string(), name]).await.map(|_| ())
}

/// Returns the memory of all of a tenant's servers together, in MiB.
pub(crate) async fn used_ram(tx: &mut Tx, tenant: &str) -> Result<i64, Error> {
    let row = tx.row("SELECT ram_mib FROM tenants WHERE tenant = $1", params![tenant]).await?;
    Ok(row.map(|row| row.get(0)).transpose()?.unwrap_or(0))
}

pub(crate) async fn add_ram(tx: &mut Tx, tenant: &str, mib: i64) -> Result<(), Error> {
    let sql = "INSERT INTO tenants (tenant, ram_mib) VALUES ($1, $2)
               ON CONFLICT (tenant) DO UPDATE SET ram_mib = tenants.ram_mib + $2";
    tx.execute(sql, params![tenant, mib]).await.map(|_| ())
}
