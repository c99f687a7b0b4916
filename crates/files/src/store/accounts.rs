//! Accounts and their counters.

use std::collections::BTreeMap;

use database::{Cell, Database, Error, Tx, params};
use work::Time;

use crate::model::entry::{Account, Counts, Stored};
use crate::model::metadata::Metadata;

pub(crate) async fn find(tx: &mut Tx, name: &str) -> Result<Option<Account>, Error> {
    let sql = "SELECT id, created, meta FROM accounts WHERE name = $1";
    let Some(mut row) = tx.row(sql, params![name.as_bytes()]).await? else { return Ok(None) };
    let metadata = Metadata::from_column(&row.take::<String>(2)?);
    Ok(Some(Account { id: row.take(0)?, created: Time(row.take(1)?), metadata }))
}

/// Returns an account's metadata, unparsed; empty if the account does not exist.
pub(crate) async fn metadata(db: &Database, name: &str) -> Result<Stored, Error> {
    let row = db.row("SELECT meta FROM accounts WHERE name = $1", params![name.as_bytes()]).await?;
    Ok(Stored(row.map(|row| row.get::<String>(0)).transpose()?.unwrap_or_default()))
}

/// Returns `wanted`, or the next id after it that no account has.
pub(crate) async fn free_id(tx: &mut Tx, wanted: i64) -> Result<i64, Error> {
    let mut id = wanted;
    while tx.row("SELECT 1 FROM accounts WHERE id = $1", params![id]).await?.is_some() {
        id += 1;
    }
    Ok(id)
}

pub(crate) async fn insert(tx: &mut Tx, name: &str, account: &Account) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO accounts (name, id, created, meta) VALUES ($1, $2, $3, $4)",
        params![name.as_bytes(), account.id, account.created.0, account.metadata.to_column()],
    )
    .await
    .map(|_| ())
}

/// Makes a transaction conflict with the deletion of the account by writing to the account's row.
pub(crate) async fn hold(tx: &mut Tx, id: i64, name: &str) -> Result<bool, Error> {
    let sql = "UPDATE accounts SET id = id WHERE name = $1 AND id = $2";
    Ok(tx.execute(sql, params![name.as_bytes(), id]).await? == 1)
}

pub(crate) async fn set_metadata(tx: &mut Tx, id: i64, name: &str, metadata: &Metadata) -> Result<(), Error> {
    let sql = "UPDATE accounts SET meta = $3 WHERE name = $1 AND id = $2";
    tx.execute(sql, params![name.as_bytes(), id, metadata.to_column()]).await.map(|_| ())
}

pub(crate) async fn delete(tx: &mut Tx, id: i64, name: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM account_counts WHERE account = $1", params![id]).await?;
    tx.execute("DELETE FROM accounts WHERE name = $1 AND id = $2", params![name.as_bytes(), id])
        .await
        .map(|_| ())
}

/// Returns an account's counters per storage policy.
pub(crate) async fn counts(tx: &mut Tx, id: i64) -> Result<BTreeMap<i64, Counts>, Error> {
    let sql = "SELECT policy, containers, objects, bytes FROM account_counts WHERE account = $1";
    let mut sums: BTreeMap<i64, (i64, i64, i64)> = BTreeMap::new();
    for row in tx.rows(sql, params![id]).await? {
        let sum = sums.entry(row.get::<i64>(0)?).or_default();
        sum.0 += row.get::<i64>(1)?;
        sum.1 += row.get::<i64>(2)?;
        sum.2 += row.get::<i64>(3)?;
    }
    let counts = |(containers, objects, bytes)| Counts {
        containers: unsigned(containers),
        objects: unsigned(objects),
        bytes: unsigned(bytes),
    };
    Ok(sums.into_iter().map(|(policy, sum)| (policy, counts(sum))).collect())
}

/// Adds to the counters at the end of the batch.
pub(crate) fn add(tx: &mut Tx, id: i64, policy: i64, containers: i64, objects: i64, bytes: i64) {
    let sql = "INSERT INTO account_counts (account, policy, slot, containers, objects, bytes)
               VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (account, policy, slot) DO UPDATE SET
                 containers = account_counts.containers + excluded.containers,
                 objects = account_counts.objects + excluded.objects,
                 bytes = account_counts.bytes + excluded.bytes";
    let slot = tx.slot();
    tx.fold(sql, vec![Cell::Int(id), Cell::Int(policy), Cell::Int(slot)], &[containers, objects, bytes]);
}

/// Converts a counter. One that is read while its slots are being updated may be negative; that is shown as 0.
pub(crate) fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
