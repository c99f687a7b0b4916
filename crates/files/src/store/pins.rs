//! Pins: versions that remain readable after their objects were changed or deleted.

use blobs::{BlobId, Location};
use database::{Database, Error, Tx, params};

use super::accounts::unsigned;
use crate::model::entry::Blob;

pub(crate) struct Pin {
    pub(crate) blob: Option<Blob>,
    pub(crate) size: u64,
}

pub(crate) async fn find(db: &Database, pin: &str) -> Result<Option<Pin>, Error> {
    let sql =
        "SELECT p.size, p.blob, b.volume, b.place, b.sealed FROM pins p LEFT JOIN blobs b ON b.id = p.blob
               WHERE p.pin = $1";
    let Some(mut row) = db.row(sql, params![pin]).await? else { return Ok(None) };
    let size = unsigned(row.take(0)?);
    let id = row.take::<Option<Vec<u8>>>(1)?.as_deref().and_then(BlobId::from_slice);
    let blob = match id {
        Some(id) => {
            let location = Location { volume: row.take(2)?, offset: row.take(3)?, length: size };
            Some(Blob { id, location, key: super::blobs::sealed_key(id, row.take(4)?)? })
        }
        None => None,
    };
    Ok(Some(Pin { blob, size }))
}

pub(crate) async fn insert(tx: &mut Tx, pin: &str, blob: Option<BlobId>, size: u64) -> Result<(), Error> {
    let blob = blob.map(|id| id.0.to_vec());
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    tx.execute("INSERT INTO pins (pin, blob, size) VALUES ($1, $2, $3)", params![pin, blob, size])
        .await
        .map(|_| ())
}

/// Removes a pin and returns the blob that it referred to.
pub(crate) async fn remove(tx: &mut Tx, pin: &str) -> Result<Option<BlobId>, Error> {
    let row = tx.row("DELETE FROM pins WHERE pin = $1 RETURNING blob", params![pin]).await?;
    let blob = row.map(|row| row.get::<Option<Vec<u8>>>(0)).transpose()?.flatten();
    Ok(blob.as_deref().and_then(BlobId::from_slice))
}
