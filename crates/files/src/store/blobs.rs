//! Locations and reference counts of blobs.

use blobs::{BlobId, Location};
use database::{Cell, Database, Error, Tx, params};

use crate::model::entry::{Blob, SealedKey};

/// Inserts a new blob with one reference.
pub(crate) async fn insert(tx: &mut Tx, blob: &Blob) -> Result<(), Error> {
    let Location { volume, offset, length } = blob.location;
    let size = i64::try_from(length).unwrap_or(i64::MAX);
    let sealed = blob.key.map(|key| key.0.to_vec());
    tx.execute(
        "INSERT INTO blobs (id, volume, place, size, refs, sealed) VALUES ($1, $2, $3, $4, 1, $5)",
        params![blob.id.0, volume, offset, size, sealed],
    )
    .await
    .map(|_| ())
}

/// Reads a blob's sealed key from its column.
pub(super) fn sealed_key(id: BlobId, column: Option<Vec<u8>>) -> Result<Option<SealedKey>, Error> {
    let Some(bytes) = column else { return Ok(None) };
    let key = bytes.try_into().map_err(|_| Error::Statement {
        statement: "blobs".into(),
        reason: format!("the key of blob {id} has another length than keys have"),
    })?;
    Ok(Some(SealedKey(key)))
}

/// Returns blobs with keys after `after`, in id order.
pub(crate) async fn sealed(
    db: &Database,
    after: BlobId,
    limit: usize,
) -> Result<Vec<(BlobId, SealedKey)>, Error> {
    let sql = "SELECT id, sealed FROM blobs WHERE id > $1 AND sealed IS NOT NULL ORDER BY id LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found = Vec::new();
    for mut row in db.rows(sql, params![after.0, limit]).await? {
        let id = BlobId::from_slice(&row.take::<Vec<u8>>(0)?).unwrap_or_default();
        found.extend(sealed_key(id, row.take(1)?)?.map(|key| (id, key)));
    }
    Ok(found)
}

/// Stores resealed keys; a blob that was released meanwhile is skipped.
pub(crate) async fn reseal(db: &Database, keys: Vec<(BlobId, SealedKey)>) -> Result<(), Error> {
    db.write(keys, |keys, tx| {
        Box::pin(async move {
            for (id, key) in keys {
                tx.execute("UPDATE blobs SET sealed = $2 WHERE id = $1", params![id.0, key.0.to_vec()])
                    .await?;
            }
            Ok(())
        })
    })
    .await
}

/// Increments a blob's reference count; returns false if the blob no longer exists.
pub(crate) async fn share(tx: &mut Tx, id: BlobId) -> Result<bool, Error> {
    Ok(tx.execute("UPDATE blobs SET refs = refs + 1 WHERE id = $1", params![id.0]).await? == 1)
}

/// Decrements a blob's reference count. At zero, deletes its row, and enqueues a file of its own for removal.
pub(crate) async fn decrement_references(tx: &mut Tx, id: BlobId) -> Result<(), Error> {
    let sql = "UPDATE blobs SET refs = refs - 1 WHERE id = $1 RETURNING refs, volume, size";
    let Some(row) = tx.row(sql, params![id.0]).await? else { return Ok(()) };
    if row.get::<i64>(0)? > 0 {
        return Ok(());
    }
    tx.execute("DELETE FROM blobs WHERE id = $1", params![id.0]).await?;
    match row.get::<i64>(1)? {
        single if blobs::is_single(single) => {
            let sql = "INSERT INTO garbage (blob) VALUES ($1) ON CONFLICT (blob) DO NOTHING";
            tx.execute(sql, params![id.0]).await?;
        }
        volume => {
            count_dead(tx, volume, row.get::<i64>(2)?);
        }
    }
    Ok(())
}

/// Counts a packed blob of `size` bytes as dead space, including the rest of its record.
pub(crate) fn count_dead(tx: &mut Tx, volume: i64, size: i64) {
    let sql = "INSERT INTO volumes (volume, slot, dead) VALUES ($1, $2, $3)
               ON CONFLICT (volume, slot) DO UPDATE SET dead = volumes.dead + excluded.dead";
    let dead = blobs::record_bytes(u64::try_from(size).unwrap_or(0));
    let slot = tx.slot();
    tx.fold(sql, vec![Cell::Int(volume), Cell::Int(slot)], &[i64::try_from(dead).unwrap_or(i64::MAX)]);
}

/// Counts blobs that were stored but that no row refers to as dead space.
pub(crate) async fn discarded(db: &Database, places: Vec<Location>) -> Result<(), Error> {
    db.write(places, |places, tx| {
        Box::pin(async move {
            for at in places {
                count_dead(tx, at.volume, i64::try_from(at.length).unwrap_or(i64::MAX));
            }
            Ok(())
        })
    })
    .await
}

