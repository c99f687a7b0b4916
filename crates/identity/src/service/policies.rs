//! Accounts' password policies: how long a password is valid, and which former ones it must differ from.

use crate::model::{Caller, PasswordPolicy, Product, Right};
use crate::service::accounts::NOT_AUTHORIZED;
use crate::service::error::Error;
use crate::service::passwords::Rank;
use crate::service::tenants::visible_tenant;
use crate::service::{Identity, note};
use crate::store;

/// Checks that the caller manages the users of the tenant.
async fn managed_account(tx: &mut database::Tx, caller: &Caller, tenant_id: &str) -> Result<(), Error> {
    visible_tenant(tx, caller, tenant_id).await?;
    if caller.may(tenant_id, Product::Identity, Right::Administer) {
        return Ok(());
    }
    Err(Error::forbidden(NOT_AUTHORIZED))
}

impl Identity {
    /// Returns an account's policy.
    pub(crate) async fn password_policy(
        &self,
        caller: &Caller,
        tenant_id: &str,
    ) -> Result<PasswordPolicy, Error> {
        self.db
            .read((caller.clone(), tenant_id.to_owned()), |(caller, tenant_id), tx| {
                Box::pin(async move {
                    managed_account(tx, caller, tenant_id).await?;
                    let found = store::passwords::policy(tx, tenant_id).await?;
                    found.ok_or_else(|| Error::not_found("password policy", tenant_id))
                })
            })
            .await
    }

    /// Sets an account's policy. It applies at once: passwords older than it allows have expired.
    pub(crate) async fn set_password_policy(
        &self,
        caller: &Caller,
        tenant_id: &str,
        policy: PasswordPolicy,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        self.db
            .write((caller.clone(), tenant_id.to_owned(), policy), move |(caller, tenant_id, policy), tx| {
                Box::pin(async move {
                    managed_account(tx, caller, tenant_id).await?;
                    store::passwords::set_policy(tx, tenant_id, policy).await?;
                    let detail = format!("{} {}", policy.duration, policy.history);
                    note(tx, now, caller, "tenant.password_policy.set", tenant_id, &detail).await
                })
            })
            .await?;
        self.sessions.forget(|session| session.user.tenant_id.as_deref() == Some(tenant_id));
        Ok(())
    }

    /// Removes an account's policy.
    pub(crate) async fn delete_password_policy(&self, caller: &Caller, tenant_id: &str) -> Result<(), Error> {
        let now = self.clock.now();
        self.db
            .write((caller.clone(), tenant_id.to_owned()), move |(caller, tenant_id), tx| {
                Box::pin(async move {
                    managed_account(tx, caller, tenant_id).await?;
                    if !store::passwords::delete_policy(tx, tenant_id).await? {
                        return Err(Error::not_found("password policy", tenant_id));
                    }
                    note(tx, now, caller, "tenant.password_policy.delete", tenant_id, "").await
                })
            })
            .await?;
        self.sessions.forget(|session| session.user.tenant_id.as_deref() == Some(tenant_id));
        Ok(())
    }

    /// Fails if the user's account has a policy and `password` is the user's current password or one of the former ones that
    /// the policy checks. Each comparison costs as much as a sign-in.
    pub(crate) async fn check_reuse(&self, user_id: &str, password: &str) -> Result<(), Error> {
        let (history, known) = self
            .db
            .read(user_id.to_owned(), |user_id, tx| {
                Box::pin(async move {
                    let nothing = (0, Vec::new());
                    let Some((user, secrets)) = store::users::with_secrets_by_id(tx, user_id).await? else {
                        return Ok::<_, Error>(nothing);
                    };
                    let Some(tenant_id) = user.tenant_id else { return Ok(nothing) };
                    let Some(policy) = store::passwords::policy(tx, &tenant_id).await? else {
                        return Ok(nothing);
                    };
                    let former = store::passwords::former(tx, user_id, policy.history).await?;
                    Ok((policy.history, secrets.password.into_iter().chain(former).collect::<Vec<_>>()))
                })
            })
            .await?;
        for stored in &known {
            if self.passwords.fits(password, Some(stored), Rank::Known).await? {
                let message = match history {
                    0 => "password must differ from the present one".to_owned(),
                    n => format!("password must differ from the present one and the {n} before"),
                };
                return Err(Error::invalid(message));
            }
        }
        Ok(())
    }
}
