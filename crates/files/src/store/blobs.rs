//! Where blobs are, and how many objects share each.

use blobs::{BlobId, Location};
use database::{Database, Error, Tx, params};

use crate::model::entry::Blob;

/// A new blob with one object.
pub(crate) async fn insert(tx: &mut Tx, blob: &Blob) -> Result<(), Error> {
    let Location { volume, offset, length } = blob.location;
    let size = i64::try_from(length).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO blobs (id, volume, place, size, refs) VALUES ($1, $2, $3, $4, 1)",
        params![blob.id.0, volume, offset, size],
    )
    .await
    .map(|_| ())
}

/// One object more shares it; false when it is gone.
pub(crate) async fn share(tx: &mut Tx, id: BlobId) -> Result<bool, Error> {
    Ok(tx.execute("UPDATE blobs SET refs = refs + 1 WHERE id = $1", params![id.0]).await? == 1)
}

/// One object fewer shares it. With none left, its row goes, and a file of its own is queued for removal.
pub(crate) async fn let_go(tx: &mut Tx, id: BlobId) -> Result<(), Error> {
    let sql = "UPDATE blobs SET refs = refs - 1 WHERE id = $1 RETURNING refs, volume";
    let Some(row) = tx.row(sql, params![id.0]).await? else { return Ok(()) };
    if row.get::<i64>(0)? > 0 {
        return Ok(());
    }
    tx.execute("DELETE FROM blobs WHERE id = $1", params![id.0]).await?;
    if row.get::<i64>(1)? == 0 {
        tx.execute("INSERT INTO garbage (blob) VALUES ($1) ON CONFLICT (blob) DO NOTHING", params![id.0])
            .await?;
    }
    Ok(())
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
