//! Containers and their counters.

use database::{Cell, Error, Row, Tx, params};
use work::Time;

use super::accounts::unsigned;
use crate::model::entry::{Container, ContainerEntry, Counts, Stored};
use crate::model::metadata::Metadata;

fn container(account: i64, account_metadata: String, mut row: Row) -> Result<Container, Error> {
    let metadata = Metadata::from_column(&row.take::<String>(3)?);
    Ok(Container {
        id: row.take(0)?,
        account,
        created: Time(row.take(1)?),
        changed: Time(row.take(2)?),
        metadata,
        account_metadata: Stored(account_metadata),
        policy: row.take(4)?,
    })
}

pub(crate) async fn find(tx: &mut Tx, account: i64, name: &str) -> Result<Option<Container>, Error> {
    let sql = "SELECT id, created, changed, meta, policy FROM containers WHERE account = $1 AND name = $2";
    let row = tx.row(sql, params![account, name.as_bytes()]).await?;
    row.map(|row| container(account, String::new(), row)).transpose()
}

/// Returns a container with its account's metadata by name, in one statement. Every object request begins with this.
pub(crate) async fn find_by_path(
    db: &database::Database,
    account: &str,
    name: &str,
) -> Result<(Option<Container>, Stored), Error> {
    by_path(db.row(BY_PATH, params![account.as_bytes(), name.as_bytes()]).await?)
}

/// As [`find_by_path`], within a transaction.
pub(crate) async fn find_by_path_in(
    tx: &mut Tx,
    account: &str,
    name: &str,
) -> Result<(Option<Container>, Stored), Error> {
    by_path(tx.row(BY_PATH, params![account.as_bytes(), name.as_bytes()]).await?)
}

const BY_PATH: &str = "SELECT c.id, c.created, c.changed, c.meta, c.policy, a.id, a.meta FROM accounts a
                       LEFT JOIN containers c ON c.account = a.id AND c.name = $2 WHERE a.name = $1";

fn by_path(row: Option<Row>) -> Result<(Option<Container>, Stored), Error> {
    let Some(mut row) = row else { return Ok((None, Stored::default())) };
    let account_metadata: String = row.take(6)?;
    if row.get::<Option<i64>>(0)?.is_none() {
        return Ok((None, Stored(account_metadata)));
    }
    let found = container(row.get(5)?, account_metadata.clone(), row)?;
    Ok((Some(found), Stored(account_metadata)))
}

/// Returns a container by its key, for background work.
pub(crate) async fn find_by_id(tx: &mut Tx, id: i64) -> Result<Option<Container>, Error> {
    let sql = "SELECT id, created, changed, meta, policy, account FROM containers WHERE id = $1";
    let row = tx.row(sql, params![id]).await?;
    row.map(|row| container(row.get(5)?, String::new(), row)).transpose()
}

/// Returns `wanted`, or the next id after it that no container has.
pub(crate) async fn free_id(tx: &mut Tx, wanted: i64) -> Result<i64, Error> {
    let mut id = wanted;
    while tx.row("SELECT 1 FROM containers WHERE id = $1", params![id]).await?.is_some() {
        id += 1;
    }
    Ok(id)
}

pub(crate) async fn insert(tx: &mut Tx, name: &str, container: &Container) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO containers (account, name, id, created, changed, meta, policy)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        params![
            container.account,
            name.as_bytes(),
            container.id,
            container.created.0,
            container.changed.0,
            container.metadata.to_column(),
            container.policy
        ],
    )
    .await?;
    for slot in 0..tx.slots() {
        let sql = "INSERT INTO container_counts (container, slot, objects, bytes) VALUES ($1, $2, 0, 0)";
        tx.execute(sql, params![container.id, slot]).await?;
    }
    Ok(())
}

pub(crate) async fn update(tx: &mut Tx, name: &str, container: &Container) -> Result<(), Error> {
    let sql = "UPDATE containers SET changed = $3, meta = $4 WHERE account = $1 AND name = $2";
    let (meta, changed) = (container.metadata.to_column(), container.changed.0);
    tx.execute(sql, params![container.account, name.as_bytes(), changed, meta]).await.map(|_| ())
}

