//! Updates objects' metadata and deletes objects.

use work::Time;

use super::authorise::{Action, may_delete, only_extends_expiry};
use super::container_sync::{is_synchronised, must_be_newer, note};
use super::versions::{Deleted, mark_deleted};
use super::write::{later, remove};
use super::{Context, Files, archive};
use crate::error::{Error, Result};
use crate::model::entry::{Expected, Object};
use crate::model::metadata::Metadata;
use crate::model::version::{VersionId, VersioningMode};
use crate::store;

/// A POST to an object.
#[derive(Clone, Debug, Default)]
pub struct PostRequest {
    /// The complete new metadata.
    pub metadata: Metadata,
    /// The new media type, if any.
    pub content_type: Option<String>,
    /// When the object expires; `None` for never.
    pub expires: Option<Time>,
}

impl Files {
    /// Replaces an object's metadata. Its media type is kept unless a new one is given. A link's own metadata is replaced.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] beyond the limits.
    pub async fn post_object(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
        request: PostRequest,
    ) -> Result<Object> {
        let container_name = container;
        let container = self.container_for(context, account, container, Action::WriteObject).await?;
        let may_delete = may_delete(context, account, &container, container_name);
        let access = self.access(context, (account, container_name), &container, Action::WriteObject);
        request.metadata.check_totals("x-object-meta-", self.limits())?;
        let open_expired = context.open_expired && self.settings().allow_open_expired;
        let carried = is_synchronised(&container.metadata);
        let input = (access, name.to_owned(), request, self.now(), open_expired);
        let object = self
            .0
            .db
            .write(input, move |(access, name, request, now, open_expired), tx| {
                Box::pin(async move {
                    let container = &access.container(tx).await?;
                    let found = store::objects::find_in(tx, container.id, name).await?;
                    let mut object = found
                        .filter(|found| *open_expired || !found.is_expired(*now))
                        .ok_or(Error::NotFound)?;
                    if let Some(expires) = request.expires.filter(|_| !may_delete) {
                        only_extends_expiry(&object, expires)?;
                    }
                    object.metadata = request.metadata.clone();
                    object.changed = later(*now, object.changed);
                    object.expires = request.expires;
                    if let Some(content_type) = &request.content_type {
                        object.content_type.clone_from(content_type);
                    }
                    store::objects::set_metadata(tx, container.id, name, &object).await?;
                    note(tx, container, name, object.changed).await?;
                    if let Some(version) = object.version {
                        store::versions::set_metadata(tx, container.id, name, version, &object).await?;
                    }
                    Ok::<_, Error>(object)
                })
            })
            .await?;
        self.after_write(&object, false);
        self.after_change(carried);
        Ok(object)
    }

    /// Deletes an object; old versions are kept as its container requires.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Precondition`] if it is not what was expected.
    pub async fn delete_object(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
        expected: Expected,
    ) -> Result<Deleted> {
        let found = self.container_for(context, account, container, Action::DeleteObject).await?;
        let carried = is_synchronised(&found.metadata);
        let access = self.access(context, (account, container), &found, Action::DeleteObject);
        let input = (
            access,
            name.to_owned(),
            expected,
            context.replicated_at_or(self.now()),
            context.carried.is_some(),
        );
        let deleted = self
            .0
            .db
            .write(input, |(access, name, expected, now, from_elsewhere), tx| {
                Box::pin(async move {
                    let container = &access.container(tx).await?;
                    if *from_elsewhere {
                        must_be_newer(tx, container, name, *now).await?;
                    }
                    if expected.expires.is_some() {
                        let found =
                            store::objects::replaced(tx, container.id, name).await?.ok_or(Error::NotFound)?;
                        if found.expires != expected.expires {
                            return Err(Error::Precondition(
                                "X-If-Delete-At and X-Delete-At do not match".into(),
                            ));
                        }
                    }
                    let existed = match VersioningMode::of(&container.metadata) {
                        VersioningMode::Nothing => {
                            let found = store::objects::replaced(tx, container.id, name).await?;
                            let expired = found.and_then(|found| found.expires).is_some_and(|at| at <= *now);
                            // An expired object counts as missing, but is removed all the same.
                            remove(tx, container, name, *now).await? && !expired
                        }
                        VersioningMode::Versions => {
                            let (version, existed) = mark_deleted(tx, container, name, *now).await?;
                            return Ok((Some(VersionId::At(version)), existed));
                        }
                        VersioningMode::Stack(place) => {
                            archive::delete_from_stack(tx, container, &place, name, *now).await?
                        }
                        VersioningMode::History(place) => {
                            archive::delete_with_history(tx, container, &place, name, *now).await?
                        }
                    };
                    Ok((None, existed))
                })
            })
            .await?;
        self.0.garbage.notify_one();
        self.after_change(carried);
        match deleted {
            (None, false) => Err(Error::NotFound),
            (Some(VersionId::At(marker)), false) => Err(Error::NoVersion { marker: Some(marker) }),
            (version, _) => Ok(Deleted { version, current: None }),
        }
    }
}
