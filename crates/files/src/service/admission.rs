//! Checks whether a request would be allowed before performing it: Swift reports missing rights, missing containers and
//! exceeded quotas before other errors. Most of these checks are made only for requests that are invalid anyway.

use super::authorise::{Action, Place, authorise};
use super::containers::may_keep_versions;
use super::{Context, Files, archive};
use crate::error::{Error, Result};
use crate::model::entry::Container;
use crate::model::version::VersioningMode;
use crate::store;

impl Files {
    /// Checks whether the caller may store `size` bytes in a container.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`], [`Error::NotFound`], [`Error::OverQuota`],
    /// [`Error::Precondition`] if the container for old versions is missing.
    pub async fn check_store(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
        size: u64,
    ) -> Result<()> {
        let found = self.container_for(context, account, container, Action::WriteObject).await?;
        self.check_quotas(context, &found, size).await?;
        self.check_archive_exists(found, name).await
    }

    /// Checks that an object to be replaced can be kept, if the container keeps old versions.
    async fn check_archive_exists(&self, container: Container, name: &str) -> Result<()> {
        let (VersioningMode::Stack(place) | VersioningMode::History(place)) =
            VersioningMode::of(&container.metadata)
        else {
            return Ok(());
        };
        let input = (container, place, name.to_owned(), self.now());
        let kept = self.0.db.read(input, |(container, place, name, now), tx| {
            Box::pin(async move { archive::check_archive_exists(tx, container, place, name, *now).await })
        });
        kept.await
    }

    /// Checks that `size` bytes fit, if the container exists and has a quota. Only callers who may store there get the error.
    ///
    /// # Errors
    /// [`Error::OverQuota`], [`Error::Unauthenticated`], [`Error::Forbidden`].
    pub async fn check_room(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        size: u64,
    ) -> Result<()> {
        self.room(context, account, container, size).await.map(|_| ())
    }

    /// Returns the container, if it exists and has room, and whether the caller may store in it.
    async fn room(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        size: u64,
    ) -> Result<Option<(Container, Result<()>)>> {
        self.check_tenant(context, account).await?;
        let (found, stored) = store::containers::find_by_path(&self.0.db, account, container).await?;
        let Some(found) = found else { return Ok(None) };
        let metadata = Some(&found.metadata);
        let place = Place { container: Some(container), metadata, account: Some(&stored) };
        let admitted = authorise(context, account, place, Action::WriteObject).map(|_| ());
        if let Err(full) = self.check_quotas(context, &found, size).await {
            return Err(admitted.err().unwrap_or(full));
        }
        Ok(Some((found, admitted)))
    }

    /// As [`Files::check_room`], for containers that may keep old versions: these authenticate the caller before they keep an old
    /// version.
    ///
    /// # Errors
    /// [`Error::OverQuota`], [`Error::Unauthenticated`], [`Error::Forbidden`].
    pub async fn check_fit(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
        size: u64,
    ) -> Result<()> {
        let Some((found, admitted)) = self.room(context, account, container, size).await? else {
            return Ok(());
        };
        if VersioningMode::of(&found.metadata) == VersioningMode::Nothing {
            return Ok(());
        }
        admitted?;
        self.check_archive_exists(found, name).await
    }

    /// Checks whether the caller may change an object in a container.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`], [`Error::NotFound`].
    pub async fn check_update(&self, context: &Context, account: &str, container: &str) -> Result<()> {
        self.container_for(context, account, container, Action::WriteObject).await.map(|_| ())
    }

    /// Checks whether the caller may store objects in an account or one of its containers, which need not exist.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`].
    pub async fn may_store(&self, context: &Context, account: &str, container: Option<&str>) -> Result<()> {
        match container {
            Some(container) => self.may(context, account, container, Action::WriteObject).await,
            None => self.admit(context, account, Action::WriteContainer).await,
        }
    }

    /// Checks whether the caller may delete objects in an account or one of its containers, which need not exist.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`].
    pub async fn may_delete(&self, context: &Context, account: &str, container: Option<&str>) -> Result<()> {
        match container {
            Some(container) => self.may(context, account, container, Action::DeleteObject).await,
            None => self.admit(context, account, Action::DeleteObject).await,
        }
    }

    async fn may(&self, context: &Context, account: &str, container: &str, action: Action) -> Result<()> {
        match self.container_for(context, account, container, action).await {
            Err(Error::NotFound) | Ok(_) => Ok(()),
            Err(refused) => Err(refused),
        }
    }

    /// Checks whether the caller may create and change containers in an account.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`].
    pub async fn check_create_container(&self, context: &Context, account: &str) -> Result<()> {
        self.admit(context, account, Action::WriteContainer).await
    }

    /// Checks whether versioning may be enabled on a container, if the container exists.
    ///
    /// # Errors
    /// [`Error::Page`].
    pub async fn check_versioning(&self, account: &str, container: &str) -> Result<()> {
        let settings = self.container_settings(account, container).await?;
        settings.map_or(Ok(()), |settings| may_keep_versions(&settings))
    }

    /// Checks whether the caller may list a container.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`]; not [`Error::NotFound`], which Swift checks last for listings.
    pub async fn check_list(&self, context: &Context, account: &str, container: &str) -> Result<()> {
        self.may(context, account, container, Action::ReadContainer).await
    }
}
