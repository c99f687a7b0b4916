//! Who may do what with users: authorisation at look-up, so that no row is reached without it.

use database::Tx;

use crate::model::{Assignment, BuiltinRole, Caller, Product, Right, Role, Scope, User, builtin_role_id};
use crate::service::Identity;
use crate::service::error::Error;
use crate::store;

/// What a caller who may not is told.
pub(crate) const NOT_AUTHORIZED: &str = "You are not authorized to perform the requested action.";

/// Only the cloud's operator.
pub(crate) fn operator_only(caller: &Caller) -> Result<(), Error> {
    if caller.operator { Ok(()) } else { Err(Error::forbidden(NOT_AUTHORIZED)) }
}

/// Whether the caller may do what needs `right` with the users of `user`'s account.
fn on_account(caller: &Caller, user: &User, right: Right) -> bool {
    caller.operator || user.tenant_id.as_deref().is_some_and(|id| caller.may(id, Product::Identity, right))
}

/// Whether the caller has everything on the tenant, not on one product alone.
fn owns(caller: &Caller, tenant_id: &str) -> bool {
    caller.operator
        || (caller.is_of(tenant_id)
            && caller.grants.iter().any(|grant| grant.product.is_none() && grant.right == Right::Administer))
}

/// Whether a role makes its holder one who manages users.
fn manages_users(role: &BuiltinRole) -> bool {
    role.grant.is_some_and(|grant| {
        grant.right == Right::Administer && grant.product.is_none_or(|product| product == Product::Identity)
    })
}

impl Identity {
    /// Whether the caller may change the user.
    pub(crate) fn manages(&self, caller: &Caller, user: &User) -> bool {
        on_account(caller, user, Right::Administer)
    }
}

/// Fails when a change has left the cloud without anybody who runs it; asked within the change's unit.
pub(crate) async fn still_governed(tx: &mut Tx) -> Result<(), Error> {
    if store::grants::is_held(tx, &builtin_role_id("operator"), &Scope::Cloud).await? {
        return Ok(());
    }
    Err(Error::conflict("The cloud would have no operator left; make another one first."))
}

/// A user that the caller may see: itself, or one of an account that it may look at.
pub(crate) async fn visible_user(tx: &mut Tx, caller: &Caller, id: &str) -> Result<User, Error> {
    let found = store::users::by_id(tx, id).await?;
    found
        .filter(|user| user.id == caller.user_id || on_account(caller, user, Right::Observe))
        .ok_or_else(|| Error::not_found("user", id))
}

/// A user that the caller may change, with its roles: never one who may more than the caller.
pub(crate) async fn managed_user(
    tx: &mut Tx,
    caller: &Caller,
    id: &str,
) -> Result<(User, Vec<Assignment>), Error> {
    let user = visible_user(tx, caller, id).await?;
    let roles = store::grants::of_user(tx, id).await?;
    if caller.operator {
        return Ok((user, roles));
    }
    if !on_account(caller, &user, Right::Administer) {
        return Err(Error::forbidden(NOT_AUTHORIZED));
    }
    let full = owns(caller, user.tenant_id.as_deref().unwrap_or_default());
    let above = roles
        .iter()
        .filter_map(|a| BuiltinRole::named(&a.role.name))
        .any(|role| role.reserved || (!full && user.id != caller.user_id && manages_users(role)));
    if above {
        return Err(Error::forbidden("The user has rights that you do not have."));
    }
    Ok((user, roles))
}

/// Whether the caller may give or take `role` in `scope`: an account's owner within the account, one who manages its
/// users other than those who manage users themselves.
pub(crate) async fn may_assign(
    tx: &mut Tx,
    caller: &Caller,
    user_id: &str,
    role: &Role,
    scope: &Scope,
) -> Result<User, Error> {
    if caller.operator {
        return store::users::by_id(tx, user_id).await?.ok_or_else(|| Error::not_found("user", user_id));
    }
    let (user, _) = managed_user(tx, caller, user_id).await?;
    let Some(tenant_id) = scope.tenant().filter(|id| user.tenant_id.as_deref() == Some(id)) else {
        return Err(Error::forbidden(NOT_AUTHORIZED));
    };
    let builtin = BuiltinRole::named(&role.name);
    if builtin.is_some_and(|role| role.reserved) {
        return Err(Error::forbidden("Only the cloud's operator gives or takes that role."));
    }
    if !owns(caller, tenant_id) {
        let wide = builtin.is_some_and(|r| manages_users(r) || r.grant.is_some_and(|g| g.product.is_none()));
        if wide || user.id == caller.user_id {
            return Err(Error::forbidden("You may give others roles on single products only."));
        }
    }
    Ok(user)
}

/// The account on which the caller manages users, or looks at them.
pub(crate) fn account_of(caller: &Caller, right: Right) -> Result<&str, Error> {
    let tenant = caller.tenant.as_ref().map(|tenant| tenant.id.as_str());
    tenant
        .filter(|id| caller.may(id, Product::Identity, right))
        .ok_or_else(|| Error::forbidden(NOT_AUTHORIZED))
}
