//! Containers.

use super::authorise::{Action, Place, authorise, is_member, is_owner, may_delete, only_extends_expiry};
use super::{Context, Files, accounts, container_sync, new_row_id};
use crate::error::{Error, Result};
use crate::model::entry::{Container, Counts};
use crate::model::metadata::{Changes, Metadata};
use crate::model::{name, version};
use crate::store;
use work::Time;

/// A container as HEAD shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerView {
    /// Its row.
    pub container: Container,
    /// Its counters.
    pub counts: Counts,
    /// Whether the caller may see its ACLs and other settings reserved for owners.
    pub owner: bool,
}

/// The outcome of a container's PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerPut {
    /// The container was created.
    Created,
    /// The container existed; its metadata was updated.
    Updated,
}

/// Settings that only owners may set and see.
pub(crate) const OWNERS: [&str; 6] = [
    "x-container-read",
    "x-container-write",
    "x-container-sync-key",
    "x-container-sync-to",
    "x-container-meta-temp-url-key",
    "x-container-meta-temp-url-key-2",
];

impl Files {
    /// Returns a container if the caller may perform `action` on its contents. To strangers, a missing container looks like a
    /// private one.
    pub(super) async fn container_for(
        &self,
        context: &Context,
        account: &str,
        name: &str,
        action: Action,
    ) -> Result<Container> {
        self.check_tenant(context, account).await?;
        let (found, stored) = store::containers::find_by_path(&self.0.db, account, name).await?;
        let metadata = found.as_ref().map(|container| &container.metadata);
        if let Some(watch) = &context.watch {
            watch.see(account, name, metadata);
        }
        authorise(
            context,
            account,
            Place { container: Some(name), metadata, account: Some(&stored) },
            action,
        )?;
        found.ok_or(Error::NotFound)
    }

    /// Checks whether the caller may set an object to expire at `expires`. Setting an expiry on an existing object requires the
    /// right to delete it, unless that only extends its current expiry.
    pub(super) async fn may_expire(
        &self,
        context: &Context,
        account: &str,
        (container, container_name): (&Container, &str),
        name: &str,
        expires: Option<Time>,
    ) -> Result<()> {
        let Some(expires) = expires else { return Ok(()) };
        if may_delete(context, account, container, container_name) {
            return Ok(());
        }
        let found = store::objects::find(&self.0.db, container.id, name).await?;
        match found.filter(|found| !found.is_expired(self.now())) {
            Some(found) => only_extends_expiry(&found, expires),
            None => Ok(()),
        }
    }

    /// Returns a container's settings for browsers and static websites, whoever the caller is; `None` if it does not exist. The
    /// dialect must reveal them only as its rules permit.
    ///
    /// # Errors
    /// The database's.
    pub async fn container_settings(&self, account: &str, name: &str) -> Result<Option<Metadata>> {
        let (found, _) = store::containers::find_by_path(&self.0.db, account, name).await?;
        Ok(found.map(|container| container.metadata))
    }

