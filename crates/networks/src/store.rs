//! The tables of ports and of the addresses that they hold.

use std::net::Ipv4Addr;

use database::{Error, Migration, Row, Tx, params};
use hypervisor::Mac;
use uuid::Uuid;
use work::Time;

use crate::model::{Label, Port, PortAddress};

pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE ports (
              id TEXT NOT NULL PRIMARY KEY,
              server TEXT NOT NULL,
              label TEXT NOT NULL,
              position BIGINT NOT NULL,
              mac TEXT NOT NULL UNIQUE,
              created BIGINT NOT NULL
          );
          CREATE INDEX ports_server ON ports (server, position);
          CREATE TABLE holdings (
              label TEXT NOT NULL,
              address BIGINT NOT NULL,
              port TEXT NOT NULL,
              position BIGINT NOT NULL,
              shared BIGINT NOT NULL,
              PRIMARY KEY (label, address, port)
          );
          CREATE INDEX holdings_port ON holdings (port, position);
          CREATE TABLE freed (
              label TEXT NOT NULL,
              address BIGINT NOT NULL,
              since BIGINT NOT NULL,
              PRIMARY KEY (label, address)
          );
          CREATE INDEX freed_oldest ON freed (label, since, address);
          CREATE TABLE cursors (name TEXT NOT NULL PRIMARY KEY, next BIGINT NOT NULL);",
}];

fn bad(what: &str) -> Error {
    Error::Statement { statement: "ports".into(), reason: format!("unreadable {what}") }
}

fn label(text: &str) -> Result<Label, Error> {
    Label::ALL.into_iter().find(|label| label.as_str() == text).ok_or_else(|| bad("label"))
}

fn address(number: i64) -> Result<Ipv4Addr, Error> {
    u32::try_from(number).map(Ipv4Addr::from).map_err(|_| bad("address"))
}

fn number(address: Ipv4Addr) -> i64 {
    i64::from(u32::from(address))
}

pub(crate) async fn ports_of(tx: &mut Tx, server: Uuid) -> Result<Vec<Port>, Error> {
    let sql =
        "SELECT p.id, p.label, p.mac, h.address, h.shared FROM ports p LEFT JOIN holdings h ON h.port = p.id
               WHERE p.server = $1 ORDER BY p.position, h.position";
    let mut ports: Vec<Port> = Vec::new();
    for mut row in tx.rows(sql, params![server.to_string()]).await? {
        let id = row.take::<String>(0)?.parse().map_err(|_| bad("id"))?;
        if ports.last().is_none_or(|port| port.id != id) {
            let mac: Mac = row.take::<String>(2)?.parse().map_err(|_| bad("mac"))?;
            ports.push(Port { id, label: label(&row.take::<String>(1)?)?, mac, addresses: Vec::new() });
        }
        if let (Some(port), Some(found)) = (ports.last_mut(), row.take::<Option<i64>>(3)?) {
            port.addresses.push(PortAddress { address: address(found)?, shared: row.take(4)? });
        }
    }
    Ok(ports)
}

/// Returns the next number of a sequence that starts at `first`.
pub(crate) async fn next(tx: &mut Tx, name: &str, first: i64) -> Result<i64, Error> {
    let sql = "INSERT INTO cursors (name, next) VALUES ($1, $2 + 1)
               ON CONFLICT (name) DO UPDATE SET next = cursors.next + 1 RETURNING next - 1";
    tx.row(sql, params![name, first]).await?.ok_or_else(|| bad("cursor"))?.take(0)
}

pub(crate) async fn cursor(tx: &mut Tx, name: &str) -> Result<Option<i64>, Error> {
    let row = tx.row("SELECT next FROM cursors WHERE name = $1", params![name]).await?;
    row.map(|row| row.get(0)).transpose()
}

pub(crate) async fn set_cursor(tx: &mut Tx, name: &str, next: i64) -> Result<(), Error> {
    let sql = "INSERT INTO cursors (name, next) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET next = $2";
    tx.execute(sql, params![name, next]).await.map(|_| ())
}

