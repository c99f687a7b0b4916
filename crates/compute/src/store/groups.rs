//! Shared IP groups.

use database::{Error, Row, Tx, params};
use work::Time;

use super::bad;
use crate::model::{Group, Page};

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, number, name, updated, deleted FROM ip_groups ", $rest)
    };
}

async fn with_members(tx: &mut Tx, mut row: Row) -> Result<Group, Error> {
    let deleted: i64 = row.take(4)?;
    let number: i64 = row.take(1)?;
    let sql = "SELECT number FROM servers WHERE ip_group = $1 AND deleted = 0 ORDER BY number";
    let members = tx.rows(sql, params![number]).await?;
    Ok(Group {
        id: row.take::<String>(0)?.parse().map_err(|_| bad("id"))?,
        number,
        name: row.take(2)?,
        servers: members.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?,
        updated: Time(row.take(3)?),
        deleted: (deleted > 0).then_some(Time(deleted)),
    })
}

pub(crate) async fn insert(tx: &mut Tx, tenant: &str, group: &Group) -> Result<(), Error> {
    let sql =
        "INSERT INTO ip_groups (id, number, tenant, name, updated, deleted) VALUES ($1, $2, $3, $4, $5, 0)";
    let id = group.id.to_string();
    tx.execute(sql, params![id, group.number, tenant, group.name, group.updated.0]).await.map(|_| ())
}

pub(crate) async fn get(tx: &mut Tx, tenant: &str, number: i64) -> Result<Option<Group>, Error> {
    let sql = select!("WHERE number = $2 AND tenant = $1 AND deleted = 0");
    match tx.row(sql, params![tenant, number]).await? {
        Some(row) => with_members(tx, row).await.map(Some),
        None => Ok(None),
    }
}

pub(crate) async fn page(tx: &mut Tx, tenant: &str, page: Page) -> Result<Vec<Group>, Error> {
    let rows = match page.since {
        None => {
            let sql = select!("WHERE tenant = $1 AND deleted = 0 ORDER BY number LIMIT $2 OFFSET $3");
            tx.rows(sql, params![tenant, page.limit, page.offset]).await?
        }
        Some(since) => {
            let sql = select!(
                "WHERE tenant = $1 AND deleted = 0 AND updated >= $4 ORDER BY number LIMIT $2 OFFSET $3"
            );
            tx.rows(sql, params![tenant, page.limit, page.offset, since.0]).await?
        }
    };
    let mut groups = Vec::with_capacity(rows.len());
    for row in rows {
        groups.push(with_members(tx, row).await?);
    }
    Ok(groups)
}

pub(crate) async fn count(tx: &mut Tx, tenant: &str) -> Result<i64, Error> {
    let sql = "SELECT COUNT(*) FROM ip_groups WHERE tenant = $1 AND deleted = 0";
    tx.row(sql, params![tenant]).await?.ok_or_else(|| bad("count"))?.take(0)
}

pub(crate) async fn latest_change(tx: &mut Tx, tenant: &str) -> Result<Option<Time>, Error> {
    let row = tx.row("SELECT MAX(updated) FROM ip_groups WHERE tenant = $1", params![tenant]).await?;
    Ok(row.map(|row| row.get::<Option<i64>>(0)).transpose()?.flatten().map(Time))
}

/// Records that a group's membership changed.
pub(crate) async fn touch(tx: &mut Tx, number: i64, now: Time) -> Result<(), Error> {
    let sql = "UPDATE ip_groups SET updated = $2 WHERE number = $1";
    tx.execute(sql, params![number, now.0]).await.map(|_| ())
}

pub(crate) async fn delete(tx: &mut Tx, number: i64, now: Time) -> Result<(), Error> {
    let sql = "UPDATE ip_groups SET deleted = $2, updated = $2 WHERE number = $1";
    tx.execute(sql, params![number, now.0]).await?;
    let sql = "UPDATE servers SET ip_group = NULL WHERE ip_group = $1 AND deleted = 0";
    tx.execute(sql, params![number]).await.map(|_| ())
}
