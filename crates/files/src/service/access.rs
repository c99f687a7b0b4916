//! Reads and authorises a container within the transaction that writes to it.
//!
//! A request reads its container when it begins, but an upload's body may take hours to arrive. The container's versioning,
//! synchronisation, ACLs and quotas at the time of the transaction are what counts.

use database::Tx;

use super::authorise::{Action, Place, authorise, may_delete, only_extends_expiry};
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::entry::{Container, Object};
use crate::store;

/// An action of a caller on a container.
#[derive(Clone)]
pub(super) struct Access {
    context: Context,
    account: String,
    name: String,
    /// The container's id when the request began. A container that was recreated since may use another store.
    id: i64,
    action: Action,
    /// The name of its storage policy, in lower case, as quotas contain it.
    policy: String,
}

impl Files {
    /// Creates the access to a container that was found for the same action.
    pub(super) fn access(
        &self,
        context: &Context,
        (account, name): (&str, &str),
        found: &Container,
        action: Action,
    ) -> Access {
        Access {
            context: context.clone(),
            account: account.to_owned(),
            name: name.to_owned(),
            id: found.id,
            action,
            policy: self.settings().policies.name(found.policy).to_ascii_lowercase(),
        }
    }

    /// Looks up the caller of a long request again, by its token.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if the token was revoked or has expired.
    pub(super) async fn caller_now(&self, context: &Context, since: work::Time) -> Result<Context> {
        let mut now = context.clone();
        if let Some(recheck) = &context.recheck
            && context.caller.is_some()
            && self.0.clock.now().since(since) >= super::RECHECK_AFTER
        {
            now.caller = Some(recheck.caller().await.ok_or(Error::Unauthenticated)?);
        }
        Ok(now)
    }
}

impl Access {
    /// Replaces the caller by one that was looked up again.
    pub(super) fn by(self, context: Context) -> Self {
        Self { context, ..self }
    }

    /// Within a transaction: returns the container if it still exists and the caller still has the right.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Unauthenticated`].
    pub(super) async fn container(&self, tx: &mut Tx) -> Result<Container> {
        let (found, stored) = store::containers::find_by_path_in(tx, &self.account, &self.name).await?;
        let found = found.filter(|found| found.id == self.id).ok_or(Error::NotFound)?;
        let place =
            Place { container: Some(&self.name), metadata: Some(&found.metadata), account: Some(&stored) };
        authorise(&self.context, &self.account, place, self.action)?;
        Ok(found)
    }

    /// Within a transaction: repeats the check of [`Files::may_expire`], which was made when the request began. An object with
    /// the name may have been stored since.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub(super) async fn may_expire(
        &self,
        tx: &mut Tx,
        container: &Container,
        name: &str,
        object: &Object,
    ) -> Result<()> {
        let Some(expires) = object.expires else { return Ok(()) };
        if may_delete(&self.context, &self.account, container, &self.name) {
            return Ok(());
        }
        let found = store::objects::find_in(tx, container.id, name).await?;
        found
            .filter(|found| !found.is_expired(object.created))
            .map_or(Ok(()), |found| only_extends_expiry(&found, expires))
    }

    /// As [`Access::container`], for an object of `size` bytes more that must fit.
    ///
    /// # Errors
    /// Those, and [`Error::OverQuota`].
    pub(super) async fn container_with_room(&self, tx: &mut Tx, size: u64) -> Result<Container> {
        let found = self.container(tx).await?;
        super::quotas::check_in(tx, &self.context, &found, &self.policy, size).await?;
        Ok(found)
    }
}
