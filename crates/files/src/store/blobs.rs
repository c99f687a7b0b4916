//! Where blobs are, and how many objects share each.

use blobs::{BlobId, Location};
use database::{Cell, Database, Error, Tx, params};

use crate::model::entry::{Blob, SealedKey};

/// A new blob with one object.
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

/// A blob's sealed key as its row has it.
pub(super) fn sealed_key(id: BlobId, column: Option<Vec<u8>>) -> Result<Option<SealedKey>, Error> {
    let Some(bytes) = column else { return Ok(None) };
    let key = bytes.try_into().map_err(|_| Error::Statement {
        statement: "blobs".into(),
        reason: format!("the key of blob {id} has another length than keys have"),
    })?;
    Ok(Some(SealedKey(key)))
}

/// Blobs behind `after` that have keys, in order of their ids.
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

/// Keys sealed anew; a blob that was let go meanwhile is passed over.
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

/// One object more shares it; false when it is gone.
pub(crate) async fn share(tx: &mut Tx, id: BlobId) -> Result<bool, Error> {
    Ok(tx.execute("UPDATE blobs SET refs = refs + 1 WHERE id = $1", params![id.0]).await? == 1)
}

/// One object fewer shares it. With none left, its row goes, and a file of its own is queued for removal.
pub(crate) async fn let_go(tx: &mut Tx, id: BlobId) -> Result<(), Error> {
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
            let sql = "INSERT INTO volumes (volume, slot, dead) VALUES ($1, $2, $3)
                       ON CONFLICT (volume, slot) DO UPDATE SET dead = volumes.dead + excluded.dead";
            let slot = tx.slot();
            tx.fold(sql, vec![Cell::Int(volume), Cell::Int(slot)], &[row.get::<i64>(2)?]);
        }
    }
    Ok(())
}

/// Volumes that hold dead blobs, and how many bytes of them.
pub(crate) async fn dead(db: &Database) -> Result<Vec<(i64, u64)>, Error> {
    let sql = "SELECT volume, CAST(SUM(dead) AS BIGINT) FROM volumes GROUP BY volume ORDER BY volume";
    db.rows(sql, &[]).await?.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// A volume is gone, and with it what was dead in it.
pub(crate) async fn forget_volume(db: &Database, volume: i64) -> Result<(), Error> {
    db.execute("DELETE FROM volumes WHERE volume = $1", params![volume]).await.map(|_| ())
}

/// Which of these blobs are still named at these places.
pub(crate) async fn alive(
    db: &Database,
    blobs: Vec<(BlobId, Location)>,
) -> Result<Vec<(BlobId, Location)>, Error> {
    db.scan(blobs, |blobs, tx| {
        Box::pin(async move {
            let mut alive = Vec::new();
            for (id, at) in blobs {
                let sql = "SELECT 1 FROM blobs WHERE id = $1 AND volume = $2 AND place = $3";
                if tx.row(sql, params![id.0, at.volume, at.offset]).await?.is_some() {
                    alive.push((*id, *at));
                }
            }
            Ok(alive)
        })
    })
    .await
}

/// A blob was copied to another place; nothing changes when it was let go meanwhile.
pub(crate) async fn moved(db: &Database, id: BlobId, from: Location, to: Location) -> Result<(), Error> {
    let sql = "UPDATE blobs SET volume = $4, place = $5 WHERE id = $1 AND volume = $2 AND place = $3";
    db.execute(sql, params![id.0, from.volume, from.offset, to.volume, to.offset]).await.map(|_| ())
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

/// Whether any row names the blob, so that it must stay.
pub(crate) async fn is_known(db: &Database, id: BlobId) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM blobs WHERE id = $1 UNION ALL SELECT 1 FROM garbage WHERE blob = $1";
    Ok(db.row(sql, params![id.0]).await?.is_some())
}
