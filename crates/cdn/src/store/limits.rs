//! Tenants' limits per day, and their use of them today.

use database::{Error, Tx, params};

/// The operator's own limit for a tenant.
pub(crate) async fn purges(tx: &mut Tx, tenant: &str) -> Result<Option<i64>, Error> {
    let row = tx.row("SELECT purges FROM limits WHERE tenant = $1", params![tenant]).await?;
    Ok(row.map(|row| row.get(0)).transpose()?.flatten())
}

pub(crate) async fn set_purges(tx: &mut Tx, tenant: &str, purges: Option<i64>) -> Result<(), Error> {
    let sql = "INSERT INTO limits (tenant, purges) VALUES ($1, $2)
               ON CONFLICT (tenant) DO UPDATE SET purges = excluded.purges";
    tx.execute(sql, params![tenant, purges]).await.map(|_| ())
}

/// Counts a purge on a day, in days since 1970, and returns how many there were. Only the last day is stored. An earlier day
/// counts as the last one, so that a clock that was set back allows no more purges.
pub(crate) async fn count_purge(tx: &mut Tx, tenant: &str, day: i64) -> Result<i64, Error> {
    let sql = "INSERT INTO purge_counts (tenant, day, purges) VALUES ($1, $2, 1)
               ON CONFLICT (tenant) DO UPDATE SET
                   day = CASE WHEN excluded.day > purge_counts.day THEN excluded.day ELSE purge_counts.day END,
                   purges = CASE WHEN excluded.day > purge_counts.day THEN 1 ELSE purge_counts.purges + 1 END
               RETURNING purges";
    tx.row(sql, params![tenant, day]).await?.map_or(Ok(1), |row| row.get(0))
}

/// How many purges count on a day.
pub(crate) async fn purges_on(tx: &mut Tx, tenant: &str, day: i64) -> Result<i64, Error> {
    let sql = "SELECT purges FROM purge_counts WHERE tenant = $1 AND day >= $2";
    tx.row(sql, params![tenant, day]).await?.map_or(Ok(0), |row| row.get(0))
}