/// Deletes a container and its counters.
///
/// Every transaction that adds something to a container updates one of its counters, and this deletes all of them, so that
/// the two conflict even under plain snapshot isolation.
pub(crate) async fn delete(tx: &mut Tx, account: i64, name: &str, id: i64) -> Result<(), Error> {
    // Apply the batch's counter updates first, while their rows exist.
    tx.flush().await?;
    tx.execute("DELETE FROM container_counts WHERE container = $1", params![id]).await?;
    let sql = "DELETE FROM containers WHERE account = $1 AND name = $2";
    tx.execute(sql, params![account, name.as_bytes()]).await.map(|_| ())
}

pub(crate) async fn counts(tx: &mut Tx, id: i64) -> Result<Counts, Error> {
    let sql = "SELECT objects, bytes FROM container_counts WHERE container = $1";
    let mut sums = (0, 0);
    for row in tx.rows(sql, params![id]).await? {
        sums.0 += row.get::<i64>(0)?;
        sums.1 += row.get::<i64>(1)?;
    }
    Ok(Counts { containers: 0, objects: unsigned(sums.0), bytes: unsigned(sums.1) })
}

/// Adds to the counters at the end of the batch. If the container is deleted concurrently, the transaction is retried.
pub(crate) fn add(tx: &mut Tx, id: i64, objects: i64, bytes: i64) {
    let sql = "UPDATE container_counts SET objects = objects + $3, bytes = bytes + $4
               WHERE container = $1 AND slot = $2";
    let slot = tx.slot();
    tx.fold(sql, vec![Cell::Int(id), Cell::Int(slot)], &[objects, bytes]);
}

/// Returns up to `limit` containers in `[lower, upper)` with their counters.
pub(crate) async fn range(
    tx: &mut Tx,
    account: i64,
    lower: &[u8],
    upper: &[u8],
    limit: usize,
    reverse: bool,
) -> Result<Vec<(Vec<u8>, ContainerEntry)>, Error> {
    const FORWARD: &str = "SELECT c.name, c.id, c.changed, COALESCE(CAST(SUM(n.objects) AS BIGINT), 0),
                 COALESCE(CAST(SUM(n.bytes) AS BIGINT), 0), c.policy
               FROM containers c LEFT JOIN container_counts n ON n.container = c.id
               WHERE c.account = $1 AND c.name >= $2 AND c.name < $3
               GROUP BY c.account, c.name, c.id, c.changed, c.policy ORDER BY c.name LIMIT $4";
    const BACKWARD: &str = "SELECT c.name, c.id, c.changed, COALESCE(CAST(SUM(n.objects) AS BIGINT), 0),
                 COALESCE(CAST(SUM(n.bytes) AS BIGINT), 0), c.policy
               FROM containers c LEFT JOIN container_counts n ON n.container = c.id
               WHERE c.account = $1 AND c.name >= $2 AND c.name < $3
               GROUP BY c.account, c.name, c.id, c.changed, c.policy ORDER BY c.name DESC LIMIT $4";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = if reverse { BACKWARD } else { FORWARD };
    let rows = tx.rows(sql, params![account, lower, upper, limit]).await?;
    rows.into_iter()
        .map(|mut row| {
            let name: Vec<u8> = row.take(0)?;
            let counts =
                Counts { containers: 0, objects: unsigned(row.take(3)?), bytes: unsigned(row.take(4)?) };
            let text = String::from_utf8_lossy(&name).into_owned();
            Ok((
                name,
                ContainerEntry { name: text, counts, changed: Time(row.take(2)?), policy: row.take(5)? },
            ))
        })
        .collect()
}

/// Returns some containers of an account, for deleting the account.
pub(crate) async fn some(tx: &mut Tx, account: i64, limit: i64) -> Result<Vec<(String, i64, i64)>, Error> {
    let sql = "SELECT name, id, policy FROM containers WHERE account = $1 ORDER BY name LIMIT $2";
    let rows = tx.rows(sql, params![account, limit]).await?;
    rows.into_iter()
        .map(|mut row| {
            Ok((String::from_utf8_lossy(&row.take::<Vec<u8>>(0)?).into_owned(), row.take(1)?, row.take(2)?))
        })
        .collect()
}
