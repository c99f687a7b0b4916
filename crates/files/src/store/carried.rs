//! The queue of container sync: one entry per changed name, and scans of what existed before.

use database::{Database, Error, Tx, params};
use work::Time;

use super::accounts::unsigned;

/// A queued name whose current state is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueuedName {
    pub(crate) container: i64,
    pub(crate) name: String,
    /// When it was changed; for a deletion, no other row has this.
    pub(crate) changed: Time,
    /// Number of attempts, including the current one.
    pub(crate) attempts: u64,
}

/// Enqueues a name for sending at once. A name that is already queued keeps its place and is sent in its newest state.
pub(crate) async fn want(tx: &mut Tx, container: i64, name: &str, changed: Time) -> Result<(), Error> {
    let sql = "INSERT INTO carried (container, name, changed, due, attempts) VALUES ($1, $2, $3, 0, 0)
               ON CONFLICT (container, name) DO UPDATE SET changed = excluded.changed";
    tx.execute(sql, params![container, name.as_bytes(), changed.0]).await.map(|_| ())
}

/// Claims up to `limit` names that are due. They become due again at `until` if the claiming process dies.
pub(crate) async fn claim(
    db: &Database,
    now: Time,
    until: Time,
    limit: usize,
) -> Result<Vec<QueuedName>, Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let first = db.row("SELECT due FROM carried WHERE due <= $1 LIMIT 1", params![now.0]).await?;
    if first.is_none() {
        return Ok(Vec::new());
    }
    db.write((now, until, limit), |(now, until, limit), tx| {
        Box::pin(async move {
            let sql = "SELECT container, name, changed, attempts FROM carried WHERE due <= $1 ORDER BY due LIMIT $2";
            let mut claimed = Vec::new();
            for mut row in tx.rows(sql, params![now.0, *limit]).await? {
                let name: Vec<u8> = row.take(1)?;
                let container: i64 = row.take(0)?;
                let sql = "UPDATE carried SET due = $3, attempts = attempts + 1 WHERE container = $1 AND name = $2";
                tx.execute(sql, params![container, name, until.0]).await?;
                claimed.push(QueuedName {
                    container,
                    name: String::from_utf8_lossy(&name).into_owned(),
                    changed: Time(row.take(2)?),
                    attempts: unsigned(row.take(3)?) + 1,
                });
            }
            Ok(claimed)
        })
    })
    .await
}

/// Removes a name that was sent; if it was changed meanwhile, it is due at once.
pub(crate) async fn done(db: &Database, due: QueuedName) -> Result<(), Error> {
    db.write(due, |due, tx| {
        Box::pin(async move {
            let sql = "DELETE FROM carried WHERE container = $1 AND name = $2 AND changed = $3";
            let name = due.name.as_bytes();
            if tx.execute(sql, params![due.container, name, due.changed.0]).await? == 0 {
                let sql = "UPDATE carried SET due = 0, attempts = 0 WHERE container = $1 AND name = $2";
                tx.execute(sql, params![due.container, name]).await?;
            }
            Ok(())
        })
    })
    .await
}

/// Schedules a retry of a name that could not be sent.
pub(crate) async fn retry(db: &Database, due: QueuedName, at: Time) -> Result<(), Error> {
    let sql = "UPDATE carried SET due = $3 WHERE container = $1 AND name = $2";
    db.execute(sql, params![due.container, due.name.as_bytes(), at.0]).await.map(|_| ())
}

/// Starts a scan of all objects in a container.
pub(crate) async fn walk(tx: &mut Tx, container: i64) -> Result<(), Error> {
    let sql = "INSERT INTO walks (container, after) VALUES ($1, $2)
               ON CONFLICT (container) DO UPDATE SET after = excluded.after";
    tx.execute(sql, params![container, Vec::<u8>::new()]).await.map(|_| ())
}

/// Returns a scan in progress: the container, and the name that it has reached.
pub(crate) async fn walking(db: &Database) -> Result<Option<(i64, Vec<u8>)>, Error> {
    let row = db.row("SELECT container, after FROM walks ORDER BY container LIMIT 1", &[]).await?;
    row.map(|mut row| Ok((row.take(0)?, row.take(1)?))).transpose()
}

/// Saves the progress of a scan; `None` ends it.
pub(crate) async fn walked(tx: &mut Tx, container: i64, after: Option<&[u8]>) -> Result<(), Error> {
    match after {
        Some(after) => {
            tx.execute("UPDATE walks SET after = $2 WHERE container = $1", params![container, after]).await
        }
        None => tx.execute("DELETE FROM walks WHERE container = $1", params![container]).await,
    }
    .map(|_| ())
}
