//! Damaged blobs, and the progress of the scrub.

use blobs::{BlobId, Location};
use database::{Database, Error, params};
use work::Time;

use super::blobs::Named;

/// A blob that is missing or fails its checksums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damaged {
    pub(crate) blob: BlobId,
    pub(crate) found: Time,
    pub(crate) what: String,
}

/// The progress of a pass of the scrub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    /// The blob that was checked last.
    pub(crate) after: Named,
    pub(crate) begun: Time,
    /// Number of blobs checked in this pass.
    pub(crate) checked: u64,
    pub(crate) finished: Option<Time>,
}

impl Pass {
    /// Starts a pass.
    pub(crate) fn begin(now: Time) -> Self {
        let location = Location { volume: i64::MIN, offset: 0, length: 0 };
        let after = Named { id: BlobId([0; 16]), location };
        Self { after, begun: now, checked: 0, finished: None }
    }
}

/// Records damage; an earlier record of the same blob is kept.
pub(crate) async fn note(db: &Database, blob: BlobId, found: Time, what: &str) -> Result<(), Error> {
    let sql = "INSERT INTO damaged (blob, found, what) VALUES ($1, $2, $3) ON CONFLICT (blob) DO NOTHING";
    db.execute(sql, params![blob.0, found.0, what]).await.map(|_| ())
}

/// Removes the record of a blob that is intact or no longer exists.
pub(crate) async fn forget(db: &Database, blob: BlobId) -> Result<(), Error> {
    db.execute("DELETE FROM damaged WHERE blob = $1", params![blob.0]).await.map(|_| ())
}

/// Returns up to `limit` damaged blobs after `after` that rows still refer to, in id order.
pub(crate) async fn list(db: &Database, after: BlobId, limit: usize) -> Result<Vec<Damaged>, Error> {
    let sql = "SELECT d.blob, d.found, d.what FROM damaged d JOIN blobs b ON b.id = d.blob
               WHERE d.blob > $1 ORDER BY d.blob LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found = Vec::new();
    for mut row in db.rows(sql, params![after.0, limit]).await? {
        let blob = BlobId::from_slice(&row.take::<Vec<u8>>(0)?).unwrap_or_default();
        found.push(Damaged { blob, found: Time(row.take(1)?), what: row.take(2)? });
    }
    Ok(found)
}

/// Counts the damaged blobs that rows still refer to.
pub(crate) async fn count(db: &Database) -> Result<u64, Error> {
    let sql = "SELECT COUNT(*) FROM damaged d JOIN blobs b ON b.id = d.blob";
    db.row(sql, &[]).await?.map_or(Ok(0), |row| row.get(0))
}

/// Removes the records of blobs that no row refers to any more.
pub(crate) async fn prune(db: &Database) -> Result<(), Error> {
    let sql = "DELETE FROM damaged WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.id = damaged.blob)";
    db.execute(sql, &[]).await.map(|_| ())
}

/// Returns the current or last pass.
pub(crate) async fn pass(db: &Database) -> Result<Option<Pass>, Error> {
    let sql = "SELECT volume, place, blob, begun, checked, finished FROM scrub WHERE id = 0";
    let Some(mut row) = db.row(sql, &[]).await? else { return Ok(None) };
    let location = Location { volume: row.take(0)?, offset: row.take(1)?, length: 0 };
    let id = BlobId::from_slice(&row.take::<Vec<u8>>(2)?).unwrap_or_default();
    Ok(Some(Pass {
        after: Named { id, location },
        begun: Time(row.take(3)?),
        checked: row.take(4)?,
        finished: row.take::<Option<i64>>(5)?.map(Time),
    }))
}

/// Saves a pass's progress, so that it continues after a restart.
pub(crate) async fn save_pass(db: &Database, pass: &Pass) -> Result<(), Error> {
    let sql = "INSERT INTO scrub (id, volume, place, blob, begun, checked, finished)
               VALUES (0, $1, $2, $3, $4, $5, $6)
               ON CONFLICT (id) DO UPDATE SET volume = excluded.volume, place = excluded.place,
                   blob = excluded.blob, begun = excluded.begun, checked = excluded.checked,
                   finished = excluded.finished";
    let at = pass.after.location;
    let checked = i64::try_from(pass.checked).unwrap_or(i64::MAX);
    let finished = pass.finished.map(|time| time.0);
    let params = params![at.volume, at.offset, pass.after.id.0, pass.begun.0, checked, finished];
    db.execute(sql, params).await.map(|_| ())
}
