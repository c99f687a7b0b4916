//! Usage of servers by day, and the last reading of each server.

use database::{Error, Tx, params};
use serde::Serialize;
use uuid::Uuid;
use work::Time;

use super::bad;
use crate::model::Server;

/// Usage of one server on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerUsage {
    /// Days since 1970-01-01 UTC.
    pub day: i64,
    /// The tenant that owned it.
    pub tenant: String,
    /// Its id in v1.0.
    pub number: i64,
    /// Its id.
    pub server: Uuid,
    /// Seconds that it existed.
    pub seconds: i64,
    /// Those seconds multiplied by its memory in MiB.
    pub mib_seconds: i64,
    /// Bytes that it received from the public network.
    pub bytes_in: i64,
    /// Bytes that it sent to the public network.
    pub bytes_out: i64,
}

/// The last reading of a server: its time and the traffic counters of the public interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) until: Time,
    pub(crate) bytes_in: i64,
    pub(crate) bytes_out: i64,
}

/// The position of a row in the order of day, tenant and number.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub(crate) day: i64,
    pub(crate) tenant: String,
    pub(crate) number: i64,
}

pub(crate) async fn reading(tx: &mut Tx, server: Uuid) -> Result<Option<Reading>, Error> {
    let sql = "SELECT until, bytes_in, bytes_out FROM readings WHERE server = $1";
    let row = tx.row(sql, params![server.to_string()]).await?;
    let read = row
        .map(|row| Ok(Reading { until: Time(row.get(0)?), bytes_in: row.get(1)?, bytes_out: row.get(2)? }));
    read.transpose()
}

pub(crate) async fn set_reading(tx: &mut Tx, server: Uuid, reading: Reading) -> Result<(), Error> {
    let sql = "INSERT INTO readings (server, until, bytes_in, bytes_out) VALUES ($1, $2, $3, $4)
               ON CONFLICT (server) DO UPDATE SET until = $2, bytes_in = $3, bytes_out = $4";
    let Reading { until, bytes_in, bytes_out } = reading;
    tx.execute(sql, params![server.to_string(), until.0, bytes_in, bytes_out]).await.map(|_| ())
}

pub(crate) async fn delete_reading(tx: &mut Tx, server: Uuid) -> Result<(), Error> {
    tx.execute("DELETE FROM readings WHERE server = $1", params![server.to_string()]).await.map(|_| ())
}

pub(crate) async fn add(
    tx: &mut Tx,
    server: &Server,
    day: i64,
    seconds: i64,
    (bytes_in, bytes_out): (i64, i64),
) -> Result<(), Error> {
    let sql =
        "INSERT INTO server_usage (day, tenant, number, server, seconds, mib_seconds, bytes_in, bytes_out)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
               ON CONFLICT (day, tenant, number) DO UPDATE SET
                 seconds = server_usage.seconds + $5, mib_seconds = server_usage.mib_seconds + $6,
                 bytes_in = server_usage.bytes_in + $7, bytes_out = server_usage.bytes_out + $8";
    let mib_seconds = seconds.saturating_mul(i64::from(server.flavor.memory_mib));
    let (tenant, id) = (server.tenant.as_str(), server.id.to_string());
    tx.execute(sql, params![day, tenant, server.number, id, seconds, mib_seconds, bytes_in, bytes_out])
        .await
        .map(|_| ())
}

/// Returns up to `limit` rows after the position, in order.
pub(crate) async fn page(
    tx: &mut Tx,
    tenant: Option<&str>,
    after: &Position,
    limit: i64,
) -> Result<Vec<ServerUsage>, Error> {
    let sql =
        "SELECT day, tenant, number, server, seconds, mib_seconds, bytes_in, bytes_out FROM server_usage
               WHERE (day > $1 OR (day = $1 AND (tenant > $2 OR (tenant = $2 AND number > $3))))
                 AND ($4 = '' OR tenant = $4) ORDER BY day, tenant, number LIMIT $5";
    let rows =
        tx.rows(sql, params![after.day, after.tenant, after.number, tenant.unwrap_or(""), limit]).await?;
    rows.into_iter()
        .map(|mut row| {
            Ok(ServerUsage {
                day: row.take(0)?,
                tenant: row.take(1)?,
                number: row.take(2)?,
                server: row.take::<String>(3)?.parse().map_err(|_| bad("id"))?,
                seconds: row.take(4)?,
                mib_seconds: row.take(5)?,
                bytes_in: row.take(6)?,
                bytes_out: row.take(7)?,
            })
        })
        .collect()
}
