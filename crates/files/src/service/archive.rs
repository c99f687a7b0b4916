//! Containers that keep old versions in another container (Swift, Versioned writes): as a stack, from which deletion
//! restores, or as a history with delete markers.

use database::Tx;
use work::Time;

use super::write::{remove, replace, share};
use crate::error::{Error, Result};
use crate::model::entry::{Container, Object};
use crate::model::version::{MARKER_TYPE, archived_name, archived_prefix};
use crate::store;

/// Old versions read per deletion.
const LOOKED_AT: usize = 2;

/// Copies a name's current object to the other container.
///
/// # Errors
/// [`Error::Precondition`] if the other container is missing.
pub(super) async fn keep(
    tx: &mut Tx,
    container: &Container,
    place: &str,
    name: &str,
    now: Time,
) -> Result<()> {
    let Some(mut current) = present(tx, container, name, now).await? else { return Ok(()) };
    let archive = archive_of(tx, container, place).await?;
    let kept = archived_name(name, current.changed);
    share(tx, &current).await?;
    current.created = now;
    current.changed = now;
    current.version = None;
    replace(tx, &archive, &kept, &current, false).await?;
    Ok(())
}

/// Checks whether [`keep`] would succeed for a name's current object, if there is one.
///
/// # Errors
/// [`Error::Precondition`] if the other container is missing.
pub(super) async fn check_archive_exists(
    tx: &mut Tx,
    container: &Container,
    place: &str,
    name: &str,
    now: Time,
) -> Result<()> {
    if present(tx, container, name, now).await?.is_some() {
        archive_of(tx, container, place).await?;
    }
    Ok(())
}

/// Returns a name's object unless it has expired.
async fn present(tx: &mut Tx, container: &Container, name: &str, now: Time) -> Result<Option<Object>> {
    let found = store::objects::find_in(tx, container.id, name).await?;
    Ok(found.filter(|found| !found.is_expired(now)))
}

async fn archive_of(tx: &mut Tx, container: &Container, place: &str) -> Result<Container> {
    let missing = || Error::Precondition("the container for old versions is missing".into());
    store::containers::find(tx, container.account, place).await?.ok_or_else(missing)
}

/// Deletes an object and writes a delete marker to the other container; returns false if there was nothing to delete.
pub(super) async fn delete_with_history(
    tx: &mut Tx,
    container: &Container,
    place: &str,
    name: &str,
    now: Time,
) -> Result<bool> {
    keep(tx, container, place, name, now).await?;
    let archive = archive_of(tx, container, place).await?;
    let marker = super::versions::marker(now);
    replace(tx, &archive, &archived_name(name, now), &marker, false).await?;
    remove(tx, container, name, now).await
}

/// Deletes an object and restores its last old version; returns false if there was nothing to delete.
pub(super) async fn delete_from_stack(
    tx: &mut Tx,
    container: &Container,
    place: &str,
    name: &str,
    now: Time,
) -> Result<bool> {
    let Some(archive) = store::containers::find(tx, container.account, place).await? else {
        return remove(tx, container, name, now).await;
    };
    let prefix = archived_prefix(name).into_bytes();
    // The prefix is always followed by a digit.
    let behind = [prefix.as_slice(), b":"].concat();
    let kept = store::objects::range(tx, archive.id, &prefix, &behind, LOOKED_AT, true).await?;
    let Some(last) = kept.first() else { return remove(tx, container, name, now).await };
    if last.content_type != MARKER_TYPE {
        restore(tx, &archive, &last.name, container, name, now).await?;
        return Ok(true);
    }
    if store::objects::replaced(tx, container.id, name).await?.is_some() {
        return remove(tx, container, name, now).await;
    }
    if let Some(before) = kept.get(1).filter(|before| before.content_type != MARKER_TYPE) {
        restore(tx, &archive, &before.name, container, name, now).await?;
    }
    remove(tx, &archive, &last.name, now).await
}

/// Moves an old version back to its original container and name.
async fn restore(
    tx: &mut Tx,
    archive: &Container,
    kept: &str,
    container: &Container,
    name: &str,
    now: Time,
) -> Result<()> {
    let Some(mut object) = store::objects::find_in(tx, archive.id, kept).await? else { return Ok(()) };
    share(tx, &object).await?;
    object.created = now;
    object.changed = now;
    replace(tx, container, name, &object, false).await?;
    remove(tx, archive, kept, now).await?;
    Ok(())
}
