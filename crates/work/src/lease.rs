//! Fenced leases: one process at a time does what must be done once.

use std::time::Duration;

use database::{Database, Error, params};

use crate::clock::{Clock, Time};

/// A lease that this process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is on.
    pub name: String,
    /// Grows with every change of holder; what is written under the lease is checked against it.
    pub fence: i64,
    /// It has run out then, unless it is taken again.
    pub until: Time,
}

/// Takes or keeps the lease on `name` for `duration`; `None` while another holder has it.
///
/// # Errors
/// The database's.
pub async fn take(
    db: &Database,
    clock: &Clock,
    name: &str,
    owner: &str,
    duration: Duration,
) -> Result<Option<Lease>, Error> {
    let now = clock.now();
    let input = (name.to_owned(), owner.to_owned(), now, now.after(duration));
    db.write(input, |(name, owner, now, until), tx| {
        Box::pin(async move {
            // The fence moves only with the holder: a renewal keeps what was begun under it valid.
            let sql = "INSERT INTO leases (name, owner, fence, until) VALUES ($1, $2, 1, $4)
                       ON CONFLICT (name) DO UPDATE SET
                         fence = leases.fence + CASE WHEN leases.owner = $2 THEN 0 ELSE 1 END, owner = $2, until = $4
                       WHERE leases.owner = $2 OR leases.until <= $3
                       RETURNING fence";
            let row = tx.row(sql, params![name, owner, now.0, until.0]).await?;
            row.map(|row| Ok(Lease { name: name.clone(), fence: row.get(0)?, until: *until })).transpose()
        })
    })
    .await
}
