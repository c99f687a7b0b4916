//! Containers that keep versions of their objects (Swift, Object versioning): each stored object is a separate version, and a
//! name refers to one of them or, after a delete marker, to none.

use database::Tx;
use work::Time;

use super::access::Access;
use super::authorise::{Action, require_owner};
use super::write::{Named, count_change, later, release, share, signed};
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::entry::{Container, Expected, Object};
use crate::model::metadata::Metadata;
use crate::model::version::{MARKER_TYPE, UNVERSIONED, VersionId, is_versioned};
use crate::store;

/// The MD5 of an empty object.
const EMPTY_MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// The outcome of a deletion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// The version that was deleted, or the delete marker that was created.
    pub version: Option<VersionId>,
    /// The current version after a version was deleted.
    pub current: Option<VersionId>,
}

/// Stores an object as the newest version and makes it the current one.
pub(super) async fn store(
    tx: &mut Tx,
    container: &Container,
    name: &str,
    object: &Object,
    only_new: bool,
) -> Result<Named> {
    let old = store::objects::find_in(tx, container.id, name).await?;
    if only_new && old.as_ref().is_some_and(|old| !old.is_expired(object.created)) {
        return Err(Error::Precondition("an object of that name exists".into()));
    }
    let existed = old.is_some();
    let freed = displace(tx, container, name, old).await?;
    let mut object = object.clone();
    object.created = after_all(tx, container.id, name, object.created).await?;
    object.changed = object.created;
    object.version = Some(object.created);
    store::versions::insert(tx, container.id, name, object.created, &object).await?;
    share(tx, &object).await?;
    store::objects::put(tx, container.id, name, &object).await?;
    count_change(tx, container, i64::from(!existed), signed(object.size));
    Ok(Named { object, freed })
}

/// Prepares for a new current version: an object stored without versioning becomes a version; a version only stops being
/// current. Returns whether a blob may have been released.
async fn displace(tx: &mut Tx, container: &Container, name: &str, old: Option<Object>) -> Result<bool> {
    match old {
        None => Ok(false),
        Some(old) if old.version.is_some() => {
            release(tx, old.blob.map(|blob| blob.id)).await?;
            Ok(true)
        }
        Some(mut old) => {
            let mut version = old.created;
            while store::versions::find(tx, container.id, name, version).await?.is_some() {
                version = Time(version.0 + 10);
            }
            old.expires = None;
            store::versions::insert(tx, container.id, name, version, &old).await?;
            Ok(false)
        }
    }
}

/// Returns a time later than all versions of a name.
async fn after_all(tx: &mut Tx, container: i64, name: &str, now: Time) -> Result<Time> {
    Ok(store::versions::newest(tx, container, name).await?.map_or(now, |newest| later(now, newest)))
}

/// Creates a delete marker. Returns it and whether there was something to delete.
pub(super) async fn mark_deleted(
    tx: &mut Tx,
    container: &Container,
    name: &str,
    now: Time,
) -> Result<(Time, bool)> {
    let old = store::objects::find_in(tx, container.id, name).await?;
    let existed = old.as_ref().is_some_and(|old| !old.is_expired(now));
    let counted = old.is_some();
    displace(tx, container, name, old).await?;
    let version = after_all(tx, container.id, name, now).await?;
    store::versions::insert(tx, container.id, name, version, &marker(version)).await?;
    store::objects::delete(tx, container.id, name).await?;
    // Needed even if nothing is counted: it makes the transaction conflict with a deletion of the container.
    store::containers::add(tx, container.id, 0, 0);
    count_change(tx, container, -i64::from(counted), 0);
    Ok((version, existed))
}

/// Creates a delete marker.
pub(super) fn marker(created: Time) -> Object {
    Object {
        created,
        changed: created,
        etag: EMPTY_MD5.into(),
        size: 0,
        content_type: MARKER_TYPE.into(),
        metadata: Metadata::default(),
        blob: None,
        shape: None,
        expires: None,
        version: None,
    }
}

/// Removes a version, and the name if it refers to it. Returns `None` if there is no such version, otherwise the current
/// version afterwards.
pub(super) async fn remove(
    tx: &mut Tx,
    container: &Container,
    name: &str,
    version: Time,
) -> Result<Option<VersionId>> {
    let Some((size, blob)) = store::versions::remove(tx, container.id, name, version).await? else {
        return Ok(None);
    };
    release(tx, blob).await?;
    let current = store::objects::replaced(tx, container.id, name).await?;
    let mut objects = 0;
    let mut points_at = VersionId::Null;
    match current.map(|current| (current.version, current.blob)) {
        Some((Some(current), blob)) if current == version => {
            store::objects::delete(tx, container.id, name).await?;
            release(tx, blob).await?;
            objects = -1;
        }
        Some((Some(current), _)) => points_at = VersionId::At(current),
        _ => {}
    }
    count_change(tx, container, objects, -signed(size));
    Ok(Some(points_at))
}

