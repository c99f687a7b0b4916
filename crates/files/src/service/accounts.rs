//! Accounts.

use std::collections::BTreeMap;

use database::Tx;
use work::Time;

use super::authorise::{Action, Place, authorise, is_owner};
use super::{Context, Files, new_row_id};
use crate::error::{Error, Result};
use crate::model::account_acl;
use crate::model::entry::{Account, Counts, Stored};
use crate::model::metadata::{Changes, Metadata};
use crate::model::{name, quota};
use crate::store;

/// Containers and objects deleted per transaction when an account is deleted.
const DELETED_AT_ONCE: usize = 500;

/// An account as HEAD shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// When the account was created. A tenant's account exists implicitly; then this is now.
    pub created: Time,
    /// Its metadata.
    pub metadata: Metadata,
    /// Its counters.
    pub counts: Counts,
    /// Its counters per storage policy.
    pub by_policy: BTreeMap<i64, Counts>,
    /// Whether the caller may see its ACLs and keys.
    pub owner: bool,
}

impl Files {
    /// Checks whether the caller may perform the action on an account. Reads the account's ACL only if nothing else permits it.
    pub(super) async fn admit(&self, context: &Context, account: &str, action: Action) -> Result<()> {
        self.check_tenant(context, account).await?;
        let refused = match authorise(context, account, Place::default(), action) {
            Err(Error::Forbidden) => Error::Forbidden,
            other => return other,
        };
        let stored = store::accounts::metadata(&self.0.db, account).await?;
        let place = Place { account: Some(&stored), ..Place::default() };
        authorise(context, account, place, action).map_err(|_| refused)
    }

    /// Returns an account.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it was never created and is not the caller's own.
    pub async fn account(&self, context: &Context, name: &str) -> Result<AccountView> {
        self.admit(context, name, Action::ReadAccount).await?;
        let view = self
            .0
            .db
            .read(name.to_owned(), |name, tx| {
                Box::pin(async move {
                    let Some(account) = store::accounts::find(tx, name).await? else { return Ok(None) };
                    let counts = store::accounts::counts(tx, account.id).await?;
                    Ok::<_, Error>(Some((account, counts)))
                })
            })
            .await?;
        view.map_or_else(
            || self.implicit_account(context, name),
            |(account, counts)| Ok(view_of(context, name, account, counts)),
        )
    }

    /// Returns the view of an account without a row: a tenant's own account is empty, not missing.
    pub(super) fn implicit_account(&self, context: &Context, name: &str) -> Result<AccountView> {
        let tenant = name::tenant_of(name);
        let own = tenant
            .is_some_and(|tenant| context.caller.as_ref().is_some_and(|caller| caller.is_scoped_to(tenant)));
        if !own {
            return Err(Error::NotFound);
        }
        Ok(AccountView {
            created: self.now(),
            metadata: Metadata::default(),
            counts: Counts::default(),
            by_policy: BTreeMap::new(),
            owner: true,
        })
    }

    /// Creates an account or updates its metadata; returns true if it was created.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for anyone but the operator (seed 002).
    pub async fn put_account(&self, context: &Context, name: &str, changes: Changes) -> Result<bool> {
        authorise(context, name, Place::default(), Action::ManageAccount)?;
        self.check_tenant(context, name).await?;
        name::check_account(name, self.limits())?;
        if name::tenant_of(name).is_none() {
            return Err(Error::Invalid("an account's name must be AUTH_ and its tenant's id".into()));
        }
        self.change_account(context, name, changes, true).await
    }

    /// Updates an account's metadata.
    ///
    /// # Errors
    /// [`Error::Invalid`] beyond the limits, [`Error::NotFound`], [`Error::Forbidden`] if anyone but the operator sets a
    /// quota.
    pub async fn post_account(&self, context: &Context, name: &str, changes: Changes) -> Result<()> {
        self.admit(context, name, Action::WriteAccount).await?;
        name::check_account(name, self.limits())?;
        // A tenant's own account is created by its first use; any other must exist.
        let own = self.implicit_account(context, name).is_ok();
        self.change_account(context, name, changes, own).await.map(|_| ())
    }

