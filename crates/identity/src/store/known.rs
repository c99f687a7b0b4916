//! The addresses from which users signed in lately.

use database::{Error, Tx, params};
use work::Time;

/// Until when an address is known to be the user's.
pub(crate) async fn until(tx: &mut Tx, user_id: &str, address: &str) -> Result<Option<Time>, Error> {
    let sql = "SELECT until FROM known_addresses WHERE user_id = $1 AND address = $2";
    tx.row(sql, params![user_id, address]).await?.map(|mut row| row.take(0).map(Time)).transpose()
}

/// Notes an address of a user's, and forgets those beyond the `keep` that are known longest; at most 100 at once.
pub(crate) async fn insert(
    tx: &mut Tx,
    user_id: &str,
    address: &str,
    until: Time,
    keep: i64,
) -> Result<(), Error> {
    let sql = "INSERT INTO known_addresses (user_id, address, until)
               SELECT id, $2, $3 FROM users WHERE id = $1
               ON CONFLICT (user_id, address) DO UPDATE SET until = $3";
    tx.execute(sql, params![user_id, address, until.0]).await?;
    let beyond = "SELECT address FROM known_addresses WHERE user_id = $1
                  ORDER BY until DESC, address LIMIT 100 OFFSET $2";
    for mut row in tx.rows(beyond, params![user_id, keep]).await? {
        let address: String = row.take(0)?;
        let sql = "DELETE FROM known_addresses WHERE user_id = $1 AND address = $2";
        tx.execute(sql, params![user_id, address]).await?;
    }
    Ok(())
}

/// Forgets some of what is known no longer; `true` while there may be more.
pub(crate) async fn sweep(tx: &mut Tx, now: Time, limit: i64) -> Result<bool, Error> {
    let sql = "DELETE FROM known_addresses WHERE until <= $1 AND user_id IN
                 (SELECT user_id FROM known_addresses WHERE until <= $1 ORDER BY until LIMIT $2)";
    let swept = tx.execute(sql, params![now.0, limit]).await?;
    Ok(i64::try_from(swept).unwrap_or(limit) >= limit)
}
