//! Containers.

use super::authorise::{Action, authorise};
use super::{Context, Files, accounts, fresh_id};
use crate::error::{Error, Result};
use crate::model::entry::{Container, Counts};
use crate::model::metadata::Changes;
use crate::model::name;
use crate::store;

/// A container as its HEAD shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerView {
    /// Its row.
    pub container: Container,
    /// Its counters.
    pub counts: Counts,
    /// Whether the caller may see its ACLs and other owner's settings.
    pub owner: bool,
}

/// What became of a container's PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerPut {
    /// It was made.
    Created,
    /// It was there; its metadata is updated.
    Updated,
}

impl Files {
    /// The container's row, for whoever may do `action` to what is in it. Where the caller is a stranger, a container
    /// that is not there looks like one that is closed.
    pub(super) async fn container_for(
        &self,
        context: &Context,
        account: &str,
        name: &str,
        action: Action,
    ) -> Result<Container> {
        let found = store::containers::find_by_path(&self.0.db, account, name).await?;
        authorise(context, account, found.as_ref().map(|container| &container.metadata), action)?;
        found.ok_or(Error::NotFound)
    }

    /// Looks at a container.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Unauthenticated`].
    pub async fn container(&self, context: &Context, account: &str, name: &str) -> Result<ContainerView> {
        let container = self.container_for(context, account, name, Action::ReadContainer).await?;
        let counts = self
            .0
            .db
            .read(container.id, |id, tx| {
                Box::pin(async move { Ok::<_, Error>(store::containers::counts(tx, *id).await?) })
            })
            .await?;
        Ok(ContainerView { owner: is_owner(context, account), container, counts })
    }

    /// Makes a container, or updates its metadata.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name or metadata beyond the limits.
    pub async fn put_container(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        changes: Changes,
    ) -> Result<ContainerPut> {
        authorise(context, account, None, Action::WriteContainer)?;
        name::check_container(container, self.limits())?;
        if name::tenant_of(account).is_none() {
            return Err(Error::NotFound);
        }
        let input = (account.to_owned(), container.to_owned(), changes, self.limits().clone(), self.now());
        self.0
            .db
            .write(input, |(account, name, changes, limits, now), tx| {
                Box::pin(async move {
                    let account = match store::accounts::find(tx, account).await? {
                        Some(found) => found,
                        None => accounts::make(tx, account, *now).await?,
                    };
                    if let Some(mut found) = store::containers::find(tx, account.id, name).await? {
                        found.metadata.apply(changes);
                        found.metadata.check_totals("x-container-meta-", limits)?;
                        found.changed = (*now).max(found.changed);
                        store::containers::update(tx, name, &found).await?;
                        return Ok(ContainerPut::Updated);
                    }
                    let metadata = changes.clone().into_values();
                    metadata.check_totals("x-container-meta-", limits)?;
                    let (id, now) = (fresh_id(*now), *now);
                    let made = Container { id, account: account.id, created: now, changed: now, metadata };
                    store::containers::insert(tx, name, &made).await?;
                    store::accounts::add(tx, account.id, 1, 0, 0);
                    Ok::<_, Error>(ContainerPut::Created)
                })
            })
            .await
    }

    /// Updates a container's metadata.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] beyond the limits.
    pub async fn post_container(
        &self,
        context: &Context,
        account: &str,
        name: &str,
        changes: Changes,
    ) -> Result<()> {
        let container = self.container_for(context, account, name, Action::WriteContainer).await?;
        let input = (container.account, name.to_owned(), changes, self.limits().clone(), self.now());
        self.0
            .db
            .write(input, |(account, name, changes, limits, now), tx| {
                Box::pin(async move {
                    let mut found =
                        store::containers::find(tx, *account, name).await?.ok_or(Error::NotFound)?;
                    found.metadata.apply(changes);
                    found.metadata.check_totals("x-container-meta-", limits)?;
                    found.changed = (*now).max(found.changed);
                    Ok(store::containers::update(tx, name, &found).await?)
                })
            })
            .await
    }

    /// Deletes an empty container.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::NotFound`].
    pub async fn delete_container(&self, context: &Context, account: &str, name: &str) -> Result<()> {
        let container = self.container_for(context, account, name, Action::DeleteContainer).await?;
        self.0
            .db
            .write((container.account, name.to_owned()), |(account, name), tx| {
                Box::pin(async move {
                    let found = store::containers::find(tx, *account, name).await?.ok_or(Error::NotFound)?;
                    if store::objects::any(tx, found.id).await? {
                        return Err(Error::NotEmpty);
                    }
                    // Whatever was folded for it in this batch must not bring its counters' rows back.
                    tx.flush().await?;
                    store::containers::delete(tx, *account, name, found.id).await?;
                    store::accounts::add(tx, *account, -1, 0, 0);
                    Ok(())
                })
            })
            .await
    }
}

fn is_owner(context: &Context, account: &str) -> bool {
    authorise(context, account, None, Action::WriteContainer).is_ok()
}
