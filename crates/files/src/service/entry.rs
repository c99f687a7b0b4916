//! Whether a request would have been let in. It is asked only of one that is at fault, for Swift says who may not, and
//! what is not there, before it says what is wrong.

use super::authorise::{Action, Place, authorise};
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
        let (found, stored) = store::containers::find_by_path(&self.0.db, account, container).await?;
        let Some(found) = found else { return Ok(()) };
        let room = self.check_quotas(context, &found, size).await;
        if room.is_err() {
            let metadata = Some(&found.metadata);
            let place = Place { container: Some(container), metadata, account: Some(&stored) };
            authorise(context, account, place, Action::WriteObject)?;
        }
        room
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
        self.is_room(context, account, container, size).await?;
        let (found, stored) = store::containers::find_by_path(&self.0.db, account, container).await?;
        let Some(found) = found else { return Ok(()) };
        if Keeping::of(&found.metadata) == Keeping::Nothing {
            return Ok(());
        }
        let metadata = Some(&found.metadata);
        let place = Place { container: Some(container), metadata, account: Some(&stored) };
        authorise(context, account, place, Action::WriteObject)?;
        self.could_keep(found, name).await
    }

    /// Whether the caller may change an object there.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`], [`Error::NotFound`].
    pub async fn would_change(&self, context: &Context, account: &str, container: &str) -> Result<()> {
        self.container_for(context, account, container, Action::WriteObject).await.map(|_| ())
    }

    /// Whether the caller may make and change containers in an account.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`].
    pub async fn would_make(&self, context: &Context, account: &str) -> Result<()> {
        self.admit(context, account, Action::WriteContainer).await
    }

    /// Whether the caller may list a container.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`]; not [`Error::NotFound`], which Swift says last of a listing.
    pub async fn would_list(&self, context: &Context, account: &str, container: &str) -> Result<()> {
        match self.container_for(context, account, container, Action::ReadContainer).await {
            Err(Error::NotFound) | Ok(_) => Ok(()),
            Err(refused) => Err(refused),
        }
    }
}
