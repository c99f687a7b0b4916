//! Accounts.

use database::Tx;

use super::authorise::{Action, authorise};
use super::{Context, Files, fresh_id};
use crate::error::{Error, Result};
use crate::model::entry::{Account, Counts};
use crate::model::metadata::{Changes, Metadata};
use crate::store;
use work::Time;

/// Containers and objects deleted in one unit of an account's deletion.
const DELETED_AT_ONCE: i64 = 500;

/// An account as its HEAD shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// When it was made, or would be now: a tenant's account is there before anything is in it.
    pub created: Time,
    /// Its metadata.
    pub metadata: Metadata,
    /// Its counters.
    pub counts: Counts,
}

impl Files {
    /// Looks at an account.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that was never made and is not the caller's own.
    pub async fn account(&self, context: &Context, name: &str) -> Result<AccountView> {
        authorise(context, name, None, Action::ReadAccount)?;
        let view = self
            .0
            .db
            .read(name.to_owned(), |name, tx| {
                Box::pin(async move {
                    let Some(account) = store::accounts::find(tx, name).await? else { return Ok(None) };
                    let counts = store::accounts::counts(tx, account.id).await?;
                    Ok::<_, Error>(Some(AccountView {
                        created: account.created,
                        metadata: account.metadata,
                        counts,
                    }))
                })
            })
            .await?;
        view.map_or_else(|| self.unmade(context, name), Ok)
    }

    /// What the caller sees of an account that no row has yet: a tenant's own is empty, not absent.
    pub(super) fn unmade(&self, context: &Context, name: &str) -> Result<AccountView> {
        let tenant = crate::model::name::tenant_of(name);
        let own =
            tenant.is_some_and(|tenant| context.caller.as_ref().is_some_and(|caller| caller.is_of(tenant)));
        if !own {
            return Err(Error::NotFound);
        }
        Ok(AccountView { created: self.now(), metadata: Metadata::default(), counts: Counts::default() })
    }

    /// Makes an account, or updates its metadata; `true` when it was made.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for all but the operator (seed 002).
    pub async fn put_account(&self, context: &Context, name: &str, changes: Changes) -> Result<bool> {
        authorise(context, name, None, Action::ManageAccount)?;
        if crate::model::name::tenant_of(name).is_none() {
            return Err(Error::Invalid("an account is called AUTH_ and its tenant's id".into()));
        }
        self.change_account(name, changes, true).await
    }

    /// Updates an account's metadata.
    ///
    /// # Errors
    /// [`Error::Invalid`] beyond the limits, [`Error::NotFound`].
    pub async fn post_account(&self, context: &Context, name: &str, changes: Changes) -> Result<()> {
        authorise(context, name, None, Action::WriteAccount)?;
        // A tenant's own account is made by its first use; any other must be there.
        let own = self.unmade(context, name).is_ok();
        self.change_account(name, changes, own).await.map(|_| ())
    }

    async fn change_account(&self, name: &str, changes: Changes, create: bool) -> Result<bool> {
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

    /// Deletes an account with all that is in it, a bounded number of rows at a time.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for all but the operator (seed 002), [`Error::NotFound`].
    pub async fn delete_account(&self, context: &Context, name: &str) -> Result<()> {
        authorise(context, name, None, Action::ManageAccount)?;
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

enum Deleted {
    Absent,
    Some,
    All,
}

async fn delete_some(tx: &mut Tx, name: &str) -> Result<Deleted> {
    let Some(account) = store::accounts::find(tx, name).await? else { return Ok(Deleted::Absent) };
    let containers = store::containers::some(tx, account.id, 1).await?;
    let Some((container, id)) = containers.into_iter().next() else {
        store::accounts::delete(tx, account.id, name).await?;
        return Ok(Deleted::All);
    };
    let limit = usize::try_from(DELETED_AT_ONCE).unwrap_or(usize::MAX);
    let objects = store::objects::range(tx, id, b"", &[0xff; 8], limit, false).await?;
    if objects.is_empty() {
        store::containers::delete(tx, account.id, &container, id).await?;
        store::accounts::add(tx, account.id, -1, 0, 0);
        return Ok(Deleted::Some);
    }
    for object in objects {
        super::objects::remove(tx, account.id, id, &object.name).await?;
    }
    Ok(Deleted::Some)
}

/// A new account's row, within a unit.
pub(super) async fn make(tx: &mut Tx, name: &str, now: Time) -> Result<Account> {
    let account = Account { id: fresh_id(now), created: now, metadata: Metadata::default() };
    store::accounts::insert(tx, name, &account).await?;
    Ok(account)
}
