//! The container that a unit writes to, read and authorised within the unit.
//!
//! A request reads its container when it begins, and an upload's body may take hours to arrive. What counts is the
//! container as the unit finds it: its versioning, sync, ACLs and quotas.

use database::Tx;

use super::authorise::{Action, Place, authorise};
use super::containers::{may_delete, puts_off};
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::entry::{Container, Object};
use crate::store;

/// Who wants to do what in which container.
#[derive(Clone)]
pub(super) struct Access {
    context: Context,
    account: String,
    name: String,
    /// The container's id when the request began: one that was made anew since may keep its bytes elsewhere.
    id: i64,
    action: Action,
    /// The name of its storage policy, in lower case, as quotas have it.
    policy: String,
}

impl Files {
    /// An access to a container that was found for the same action.
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

    /// The caller of a request that took long, as its token is now.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when the token was revoked or ran out.
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
    /// The same for a caller who was looked up again.
    pub(super) fn by(self, context: Context) -> Self {
        Self { context, ..self }
    }

    /// Within a unit: the container, if it is still there and the caller still may.
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

    /// Within a unit: whether the caller may have the object end as it says ([`Files::may_expire`], asked when the request
    /// began; an object of the name may have been stored since).
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
            .map_or(Ok(()), |found| puts_off(&found, expires))
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