    /// Returns a container.
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
        let owner = is_owner(context, account, Some(&container.account_metadata));
        Ok(ContainerView { owner, container, counts })
    }

    /// Creates a container or updates its metadata. `policy` names the storage policy of a new one.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid name or policy or metadata beyond the limits, [`Error::Conflict`] if `policy` is not
    /// the existing container's.
    pub async fn put_container(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        mut changes: Changes,
        policy: Option<&str>,
    ) -> Result<ContainerPut> {
        self.admit(context, account, Action::WriteContainer).await?;
        self.keep_owners(context, account, &mut changes).await?;
        self.check_carrying(&changes)?;
        let policy = policy.filter(|name| !name.is_empty()).map(|name| self.policy_for(name)).transpose()?;
        name::check_container(container, self.limits())?;
        if name::tenant_of(account).is_none() {
            return Err(Error::NotFound);
        }
        let input =
            (account.to_owned(), container.to_owned(), changes, self.limits().clone(), self.now(), policy);
        self.0
            .db
            .write(input, |(account_name, name, changes, limits, now, policy), tx| {
                Box::pin(async move {
                    let account = match store::accounts::find(tx, account_name).await? {
                        Some(found) => found,
                        None => accounts::make(tx, account_name, *now).await?,
                    };
                    if let Some(mut found) = store::containers::find(tx, account.id, name).await? {
                        if policy.is_some_and(|policy| policy != found.policy) {
                            return Err(Error::Conflict(String::new()));
                        }
                        change(&mut found, changes, limits)?;
                        found.changed = (*now).max(found.changed);
                        store::containers::update(tx, name, &found).await?;
                        walk(tx, &found, changes).await?;
                        return Ok(ContainerPut::Updated);
                    }
                    let now = *now;
                    let id = store::containers::free_id(tx, new_row_id(now)).await?;
                    let mut made = Container {
                        id,
                        account: account.id,
                        created: now,
                        changed: now,
                        metadata: Metadata::default(),
                        account_metadata: crate::model::entry::Stored::default(),
                        policy: policy.unwrap_or(0),
                    };
                    change(&mut made, changes, limits)?;
                    if !store::accounts::hold(tx, account.id, account_name).await? {
                        return Err(Error::NotFound);
                    }
                    store::containers::insert(tx, name, &made).await?;
                    store::accounts::add(tx, account.id, made.policy, 1, 0, 0);
                    Ok::<_, Error>(ContainerPut::Created)
                })
            })
            .await
    }

    fn check_carrying(&self, changes: &Changes) -> Result<()> {
        match changes.0.get(container_sync::TO) {
            Some(Some(value)) => self.check_destination(value),
            _ => Ok(()),
        }
    }

    fn policy_for(&self, name: &str) -> Result<i64> {
        let found = self.settings().policies.named(name);
        let (index, policy) =
            found.ok_or_else(|| Error::Invalid(format!("Invalid X-Storage-Policy '{name}'")))?;
        if policy.deprecated {
            return Err(Error::Page(format!("Storage Policy '{}' is deprecated", policy.name)));
        }
        Ok(index)
    }

    /// Checks changes of settings reserved for owners. Rejects users of the account without that right, and removes the
    /// settings for other callers, as Swift does.
    async fn keep_owners(&self, context: &Context, account: &str, changes: &mut Changes) -> Result<()> {
        if !changes.0.keys().any(|name| OWNERS.contains(&name.as_str())) || is_owner(context, account, None) {
            return Ok(());
        }
        let stored = store::accounts::metadata(&self.0.db, account).await?;
        if !is_owner(context, account, Some(&stored)) {
            if is_member(context, account, None) {
                return Err(Error::Forbidden);
            }
            changes.0.retain(|name, _| !OWNERS.contains(&name.as_str()));
        }
        Ok(())
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
        mut changes: Changes,
    ) -> Result<()> {
        let container = self.container_for(context, account, name, Action::WriteContainer).await?;
        self.keep_owners(context, account, &mut changes).await?;
        self.check_carrying(&changes)?;
        let input = (container.account, name.to_owned(), changes, self.limits().clone(), self.now());
        self.0
            .db
            .write(input, |(account, name, changes, limits, now), tx| {
                Box::pin(async move {
                    let mut found =
                        store::containers::find(tx, *account, name).await?.ok_or(Error::NotFound)?;
                    change(&mut found, changes, limits)?;
                    found.changed = (*now).max(found.changed);
                    store::containers::update(tx, name, &found).await?;
                    walk(tx, &found, changes).await
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
                    let versioned = version::is_versioned(&found.metadata);
                    if versioned && !store::versions::some(tx, found.id, 1).await?.is_empty() {
                        return Err(Error::Conflict("Delete all versions before deleting container.".into()));
                    }
                    if store::objects::any(tx, found.id).await? {
                        return Err(Error::NotEmpty);
                    }
                    store::containers::delete(tx, *account, name, found.id).await?;
                    store::accounts::add(tx, *account, found.policy, -1, 0, 0);
                    Ok(())
                })
            })
            .await
    }
}

/// Enqueues all objects of a container whose synchronisation is being configured.
async fn walk(tx: &mut database::Tx, container: &Container, changes: &Changes) -> Result<()> {
    let concerns = [container_sync::TO, container_sync::KEY].iter().any(|name| changes.0.contains_key(*name));
    if concerns && container_sync::is_synchronised(&container.metadata) {
        store::carried::walk(tx, container.id).await?;
    }
    Ok(())
}

/// Checks whether a container may start or stop keeping versions.
pub(super) fn may_keep_versions(metadata: &Metadata) -> Result<()> {
    let refused = if [version::STACK, version::HISTORY].iter().any(|name| metadata.get(name).is_some()) {
        "Cannot enable object versioning on a container that is already using the legacy versioned writes feature."
    } else if metadata.get("x-container-sync-to").is_some() {
        "Cannot enable object versioning on a container configured as source of container syncing."
    } else {
        return Ok(());
    };
    Err(Error::Page(refused.into()))
}

/// Applies changes. The three ways of keeping old versions exclude each other.
fn change(container: &mut Container, changes: &Changes, limits: &crate::model::limits::Limits) -> Result<()> {
    let before = container.metadata.clone();
    container.metadata.apply(changes);
    container.metadata.check_totals("x-container-meta-", limits)?;
    let sets = |name: &str| matches!(changes.0.get(name), Some(Some(_)));
    if sets(version::ENABLED) {
        may_keep_versions(&before)?;
    }
    if container.metadata.get(version::ENABLED) == Some("false") && !version::is_versioned(&before) {
        container.metadata.0.insert(version::ENABLED.into(), version::NEVER.into());
    }
    if (sets(version::STACK) || sets(version::HISTORY)) && version::is_versioned(&before) {
        return Err(Error::Page(
            "Cannot set a container's x-versions-location or x-history-location while object versioning is enabled."
                .into(),
        ));
    }
    if sets("x-container-sync-to") && version::is_versioned(&before) {
        return Err(Error::Page(
            "Cannot configure container sync on a container with object versioning configured.".into(),
        ));
    }
    if sets(version::STACK) {
        container.metadata.0.remove(version::HISTORY);
    }
    if sets(version::HISTORY) {
        container.metadata.0.remove(version::STACK);
    }
    Ok(())
}
