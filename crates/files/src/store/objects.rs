//! Objects.

use blobs::{BlobId, Location};
use database::{Database, Error, Row, Tx, params};
use work::Time;

use super::accounts::unsigned;
use crate::model::entry::{Blob, Object};
use crate::model::listing::ObjectEntry;
use crate::model::metadata::Metadata;
use crate::model::shape::Shape;

const SELECT: &str =
    "SELECT o.created, o.changed, o.etag, o.size, o.content_type, o.meta, o.blob, b.volume, b.place,
       o.shape, o.version, o.expires, b.sealed
     FROM objects o LEFT JOIN blobs b ON b.id = o.blob WHERE o.container = $1 AND o.name = $2";

/// Reads an object from the columns in [`SELECT`].
pub(super) fn object(mut row: Row) -> Result<Object, Error> {
    let size = unsigned(row.take(3)?);
    let blob = match row.take::<Option<Vec<u8>>>(6)?.as_deref().and_then(BlobId::from_slice) {
        Some(id) => {
            let place = (row.take::<Option<i64>>(7)?, row.take::<Option<i64>>(8)?);
            let (Some(volume), Some(offset)) = place else {
                return Err(Error::Statement {
                    statement: "objects".into(),
                    reason: format!("no row names the place of blob {id}"),
                });
            };
            let key = super::blobs::sealed_key(id, row.take(12)?)?;
            Some(Blob { id, location: Location { volume, offset, length: size }, key })
        }
        None => None,
    };
    Ok(Object {
        created: Time(row.take(0)?),
        changed: Time(row.take(1)?),
        etag: hex::encode(row.take::<Vec<u8>>(2)?),
        size,
        content_type: row.take(4)?,
        metadata: Metadata::from_column(&row.take::<String>(5)?),
        blob,
        shape: Shape::from_column(row.take(9)?),
        version: row.take::<Option<i64>>(10)?.map(Time),
        expires: row.take::<Option<i64>>(11)?.map(Time),
    })
}

pub(crate) async fn find(db: &Database, container: i64, name: &str) -> Result<Option<Object>, Error> {
    db.row(SELECT, params![container, name.as_bytes()]).await?.map(object).transpose()
}

pub(crate) async fn find_in(tx: &mut Tx, container: i64, name: &str) -> Result<Option<Object>, Error> {
    tx.row(SELECT, params![container, name.as_bytes()]).await?.map(object).transpose()
}

/// Returns whether a container holds any object; its counters may lag within a batch.
pub(crate) async fn any(tx: &mut Tx, container: i64) -> Result<bool, Error> {
    Ok(tx.row("SELECT 1 FROM objects WHERE container = $1 LIMIT 1", params![container]).await?.is_some())
}

/// What a name referred to before: enough to update the counters and release its blob.
pub(crate) struct Replaced {
    pub(crate) size: u64,
    pub(crate) created: Time,
    pub(crate) blob: Option<BlobId>,
    pub(crate) version: Option<Time>,
    pub(crate) expires: Option<Time>,
}

impl Replaced {
    /// Returns the bytes that the container counts for it; a version's are counted with the version.
    pub(crate) fn counted(&self) -> u64 {
        if self.version.is_some() { 0 } else { self.size }
    }
}

pub(crate) async fn replaced(tx: &mut Tx, container: i64, name: &str) -> Result<Option<Replaced>, Error> {
    let sql = "SELECT size, created, blob, version, expires FROM objects WHERE container = $1 AND name = $2";
    let Some(mut row) = tx.row(sql, params![container, name.as_bytes()]).await? else { return Ok(None) };
    let blob = row.take::<Option<Vec<u8>>>(2)?;
    Ok(Some(Replaced {
        size: unsigned(row.take(0)?),
        created: Time(row.take(1)?),
        blob: blob.as_deref().and_then(BlobId::from_slice),
        version: row.take::<Option<i64>>(3)?.map(Time),
        expires: row.take::<Option<i64>>(4)?.map(Time),
    }))
}