/// Returns the volumes with dead blobs and their dead bytes.
pub(crate) async fn dead(db: &Database) -> Result<Vec<(i64, u64)>, Error> {
    let sql = "SELECT volume, CAST(SUM(dead) AS BIGINT) FROM volumes GROUP BY volume ORDER BY volume";
    db.rows(sql, &[]).await?.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Removes the dead space count of a volume that was removed.
pub(crate) async fn forget_volume(db: &Database, volume: i64) -> Result<(), Error> {
    db.execute("DELETE FROM volumes WHERE volume = $1", params![volume]).await.map(|_| ())
}

/// Returns the bytes that a volume's live blobs occupy, as computed by [`blobs::record_bytes`].
pub(crate) async fn live_bytes(db: &Database, volume: i64) -> Result<u64, Error> {
    db.scan(volume, |volume, tx| {
        Box::pin(async move {
            let sql = "SELECT CAST(COALESCE(SUM((40 + size + (size + 65535) / 65536 * 4 + 7) / 8 * 8), 0) AS BIGINT)
                       FROM blobs WHERE volume = $1";
            tx.row(sql, params![*volume]).await?.map_or(Ok(0), |row| row.get(0))
        })
    })
    .await
}

/// Sets a volume's dead space to a measured value.
pub(crate) async fn set_dead(db: &Database, volume: i64, dead: u64) -> Result<(), Error> {
    db.write((volume, i64::try_from(dead).unwrap_or(i64::MAX)), |(volume, dead), tx| {
        Box::pin(async move {
            tx.execute("DELETE FROM volumes WHERE volume = $1", params![*volume]).await?;
            let sql = "INSERT INTO volumes (volume, slot, dead) VALUES ($1, 0, $2)";
            tx.execute(sql, params![*volume, *dead]).await.map(|_| ())
        })
    })
    .await
}

/// A blob's id and location, for maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The blob.
    pub(crate) id: BlobId,
    /// Its location.
    pub(crate) location: Location,
}

/// Returns up to `limit` blobs after `after`, ordered by volume, offset and id.
pub(crate) async fn by_place(db: &Database, after: &Named, limit: usize) -> Result<Vec<Named>, Error> {
    db.scan((*after, limit), |(after, limit), tx| {
        Box::pin(async move {
            let sql = "SELECT id, volume, place, size FROM blobs
                       WHERE (volume, place, id) > ($1, $2, $3) ORDER BY volume, place, id LIMIT $4";
            let (at, limit) = (after.location, i64::try_from(*limit).unwrap_or(i64::MAX));
            named(tx.rows(sql, params![at.volume, at.offset, after.id.0, limit]).await?)
        })
    })
    .await
}

/// Returns up to `limit` blobs of a volume from offset `place`, ordered by offset.
pub(crate) async fn in_volume(
    db: &Database,
    volume: i64,
    place: i64,
    limit: usize,
) -> Result<Vec<Named>, Error> {
    db.scan((volume, place, limit), |(volume, place, limit), tx| {
        Box::pin(async move {
            let sql = "SELECT id, volume, place, size FROM blobs WHERE volume = $1 AND place >= $2
                       ORDER BY volume, place LIMIT $3";
            let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
            named(tx.rows(sql, params![*volume, *place, limit]).await?)
        })
    })
    .await
}

fn named(rows: Vec<database::Row>) -> Result<Vec<Named>, Error> {
    let read = |row: &database::Row| {
        let id = BlobId::from_slice(&row.get::<Vec<u8>>(0)?).unwrap_or_default();
        let length = super::accounts::unsigned(row.get(3)?);
        Ok(Named { id, location: Location { volume: row.get(1)?, offset: row.get(2)?, length } })
    };
    rows.iter().map(read).collect()
}

/// Returns whether any row refers to a blob in the volume.
pub(crate) async fn refers_to_volume(db: &Database, volume: i64) -> Result<bool, Error> {
    Ok(db.row("SELECT 1 FROM blobs WHERE volume = $1 LIMIT 1", params![volume]).await?.is_some())
}

/// Returns whether any row refers to a blob in volumes with these numbers, or to a single file that counts as one of them.
pub(crate) async fn refers_to_store(db: &Database, numbers: std::ops::Range<i64>) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM blobs WHERE volume >= $1 AND volume < $2 LIMIT 1";
    Ok(db.row(sql, params![numbers.start, numbers.end]).await?.is_some())
}

/// Returns a blob's current location, if it has a row.
pub(crate) async fn location(db: &Database, id: BlobId) -> Result<Option<Location>, Error> {
    let sql = "SELECT id, volume, place, size FROM blobs WHERE id = $1";
    Ok(named(db.rows(sql, params![id.0]).await?)?.first().map(|named| named.location))
}

/// Updates the locations of relocated blobs. For a blob that was released meanwhile, counts the copy as dead space.
pub(crate) async fn moved(db: &Database, moves: Vec<(BlobId, Location, Location)>) -> Result<(), Error> {
    db.write(moves, |moves, tx| {
        Box::pin(async move {
            for (id, from, to) in moves {
                let sql =
                    "UPDATE blobs SET volume = $4, place = $5 WHERE id = $1 AND volume = $2 AND place = $3";
                let params = params![id.0, from.volume, from.offset, to.volume, to.offset];
                if tx.execute(sql, params).await? == 0 {
                    count_dead(tx, to.volume, i64::try_from(to.length).unwrap_or(i64::MAX));
                }
            }
            Ok(())
        })
    })
    .await
}

pub(crate) async fn garbage(db: &Database, limit: i64) -> Result<Vec<BlobId>, Error> {
    let rows = db.rows("SELECT blob FROM garbage ORDER BY blob LIMIT $1", params![limit]).await?;
    rows.iter().map(|row| Ok(BlobId::from_slice(&row.get::<Vec<u8>>(0)?).unwrap_or_default())).collect()
}

pub(crate) async fn removed(db: &Database, removed: Vec<BlobId>) -> Result<(), Error> {
    db.write(removed, |removed, tx| {
        Box::pin(async move {
            for id in removed {
                tx.execute("DELETE FROM garbage WHERE blob = $1", params![id.0]).await?;
            }
            Ok(())
        })
    })
    .await
}

/// Returns whether any row refers to the blob, so that it must be kept.
pub(crate) async fn is_known(db: &Database, id: BlobId) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM blobs WHERE id = $1 UNION ALL SELECT 1 FROM garbage WHERE blob = $1";
    Ok(db.row(sql, params![id.0]).await?.is_some())
}
