//! Windows of rate limits, and the operator's limits for single tenants.

use std::collections::HashMap;

use database::{Error, Tx, params};
use work::Time;

/// Returns the operator's limits for a tenant, by name.
pub(crate) async fn overrides(tx: &mut Tx, tenant: &str) -> Result<HashMap<String, i64>, Error> {
    let rows = tx.rows("SELECT name, value FROM tenant_limits WHERE tenant = $1", params![tenant]).await?;
    rows.into_iter().map(|mut row| Ok((row.take(0)?, row.take(1)?))).collect()
}

pub(crate) async fn set(tx: &mut Tx, tenant: &str, name: &str, value: i64) -> Result<(), Error> {
    let sql = "INSERT INTO tenant_limits (tenant, name, value) VALUES ($1, $2, $3)
               ON CONFLICT (tenant, name) DO UPDATE SET value = $3";
    tx.execute(sql, params![tenant, name, value]).await.map(|_| ())
}

pub(crate) async fn unset(tx: &mut Tx, tenant: &str, name: &str) -> Result<(), Error> {
    let sql = "DELETE FROM tenant_limits WHERE tenant = $1 AND name = $2";
    tx.execute(sql, params![tenant, name]).await.map(|_| ())
}

/// Returns a tenant's current windows by rule: the start of each and the number of its requests.
pub(crate) async fn windows(tx: &mut Tx, tenant: &str) -> Result<HashMap<String, (Time, i64)>, Error> {
    let rows = tx.rows("SELECT rule, started, used FROM windows WHERE tenant = $1", params![tenant]).await?;
    rows.into_iter().map(|mut row| Ok((row.take(0)?, (Time(row.take(1)?), row.take(2)?)))).collect()
}

pub(crate) async fn set_window(
    tx: &mut Tx,
    tenant: &str,
    rule: &str,
    started: Time,
    used: i64,
) -> Result<(), Error> {
    let sql = "INSERT INTO windows (tenant, rule, started, used) VALUES ($1, $2, $3, $4)
               ON CONFLICT (tenant, rule) DO UPDATE SET started = $3, used = $4";
    tx.execute(sql, params![tenant, rule, started.0, used]).await.map(|_| ())
}