pub(crate) async fn is_held(tx: &mut Tx, label: Label, address: u32) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM holdings WHERE label = $1 AND address = $2 LIMIT 1";
    Ok(tx.row(sql, params![label.as_str(), address]).await?.is_some())
}

/// Removes and returns the address in the range that has been free for longest.
pub(crate) async fn take_freed(
    tx: &mut Tx,
    label: Label,
    (first, last): (u32, u32),
) -> Result<Option<u32>, Error> {
    let sql = "SELECT address FROM freed WHERE label = $1 AND address >= $2 AND address <= $3
               ORDER BY since, address LIMIT 1";
    let Some(row) = tx.row(sql, params![label.as_str(), first, last]).await? else { return Ok(None) };
    let found: u32 = row.get(0)?;
    remove_freed(tx, label, found).await?;
    Ok(Some(found))
}

pub(crate) async fn remove_freed(tx: &mut Tx, label: Label, address: u32) -> Result<(), Error> {
    let sql = "DELETE FROM freed WHERE label = $1 AND address = $2";
    tx.execute(sql, params![label.as_str(), address]).await.map(|_| ())
}

pub(crate) async fn insert_port(
    tx: &mut Tx,
    server: Uuid,
    port: &Port,
    position: i64,
    now: Time,
) -> Result<(), Error> {
    let sql = "INSERT INTO ports (id, server, label, position, mac, created) VALUES ($1, $2, $3, $4, $5, $6)";
    let (id, server, mac) = (port.id.to_string(), server.to_string(), port.mac.to_string());
    tx.execute(sql, params![id, server, port.label.as_str(), position, mac, now.0]).await?;
    for held in &port.addresses {
        add_address(tx, port, *held).await?;
    }
    Ok(())
}

/// Appends an address to a port. Idempotent: succeeds if the port holds it already.
pub(crate) async fn add_address(tx: &mut Tx, port: &Port, held: PortAddress) -> Result<(), Error> {
    let sql = "INSERT INTO holdings (label, address, port, position, shared)
               VALUES ($1, $2, $3, (SELECT COALESCE(MAX(position), -1) + 1 FROM holdings WHERE port = $3), $4)
               ON CONFLICT (label, address, port) DO NOTHING";
    let (label, id) = (port.label.as_str(), port.id.to_string());
    tx.execute(sql, params![label, number(held.address), id, held.shared]).await.map(|_| ())
}

/// Removes an address from a port and frees it if no other port holds it.
pub(crate) async fn remove_address(
    tx: &mut Tx,
    port: &Port,
    address: Ipv4Addr,
    now: Time,
) -> Result<(), Error> {
    let sql = "DELETE FROM holdings WHERE label = $1 AND address = $2 AND port = $3";
    let (label, id) = (port.label.as_str(), port.id.to_string());
    tx.execute(sql, params![label, number(address), id]).await?;
    if !is_held(tx, port.label, u32::from(address)).await? {
        let sql = "INSERT INTO freed (label, address, since) VALUES ($1, $2, $3)
                   ON CONFLICT (label, address) DO UPDATE SET since = $3";
        tx.execute(sql, params![label, number(address), now.0]).await?;
    }
    Ok(())
}

pub(crate) async fn delete_port(tx: &mut Tx, port: Uuid) -> Result<(), Error> {
    tx.execute("DELETE FROM ports WHERE id = $1", params![port.to_string()]).await.map(|_| ())
}

/// Returns servers whose ports were created at `created` or earlier: up to `limit` ids greater than `after`, in order.
pub(crate) async fn servers(tx: &mut Tx, created: Time, after: &str, limit: i64) -> Result<Vec<Uuid>, Error> {
    let sql =
        "SELECT DISTINCT server FROM ports WHERE server > $1 AND created <= $2 ORDER BY server LIMIT $3";
    let rows = tx.rows(sql, params![after, created.0, limit]).await?;
    let id = |row: &Row| row.get::<String>(0)?.parse().map_err(|_| bad("server"));
    rows.iter().map(id).collect()
}
