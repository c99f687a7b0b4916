//! Queries for audits: rows together with what they must agree with.

use std::collections::BTreeMap;

use blobs::BlobId;
use database::{Database, Error, Tx, params};

/// A blob's stored reference count and its actual references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct References {
    pub(crate) blob: BlobId,
    /// The count in the blob's row.
    pub(crate) counted: i64,
    /// Objects, versions and pins that refer to it.
    pub(crate) found: i64,
}

/// Returns blobs whose reference count is wrong. Reads all rows that refer to blobs, so it is for audits only.
pub(crate) async fn references(tx: &mut Tx) -> Result<Vec<References>, Error> {
    let sql = "SELECT b.id, b.refs, COALESCE(n.found, 0) FROM blobs b LEFT JOIN (
                   SELECT blob, COUNT(*) AS found FROM (
                       SELECT blob FROM objects WHERE blob IS NOT NULL
                       UNION ALL SELECT blob FROM versions WHERE blob IS NOT NULL
                       UNION ALL SELECT blob FROM pins WHERE blob IS NOT NULL
                   ) named GROUP BY blob
               ) n ON n.blob = b.id
               WHERE b.refs <> COALESCE(n.found, 0)";
    let read = |row: &database::Row| {
        let blob = BlobId::from_slice(&row.get::<Vec<u8>>(0)?).unwrap_or_default();
        Ok(References { blob, counted: row.get(1)?, found: row.get(2)? })
    };
    tx.rows(sql, &[]).await?.iter().map(read).collect()
}

/// Returns blobs that objects, versions or pins refer to and that have no row.
pub(crate) async fn without_rows(db: &Database) -> Result<Vec<BlobId>, Error> {
    db.scan((), |(), tx| {
        Box::pin(async move {
            let sql = "SELECT named.blob FROM (
                           SELECT blob FROM objects WHERE blob IS NOT NULL
                           UNION SELECT blob FROM versions WHERE blob IS NOT NULL
                           UNION SELECT blob FROM pins WHERE blob IS NOT NULL
                       ) named LEFT JOIN blobs b ON b.id = named.blob WHERE b.id IS NULL";
            let read =
                |row: &database::Row| Ok(BlobId::from_slice(&row.get::<Vec<u8>>(0)?).unwrap_or_default());
            tx.rows(sql, &[]).await?.iter().map(read).collect()
        })
    })
    .await
}

/// Returns blobs queued for removal although a row refers to them.
pub(crate) async fn queued_although_referenced(db: &Database) -> Result<Vec<BlobId>, Error> {
    let sql = "SELECT g.blob FROM garbage g JOIN blobs b ON b.id = g.blob";
    let read = |row: &database::Row| Ok(BlobId::from_slice(&row.get::<Vec<u8>>(0)?).unwrap_or_default());
    db.rows(sql, &[]).await?.iter().map(read).collect()
}

/// Removes a blob from the removal queue if a row still refers to it.
pub(crate) async fn remove_from_queue(db: &Database, blob: BlobId) -> Result<(), Error> {
    let sql = "DELETE FROM garbage WHERE blob = $1 AND EXISTS (SELECT 1 FROM blobs WHERE id = $1)";
    db.execute(sql, params![blob.0]).await.map(|_| ())
}

/// Counts objects and versions without a container, and containers without an account.
pub(crate) async fn strays(db: &Database) -> Result<u64, Error> {
    db.scan((), |(), tx| {
        Box::pin(async move {
            let mut strays = 0;
            for sql in [
                "SELECT COUNT(*) FROM objects o WHERE NOT EXISTS (SELECT 1 FROM containers c WHERE c.id = o.container)",
                "SELECT COUNT(*) FROM versions v WHERE NOT EXISTS (SELECT 1 FROM containers c WHERE c.id = v.container)",
                "SELECT COUNT(*) FROM containers c WHERE NOT EXISTS (SELECT 1 FROM accounts a WHERE a.id = c.account)",
            ] {
                strays += tx.row(sql, &[]).await?.map_or(Ok(0), |row| row.get::<u64>(0))?;
            }
            Ok(strays)
        })
    })
    .await
}

/// A container's keys and policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContainerKey {
    pub(crate) id: i64,
    pub(crate) account: i64,
    pub(crate) policy: i64,
}

/// Returns up to `limit` containers after the key `after`.
pub(crate) async fn containers(db: &Database, after: i64, limit: usize) -> Result<Vec<ContainerKey>, Error> {
    let sql = "SELECT id, account, policy FROM containers WHERE id > $1 ORDER BY id LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let read =
        |row: &database::Row| Ok(ContainerKey { id: row.get(0)?, account: row.get(1)?, policy: row.get(2)? });
    db.rows(sql, params![after, limit]).await?.iter().map(read).collect()
}

/// Objects and bytes: by the counters and by the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) counted: (i64, i64),
    pub(crate) found: (i64, i64),
}