    async fn change_account(
        &self,
        context: &Context,
        name: &str,
        changes: Changes,
        create: bool,
    ) -> Result<bool> {
        if changes.0.keys().any(|name| quota::is_of_account(name))
            && !context.caller.as_ref().is_some_and(|caller| caller.operator)
        {
            return Err(Error::Forbidden);
        }
        let input = (name.to_owned(), changes, self.limits().clone(), self.now());
        self.0
            .db
            .write(input, move |(name, changes, limits, now), tx| {
                Box::pin(async move {
                    let found = store::accounts::find(tx, name).await?;
                    let is_new = found.is_none();
                    if is_new && !create {
                        return Err(Error::NotFound);
                    }
                    let mut account = match found {
                        Some(account) => account,
                        None => make(tx, name, *now).await?,
                    };
                    account.metadata.apply(changes);
                    account.metadata.check_totals("x-account-meta-", limits)?;
                    if !changes.is_empty() {
                        store::accounts::set_metadata(tx, account.id, name, &account.metadata).await?;
                    }
                    Ok(is_new)
                })
            })
            .await
    }

    /// Deletes an account and its contents, with a limited number of rows per transaction.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for anyone but the operator (seed 002), [`Error::NotFound`].
    pub async fn delete_account(&self, context: &Context, name: &str) -> Result<()> {
        authorise(context, name, Place::default(), Action::ManageAccount)?;
        self.check_tenant(context, name).await?;
        let mut first = true;
        loop {
            let found = self
                .0
                .db
                .write(name.to_owned(), |name, tx| Box::pin(async move { delete_some(tx, name).await }))
                .await?;
            match found {
                Deleted::Absent if first => return Err(Error::NotFound),
                Deleted::Absent | Deleted::All => {
                    self.0.garbage.notify_one();
                    return Ok(());
                }
                Deleted::Some => first = false,
            }
        }
    }
}

/// Returns an account as the caller may see it.
pub(super) fn view_of(
    context: &Context,
    name: &str,
    account: Account,
    by_policy: BTreeMap<i64, Counts>,
) -> AccountView {
    let counts = by_policy.values().fold(Counts::default(), |sum, counts| Counts {
        containers: sum.containers + counts.containers,
        objects: sum.objects + counts.objects,
        bytes: sum.bytes + counts.bytes,
    });
    let has_acl = account.metadata.get(account_acl::HEADER).is_some();
    let stored = has_acl.then(|| Stored(account.metadata.to_column()));
    let owner = is_owner(context, name, stored.as_ref());
    AccountView { created: account.created, metadata: account.metadata, counts, by_policy, owner }
}

enum Deleted {
    Absent,
    Some,
    All,
}

async fn delete_some(tx: &mut Tx, name: &str) -> Result<Deleted> {
    let Some(account) = store::accounts::find(tx, name).await? else { return Ok(Deleted::Absent) };
    let containers = store::containers::some(tx, account.id, 1).await?;
    let Some((container, id, policy)) = containers.into_iter().next() else {
        store::accounts::delete(tx, account.id, name).await?;
        return Ok(Deleted::All);
    };
    let objects = store::objects::range(tx, id, b"", &[0xff; 8], DELETED_AT_ONCE, false).await?;
    let versions = store::versions::some(tx, id, DELETED_AT_ONCE).await?;
    if objects.is_empty() && versions.is_empty() {
        store::containers::delete(tx, account.id, &container, id).await?;
        store::accounts::add(tx, account.id, policy, -1, 0, 0);
        return Ok(Deleted::Some);
    }
    let Some(mut found) = store::containers::find_by_id(tx, id).await? else { return Ok(Deleted::Some) };
    // Deleting an account is not replicated to other clouds.
    found.metadata = Metadata::default();
    for object in objects {
        super::write::remove(tx, &found, &object.name, object.changed).await?;
    }
    for (name, version) in versions {
        super::versions::remove(tx, &found, &name, version).await?;
    }
    Ok(Deleted::Some)
}

/// Within a transaction: creates an account's row.
pub(super) async fn make(tx: &mut Tx, name: &str, now: Time) -> Result<Account> {
    let id = store::accounts::free_id(tx, new_row_id(now)).await?;
    let account = Account { id, created: now, metadata: Metadata::default() };
    store::accounts::insert(tx, name, &account).await?;
    Ok(account)
}
