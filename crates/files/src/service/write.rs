//! Transactions that point names at objects or remove names, and update the counters.

use blobs::BlobId;
use database::Tx;
use work::Time;

use super::container_sync::note;
use crate::error::{Error, Result};
use crate::model::entry::{Container, Object};
use crate::store;

/// The result of changing a name.
pub(super) struct Named {
    /// The object as stored.
    pub(super) object: Object,
    /// Whether a blob may have been released.
    pub(super) freed: bool,
}

/// Points a name at an object whose blob is already counted, and releases the old object.
pub(super) async fn replace(
    tx: &mut Tx,
    container: &Container,
    name: &str,
    object: &Object,
    only_new: bool,
) -> Result<Named> {
    let old = store::objects::replaced(tx, container.id, name).await?;
    if only_new && old.as_ref().is_some_and(|old| old.expires.is_none_or(|expires| expires > object.created))
    {
        return Err(Error::Precondition("an object of that name exists".into()));
    }
    let mut object = object.clone();
    if let Some(old) = &old {
        object.created = later(object.created, old.created);
        object.changed = object.created;
    }
    store::objects::put(tx, container.id, name, &object).await?;
    note(tx, container, name, object.changed).await?;
    let (count, old_size) = old.as_ref().map_or((1, 0), |old| (0, old.counted()));
    count_change(tx, container, count, signed(object.size) - signed(old_size));
    let freed = old.and_then(|old| old.blob);
    release(tx, freed).await?;
    Ok(Named { object, freed: freed.is_some() })
}

/// Removes an object and updates the counters; returns false if it does not exist.
pub(super) async fn remove(tx: &mut Tx, container: &Container, name: &str, now: Time) -> Result<bool> {
    let Some(old) = store::objects::replaced(tx, container.id, name).await? else { return Ok(false) };
    store::objects::delete(tx, container.id, name).await?;
    note(tx, container, name, later(now, old.created)).await?;
    release(tx, old.blob).await?;
    count_change(tx, container, -1, -signed(old.counted()));
    Ok(true)
}

/// Adds to the object and byte counters of a container and its account.
pub(super) fn count_change(tx: &mut Tx, container: &Container, objects: i64, bytes: i64) {
    if objects == 0 && bytes == 0 {
        return;
    }
    store::containers::add(tx, container.id, objects, bytes);
    store::accounts::add(tx, container.account, container.policy, 0, objects, bytes);
}

/// Decrements a blob's reference count.
pub(super) async fn release(tx: &mut Tx, blob: Option<BlobId>) -> Result<()> {
    if let Some(blob) = blob {
        store::blobs::decrement_references(tx, blob).await?;
    }
    Ok(())
}

/// Increments a blob's reference count.
pub(super) async fn share(tx: &mut Tx, object: &Object) -> Result<bool> {
    match &object.blob {
        Some(blob) => Ok(store::blobs::share(tx, blob.id).await?),
        None => Ok(true),
    }
}

/// Returns `now`, or a time just after `than`, so that the newest commit has the newest time.
pub(super) fn later(now: Time, than: Time) -> Time {
    now.max(Time(than.0 + 10))
}

/// Converts a size for adding it to counters.
pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