/// Returns a container's counters and the sums over its rows, in one snapshot.
pub(crate) async fn container_sums(tx: &mut Tx, container: i64) -> Result<Sums, Error> {
    let sql = "SELECT CAST(COALESCE(SUM(objects), 0) AS BIGINT), CAST(COALESCE(SUM(bytes), 0) AS BIGINT)
               FROM container_counts WHERE container = $1";
    let counted = pair(tx, sql, container).await?;
    // A version's bytes are counted with the version, so the name that refers to it adds none.
    let sql =
        "SELECT COUNT(*), CAST(COALESCE(SUM(CASE WHEN version IS NULL THEN size ELSE 0 END), 0) AS BIGINT)
               FROM objects WHERE container = $1";
    let now = pair(tx, sql, container).await?;
    let sql =
        "SELECT CAST(0 AS BIGINT), CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM versions WHERE container = $1";
    let old = pair(tx, sql, container).await?;
    Ok(Sums { counted, found: (now.0 + old.0, now.1 + old.1) })
}

/// Sets a container's counters to the sums over its rows.
pub(crate) async fn set_container_sums(tx: &mut Tx, container: i64, found: (i64, i64)) -> Result<(), Error> {
    let sql = "UPDATE container_counts SET objects = 0, bytes = 0 WHERE container = $1";
    tx.execute(sql, params![container]).await?;
    let sql = "INSERT INTO container_counts (container, slot, objects, bytes) VALUES ($1, 0, $2, $3)
               ON CONFLICT (container, slot) DO UPDATE SET objects = excluded.objects, bytes = excluded.bytes";
    tx.execute(sql, params![container, found.0, found.1]).await.map(|_| ())
}

/// An account's containers, objects and bytes in one policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicySums {
    pub(crate) policy: i64,
    pub(crate) counted: (i64, i64, i64),
    pub(crate) found: (i64, i64, i64),
}

/// Returns up to `limit` accounts after the key `after`.
pub(crate) async fn accounts(db: &Database, after: i64, limit: usize) -> Result<Vec<i64>, Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows =
        db.rows("SELECT id FROM accounts WHERE id > $1 ORDER BY id LIMIT $2", params![after, limit]).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns an account's counters per policy and the sums over its containers' counters, in one snapshot.
pub(crate) async fn account_sums(tx: &mut Tx, account: i64) -> Result<Vec<PolicySums>, Error> {
    let mut sums: BTreeMap<i64, PolicySums> = BTreeMap::new();
    let sql = "SELECT policy, CAST(SUM(containers) AS BIGINT), CAST(SUM(objects) AS BIGINT), CAST(SUM(bytes) AS BIGINT)
               FROM account_counts WHERE account = $1 GROUP BY policy";
    for row in tx.rows(sql, params![account]).await? {
        let policy = row.get(0)?;
        sums.entry(policy).or_default().counted = (row.get(1)?, row.get(2)?, row.get(3)?);
    }
    let sql = "SELECT c.policy, COUNT(*), CAST(COALESCE(SUM(n.objects), 0) AS BIGINT),
                 CAST(COALESCE(SUM(n.bytes), 0) AS BIGINT)
               FROM containers c LEFT JOIN (
                   SELECT container, SUM(objects) AS objects, SUM(bytes) AS bytes FROM container_counts
                   GROUP BY container
               ) n ON n.container = c.id WHERE c.account = $1 GROUP BY c.policy";
    for row in tx.rows(sql, params![account]).await? {
        let policy = row.get(0)?;
        sums.entry(policy).or_default().found = (row.get(1)?, row.get(2)?, row.get(3)?);
    }
    Ok(sums.into_iter().map(|(policy, sums)| PolicySums { policy, ..sums }).collect())
}

/// Sets an account's counters of one policy.
pub(crate) async fn set_account_sums(tx: &mut Tx, account: i64, sums: &PolicySums) -> Result<(), Error> {
    let sql =
        "UPDATE account_counts SET containers = 0, objects = 0, bytes = 0 WHERE account = $1 AND policy = $2";
    tx.execute(sql, params![account, sums.policy]).await?;
    let sql = "INSERT INTO account_counts (account, policy, slot, containers, objects, bytes)
               VALUES ($1, $2, 0, $3, $4, $5)
               ON CONFLICT (account, policy, slot) DO UPDATE SET containers = excluded.containers,
                 objects = excluded.objects, bytes = excluded.bytes";
    let (containers, objects, bytes) = sums.found;
    tx.execute(sql, params![account, sums.policy, containers, objects, bytes]).await.map(|_| ())
}

/// Sets a blob's reference count; a blob without references is removed as if released.
pub(crate) async fn set_references(tx: &mut Tx, blob: BlobId, found: i64) -> Result<(), Error> {
    // For no references, set the count to 1 first, so that releasing the blob once removes it.
    tx.execute("UPDATE blobs SET refs = $2 WHERE id = $1", params![blob.0, found.max(1)]).await?;
    if found == 0 {
        super::blobs::decrement_references(tx, blob).await?;
    }
    Ok(())
}

async fn pair(tx: &mut Tx, sql: &'static str, key: i64) -> Result<(i64, i64), Error> {
    let row = tx.row(sql, params![key]).await?;
    row.map_or(Ok((0, 0)), |row| Ok((row.get(0)?, row.get(1)?)))
}
