//! Whether a request would be let in, asked before its time: Swift says who may not, what is not there and what is full
//! before it says what else is wrong. Most of it is asked only of a request that is at fault.

use super::authorise::{Action, Place, authorise};
use super::containers::may_keep_versions;
use super::{Context, Files, archive};
use crate::error::{Error, Result};
use crate::model::entry::Container;
use crate::model::version::Keeping;
use crate::store;

impl Files {
    /// Whether the caller may store `size` bytes there.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`], [`Error::NotFound`], [`Error::OverQuota`],
    /// [`Error::Precondition`] if the version that is replaced has no place to go to.
    pub async fn would_store(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
        size: u64,
    ) -> Result<()> {
        let found = self.container_for(context, account, container, Action::WriteObject).await?;
        self.check_quotas(context, &found, size).await?;
        self.could_keep(found, name).await
    }

    /// Whether what is replaced there has a place to go to, if it is to be kept.
    async fn could_keep(&self, container: Container, name: &str) -> Result<()> {
        let (Keeping::Stack(place) | Keeping::History(place)) = Keeping::of(&container.metadata) else {
            return Ok(());
        };
        let input = (container, place, name.to_owned(), self.now());
        let kept = self.0.db.read(input, |(container, place, name, now), tx| {
            Box::pin(async move { archive::could_keep(tx, container, place, name, *now).await })
        });
        kept.await
    }

    /// Whether `size` bytes fit, where there is a container with a quota; only who may store there is told.
    ///
    /// # Errors
    /// [`Error::OverQuota`], [`Error::Unauthenticated`], [`Error::Forbidden`].
    pub async fn is_room(&self, context: &Context, account: &str, container: &str, size: u64) -> Result<()> {
        self.room(context, account, container, size).await.map(|_| ())
    }

    /// The container, if it is there and has room, and whether the caller may store in it.
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

    /// As [`Files::is_room`], of a container that may keep old versions: that one asks who it is before it sets one
    /// aside.
    ///
    /// # Errors
    /// [`Error::OverQuota`], [`Error::Unauthenticated`], [`Error::Forbidden`].
    pub async fn would_fit(
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
        if Keeping::of(&found.metadata) == Keeping::Nothing {
            return Ok(());
        }
        admitted?;
        self.could_keep(found, name).await
    }

    /// Whether the caller may change an object there.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`], [`Error::NotFound`].
    pub async fn would_change(&self, context: &Context, account: &str, container: &str) -> Result<()> {
        self.container_for(context, account, container, Action::WriteObject).await.map(|_| ())
    }

    /// Whether the caller may store objects in an account, or in one of its containers, which need not exist.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`].
    pub async fn may_store(&self, context: &Context, account: &str, container: Option<&str>) -> Result<()> {
        match container {
            Some(container) => self.may(context, account, container, Action::WriteObject).await,
            None => self.admit(context, account, Action::WriteContainer).await,
        }
    }

    /// Whether the caller may delete objects in an account, or in one of its containers, which need not exist.
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

    /// Whether the caller may make and change containers in an account.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`].
    pub async fn would_make(&self, context: &Context, account: &str) -> Result<()> {
        self.admit(context, account, Action::WriteContainer).await
    }

    /// Whether a container may be told to keep versions, if it is there.
    ///
    /// # Errors
    /// [`Error::Page`].
    pub async fn could_keep_versions(&self, account: &str, container: &str) -> Result<()> {
        let settings = self.container_settings(account, container).await?;
        settings.map_or(Ok(()), |settings| may_keep_versions(&settings))
    }

    /// Whether the caller may list a container.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`]; not [`Error::NotFound`], which Swift says last of a listing.
    pub async fn would_list(&self, context: &Context, account: &str, container: &str) -> Result<()> {
        self.may(context, account, container, Action::ReadContainer).await
    }
}
