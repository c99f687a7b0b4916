//! Versions of objects, including delete markers, in containers that keep them.

use blobs::BlobId;
use database::{Error, Tx, params};
use work::Time;

use super::accounts::unsigned;
use super::objects;
use crate::model::entry::Object;
use crate::model::listing::{ObjectEntry, VersionEntry};
use crate::model::shape::Shape;

pub(crate) async fn insert(
    tx: &mut Tx,
    container: i64,
    name: &str,
    version: Time,
    object: &Object,
) -> Result<(), Error> {
    let blob = object.blob.map(|blob| blob.id.0.to_vec());
    let size = i64::try_from(object.size).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO versions (container, name, back, created, changed, etag, size, content_type, meta, blob, shape)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        params![
            container,
            name.as_bytes(),
            -version.0,
            object.created.0,
            object.changed.0,
            hex::decode(&object.etag).unwrap_or_default(),
            size,
            object.content_type,
            object.metadata.to_column(),
            blob,
            object.shape.as_ref().map(Shape::to_column)
        ],
    )
    .await
    .map(|_| ())
}

pub(crate) async fn find(
    tx: &mut Tx,
    container: i64,
    name: &str,
    version: Time,
) -> Result<Option<Object>, Error> {
    let sql = "SELECT o.created, o.changed, o.etag, o.size, o.content_type, o.meta, o.blob, b.volume, b.place, o.shape,
                 -o.back, CAST(NULL AS BIGINT), b.sealed
               FROM versions o LEFT JOIN blobs b ON b.id = o.blob
               WHERE o.container = $1 AND o.name = $2 AND o.back = $3";
    tx.row(sql, params![container, name.as_bytes(), -version.0]).await?.map(objects::object).transpose()
}

/// Returns the newest version of a name, which may be a delete marker.
pub(crate) async fn newest(tx: &mut Tx, container: i64, name: &str) -> Result<Option<Time>, Error> {
    let sql = "SELECT back FROM versions WHERE container = $1 AND name = $2 ORDER BY back LIMIT 1";
    let row = tx.row(sql, params![container, name.as_bytes()]).await?;
    Ok(row.map(|row| row.get::<i64>(0)).transpose()?.map(|back| Time(-back)))
}

pub(crate) async fn set_metadata(
    tx: &mut Tx,
    container: i64,
    name: &str,
    version: Time,
    object: &Object,
) -> Result<(), Error> {
    let sql = "UPDATE versions SET changed = $4, content_type = $5, meta = $6
               WHERE container = $1 AND name = $2 AND back = $3";
    let meta = object.metadata.to_column();
    let (name, changed) = (name.as_bytes(), object.changed.0);
    tx.execute(sql, params![container, name, -version.0, changed, object.content_type, meta])
        .await
        .map(|_| ())
}

/// Removes a version and returns its length and blob.
pub(crate) async fn remove(
    tx: &mut Tx,
    container: i64,
    name: &str,
    version: Time,
) -> Result<Option<(u64, Option<BlobId>)>, Error> {
    let sql = "DELETE FROM versions WHERE container = $1 AND name = $2 AND back = $3 RETURNING size, blob";
    let Some(mut row) = tx.row(sql, params![container, name.as_bytes(), -version.0]).await? else {
        return Ok(None);
    };
    let blob = row.take::<Option<Vec<u8>>>(1)?;
    Ok(Some((unsigned(row.take(0)?), blob.as_deref().and_then(BlobId::from_slice))))
}

/// Returns some versions of a container as name and id.
pub(crate) async fn some(tx: &mut Tx, container: i64, limit: usize) -> Result<Vec<(String, Time)>, Error> {
    let sql = "SELECT name, back FROM versions WHERE container = $1 LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx.rows(sql, params![container, limit]).await?;
    rows.into_iter()
        .map(|mut row| {
            let name = String::from_utf8_lossy(&row.take::<Vec<u8>>(0)?).into_owned();
            Ok((name, Time(-row.take::<i64>(1)?)))
        })
        .collect()
}

/// A position in the order of names and, within a name, of versions from newest to oldest; null versions come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) name: Vec<u8>,
    pub(crate) back: i64,
}

/// The null version's position within its name.
pub(crate) const NULL_BACK: i64 = i64::MIN;

/// Returns up to `limit` versions of names in `[lower, upper)`, after `after` in the listing's direction.
pub(crate) async fn range(
    tx: &mut Tx,
    container: i64,
    (lower, upper): (&[u8], &[u8]),
    after: Option<&Place>,
    limit: usize,
    reverse: bool,
) -> Result<Vec<(Place, VersionEntry)>, Error> {
    const FORWARD: &str = "SELECT * FROM (
             SELECT name, size, etag, content_type, changed, shape, -9223372036854775807 - 1 AS back, name AS present,
               CAST(NULL AS BIGINT) AS cur_version
             FROM objects WHERE container = $1 AND name >= $2 AND name < $3 AND version IS NULL
             UNION ALL
             SELECT v.name, v.size, v.etag, v.content_type, v.changed, v.shape, v.back, o.name AS present,
               o.version AS cur_version
             FROM versions v LEFT JOIN objects o ON o.container = v.container AND o.name = v.name
             WHERE v.container = $1 AND v.name >= $2 AND v.name < $3
           ) AS merged WHERE name > $4 OR (name = $4 AND back > $5) ORDER BY name, back LIMIT $6";
    const BACKWARD: &str = "SELECT * FROM (
             SELECT name, size, etag, content_type, changed, shape, -9223372036854775807 - 1 AS back, name AS present,
               CAST(NULL AS BIGINT) AS cur_version
             FROM objects WHERE container = $1 AND name >= $2 AND name < $3 AND version IS NULL
             UNION ALL
             SELECT v.name, v.size, v.etag, v.content_type, v.changed, v.shape, v.back, o.name AS present,
               o.version AS cur_version
             FROM versions v LEFT JOIN objects o ON o.container = v.container AND o.name = v.name
             WHERE v.container = $1 AND v.name >= $2 AND v.name < $3
           ) AS merged WHERE name < $4 OR (name = $4 AND back < $5) ORDER BY name DESC, back DESC LIMIT $6";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let start = if reverse {
        Place { name: upper.to_vec(), back: i64::MIN }
    } else {
        Place { name: Vec::new(), back: 0 }
    };
    let after = after.unwrap_or(&start);
    let sql = if reverse { BACKWARD } else { FORWARD };
    // A scan from a position goes back no further than the position's name.
    let (lower, upper_of_name) = if reverse {
        (lower.to_vec(), upper.to_vec())
    } else {
        (lower.to_vec().max(after.name.clone()), upper.to_vec())
    };
    let rows = tx
        .rows(sql, params![container, lower, upper_of_name, after.name.as_slice(), after.back, limit])
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for mut row in rows {
        let back: i64 = row.take(6)?;
        let present = row.take::<Option<Vec<u8>>>(7)?.is_some();
        let current = row.take::<Option<i64>>(8)?.map(Time);
        let object: ObjectEntry = objects::entry(&mut row)?;
        let version = (back != NULL_BACK).then(|| Time(-back));
        let is_latest = match version {
            None => true,
            Some(version) if present => current == Some(version),
            // Without a current object, the name's newest delete marker is the latest version.
            Some(version) => {
                object.content_type == crate::model::version::MARKER_TYPE
                    && newest(tx, container, &object.name).await? == Some(version)
            }
        };
        let place = Place { name: object.name.clone().into_bytes(), back };
        found.push((place, VersionEntry { object, version, is_latest }));
    }
    Ok(found)
}