impl Files {
    /// Looks up one version of an object.
    ///
    /// # Errors
    /// [`Error::NoVersion`], and [`Error::Page`] for a container that never kept versions.
    pub(super) async fn version(&self, container: &Container, name: &str, id: VersionId) -> Result<Object> {
        let at = match id {
            VersionId::Null => {
                let found = store::objects::find(&self.0.db, container.id, name).await?;
                return found
                    .filter(|object| object.version.is_none())
                    .ok_or(Error::NoVersion { marker: None });
            }
            VersionId::At(at) => at,
        };
        must_keep_versions(container)?;
        let found = self
            .0
            .db
            .read((container.id, name.to_owned()), move |(container, name), tx| {
                Box::pin(
                    async move { Ok::<_, Error>(store::versions::find(tx, *container, name, at).await?) },
                )
            })
            .await?;
        match found {
            None => Err(Error::NoVersion { marker: None }),
            Some(object) if object.content_type == MARKER_TYPE => Err(Error::NoVersion { marker: Some(at) }),
            Some(object) => Ok(object),
        }
    }

    /// Deletes one version of an object.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Page`] for a container that never kept versions.
    pub async fn delete_version(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
        id: VersionId,
    ) -> Result<Deleted> {
        let container_name = container;
        let container = self.container_for(context, account, container, Action::DeleteObject).await?;
        let at = match id {
            VersionId::Null if !is_versioned(&container.metadata) => {
                let expected = Expected::default();
                return self.delete_object(context, account, container_name, name, expected).await;
            }
            VersionId::Null => {
                let access =
                    self.access(context, (account, container_name), &container, Action::DeleteObject);
                return self.delete_current(access, name).await.map(|()| Deleted::default());
            }
            VersionId::At(at) => at,
        };
        require_owner(context, account, &container)?;
        let access = self.access(context, (account, container_name), &container, Action::DeleteObject);
        let current = self
            .0
            .db
            .write((access, name.to_owned()), move |(access, name), tx| {
                Box::pin(async move {
                    let container = &access.container(tx).await?;
                    must_keep_versions(container)?;
                    remove(tx, container, name, at).await
                })
            })
            .await?;
        self.0.garbage.notify_one();
        let current = current.ok_or(Error::NotFound)?;
        Ok(Deleted { version: Some(id), current: Some(current) })
    }

    async fn delete_current(&self, access: Access, name: &str) -> Result<()> {
        let now = self.now();
        let removed = self
            .0
            .db
            .write((access, name.to_owned()), move |(access, name), tx| {
                Box::pin(async move {
                    let container = &access.container(tx).await?;
                    super::write::remove(tx, container, name, now).await
                })
            })
            .await?;
        self.0.garbage.notify_one();
        if removed { Ok(()) } else { Err(Error::NotFound) }
    }

    /// Makes a version the current one.
    ///
    /// # Errors
    /// [`Error::NoVersion`], and [`Error::Page`] for a container that never kept versions.
    pub async fn restore_version(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
        id: VersionId,
    ) -> Result<Object> {
        let found = self.container_for(context, account, container, Action::WriteObject).await?;
        require_owner(context, account, &found)?;
        let VersionId::At(at) = id else { return Err(Error::Page("Invalid version parameter".into())) };
        let access = self.access(context, (account, container), &found, Action::WriteObject);
        let restored = self
            .0
            .db
            .write((access, name.to_owned()), move |(access, name), tx| {
                Box::pin(async move {
                    let container = &access.container(tx).await?;
                    must_keep_versions(container)?;
                    let found = store::versions::find(tx, container.id, name, at).await?;
                    let mut object = found.ok_or(Error::NoVersion { marker: None })?;
                    object.version = Some(at);
                    share(tx, &object).await?;
                    let old = store::objects::find_in(tx, container.id, name).await?;
                    let count = i64::from(old.is_none());
                    displace(tx, container, name, old).await?;
                    store::objects::put(tx, container.id, name, &object).await?;
                    count_change(tx, container, count, 0);
                    Ok(object)
                })
            })
            .await;
        self.0.garbage.notify_one();
        restored
    }
}

fn must_keep_versions(container: &Container) -> Result<()> {
    if is_versioned(&container.metadata) {
        return Ok(());
    }
    Err(Error::Page(UNVERSIONED.into()))
}