pub(crate) async fn put(tx: &mut Tx, container: i64, name: &str, object: &Object) -> Result<(), Error> {
    let etag = hex::decode(&object.etag).unwrap_or_default();
    let blob = object.blob.map(|blob| blob.id.0.to_vec());
    let size = i64::try_from(object.size).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO objects (container, name, created, changed, etag, size, content_type, meta, blob, shape, version,
           expires)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (container, name) DO UPDATE SET created = excluded.created, changed = excluded.changed,
           etag = excluded.etag, size = excluded.size, content_type = excluded.content_type, meta = excluded.meta,
           blob = excluded.blob, shape = excluded.shape, version = excluded.version, expires = excluded.expires",
        params![
            container,
            name.as_bytes(),
            object.created.0,
            object.changed.0,
            etag,
            size,
            object.content_type,
            object.metadata.to_column(),
            blob,
            object.shape.as_ref().map(Shape::to_column),
            object.version.map(|version| version.0),
            object.expires.map(|expires| expires.0)
        ],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn set_metadata(
    tx: &mut Tx,
    container: i64,
    name: &str,
    object: &Object,
) -> Result<(), Error> {
    let sql = "UPDATE objects SET changed = $3, content_type = $4, meta = $5, expires = $6
               WHERE container = $1 AND name = $2";
    let (meta, expires) = (object.metadata.to_column(), object.expires.map(|expires| expires.0));
    let (name, changed) = (name.as_bytes(), object.changed.0);
    tx.execute(sql, params![container, name, changed, object.content_type, meta, expires]).await.map(|_| ())
}

pub(crate) async fn delete(tx: &mut Tx, container: i64, name: &str) -> Result<(), Error> {
    let sql = "DELETE FROM objects WHERE container = $1 AND name = $2";
    tx.execute(sql, params![container, name.as_bytes()]).await.map(|_| ())
}

/// Deletes an object's row, whatever its container, if it expired by `due`. Returns the blob that it referred to; `None` if
/// there is no such row.
pub(crate) async fn delete_stray(
    tx: &mut Tx,
    container: i64,
    name: &[u8],
    due: Time,
) -> Result<Option<Option<BlobId>>, Error> {
    let sql = "DELETE FROM objects WHERE container = $1 AND name = $2 AND expires <= $3 RETURNING blob";
    let Some(mut row) = tx.row(sql, params![container, name, due.0]).await? else { return Ok(None) };
    Ok(Some(row.take::<Option<Vec<u8>>>(0)?.and_then(|blob| BlobId::from_slice(&blob))))
}

/// Returns expired objects as container and name, the earliest expired first.
pub(crate) async fn expired(db: &Database, now: Time, limit: usize) -> Result<Vec<(i64, Vec<u8>)>, Error> {
    let sql = "SELECT container, name FROM objects WHERE expires IS NOT NULL AND expires <= $1
               ORDER BY expires LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = db.rows(sql, params![now.0, limit]).await?;
    rows.into_iter().map(|mut row| Ok((row.take(0)?, row.take(1)?))).collect()
}

/// Returns when the next object expires.
pub(crate) async fn next_expiry(db: &Database) -> Result<Option<Time>, Error> {
    let sql = "SELECT expires FROM objects WHERE expires IS NOT NULL ORDER BY expires LIMIT 1";
    Ok(db.row(sql, params![]).await?.map(|row| row.get::<i64>(0)).transpose()?.map(Time))
}

/// Reads an entry from the columns name, size, etag, type, change and shape.
pub(super) fn entry(row: &mut Row) -> Result<ObjectEntry, Error> {
    let name: Vec<u8> = row.take(0)?;
    let name = String::from_utf8(name).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    Ok(ObjectEntry {
        name,
        size: unsigned(row.take(1)?),
        etag: hex::encode(row.take::<Vec<u8>>(2)?),
        content_type: row.take(3)?,
        changed: Time(row.take(4)?),
        shape: Shape::from_column(row.take(5)?).map(Box::new),
        version: None,
    })
}

/// Returns up to `limit` objects in `[lower, upper)`.
pub(crate) async fn range(
    tx: &mut Tx,
    container: i64,
    lower: &[u8],
    upper: &[u8],
    limit: usize,
    reverse: bool,
) -> Result<Vec<ObjectEntry>, Error> {
    const FORWARD: &str = "SELECT name, size, etag, content_type, changed, shape, version FROM objects
               WHERE container = $1 AND name >= $2 AND name < $3 ORDER BY name LIMIT $4";
    const BACKWARD: &str = "SELECT name, size, etag, content_type, changed, shape, version FROM objects
               WHERE container = $1 AND name >= $2 AND name < $3 ORDER BY name DESC LIMIT $4";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = if reverse { BACKWARD } else { FORWARD };
    let rows = tx.rows(sql, params![container, lower, upper, limit]).await?;
    rows.into_iter()
        .map(|mut row| {
            let version = row.take::<Option<i64>>(6)?.map(Time);
            Ok(ObjectEntry { version, ..entry(&mut row)? })
        })
        .collect()
}
