//! Whether a request would have been let in. It is asked only of one that is at fault, for Swift says who may not, and
//! what is not there, before it says what is wrong.

use super::authorise::{Action, Place, authorise};
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::version::Keeping;
use crate::store;

impl Files {
    /// Whether the caller may store `size` bytes there.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Forbidden`], [`Error::NotFound`], [`Error::OverQuota`].
    pub async fn would_store(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        size: u64,
    ) -> Result<()> {
        let found = self.container_for(context, account, container, Action::WriteObject).await?;
        self.check_quotas(context, &found, size).await
    }

    /// Whether `size` bytes fit, where there is a container whose quota says that they do not; only who may store
    /// there is told so.
    ///
    /// # Errors
    /// [`Error::OverQuota`], [`Error::Unauthenticated`], [`Error::Forbidden`].
    pub async fn would_fit(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        size: u64,
    ) -> Result<()> {
        let (found, stored) = store::containers::find_by_path(&self.0.db, account, container).await?;
        let Some(found) = found else { return Ok(()) };
        let room = self.check_quotas(context, &found, size).await;
        // A container that keeps old versions asks who it is before it sets one aside.
        if room.is_err() || Keeping::of(&found.metadata) != Keeping::Nothing {
            let metadata = Some(&found.metadata);
            let place = Place { container: Some(container), metadata, account: Some(&stored) };
            authorise(context, account, place, Action::WriteObject)?;
        }
        room
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
