//! Authorisation of operations on users. It is part of each look-up, so that no row is returned without it.

use database::Tx;

use crate::model::{
    Assignment, BuiltinRole, Caller, Grant, Product, Right, Role, Scope, User, builtin_role_id,
};
use crate::service::error::Error;
use crate::store;

/// Message for callers without the required right.
pub(crate) const NOT_AUTHORIZED: &str = "You are not authorized to perform the requested action.";

/// Fails unless the caller is an operator.
pub(crate) fn check_operator(caller: &Caller) -> Result<(), Error> {
    if caller.operator { Ok(()) } else { Err(Error::forbidden(NOT_AUTHORIZED)) }
}

/// Whether the caller has `right` on the users of `user`'s account.
fn on_account(caller: &Caller, user: &User, right: Right) -> bool {
    caller.operator || user.tenant_id.as_deref().is_some_and(|id| caller.may(id, Product::Identity, right))
}

/// Whether the caller administers the tenant for all products, not just one.
fn owns(caller: &Caller, tenant_id: &str) -> bool {
    caller.operator
        || (caller.is_scoped_to(tenant_id)
            && caller.grants.iter().any(|grant| grant.product.is_none() && grant.right == Right::Administer))
}

/// Whether a role's holder manages users.
fn manages_users(role: &BuiltinRole) -> bool {
    role.grant.is_some_and(|grant| {
        grant.right == Right::Administer && grant.product.is_none_or(|product| product == Product::Identity)
    })
}

/// Whether a caller with these grants on a tenant can obtain `wanted` there.
///
/// A caller who manages an account's users can give them any role on a single product. So it effectively has the right on
/// every product, but not the right to manage users.
fn covers(grants: &[Grant], wanted: &Grant) -> bool {
    let held = |product: Option<Product>, right: Right| {
        grants.iter().any(|grant| {
            grant.right >= right
                && (grant.product.is_none() || (product.is_some() && grant.product == product))
        })
    };
    let manages = held(Some(Product::Identity), Right::Administer);
    let of_users = wanted.right == Right::Administer
        && wanted.product.is_none_or(|product| product == Product::Identity);
    held(wanted.product, wanted.right) || (manages && !of_users)
}

/// Whether the assignment gives a right in its own scope that the caller lacks. `own` are the caller's assignments in all
/// scopes. They do not count for a token of an application credential, which has only its own rights.
fn lacks(caller: &Caller, own: &[Assignment], assignment: &Assignment) -> bool {
    if caller.operator {
        return false;
    }
    let own_there =
        || own.iter().filter(|held| caller.delegation.is_none() && held.scope == assignment.scope);
    let role = BuiltinRole::named(&assignment.role.name);
    let Some(grant) = role.and_then(|role| role.grant) else {
        // Roles that give no rights here may give some in other programs that check them.
        let harmless = role.is_some_and(|role| !role.reserved)
            || (role.is_none() && assignment.scope.tenant().is_some_and(|id| owns(caller, id)));
        return !harmless && !own_there().any(|held| held.role == assignment.role);
    };
    let by_token =
        assignment.scope.tenant().is_some_and(|id| caller.is_scoped_to(id)) && covers(&caller.grants, &grant);
    let held: Vec<Grant> =
        own_there().filter_map(|held| BuiltinRole::named(&held.role.name)?.grant).collect();
    !by_token && !covers(&held, &grant)
}

/// Fails if the user has a right, in any scope, that the caller lacks. A caller who can change such a user, read its secrets
/// or act in its name would gain that right. Every operation on another user calls this.
pub(crate) async fn check_no_higher_rights(
    tx: &mut Tx,
    caller: &Caller,
    user_id: &str,
) -> Result<Vec<Assignment>, Error> {
    let roles = store::grants::of_user(tx, user_id).await?;
    if caller.operator || user_id == caller.user_id {
        return Ok(roles);
    }
    let own = store::grants::of_user(tx, &caller.user_id).await?;
    if roles.iter().any(|assignment| lacks(caller, &own, assignment)) {
        return Err(Error::forbidden("The user has rights that you do not have."));
    }
    Ok(roles)
}

/// Fails unless the caller's token has all rights of its user. Changing secrets requires this: otherwise the holder of an
/// application credential with fewer rights would gain the rest by setting a new password, key or credential.
pub(crate) async fn check_full_rights(tx: &mut Tx, caller: &Caller) -> Result<(), Error> {
    let Some(delegation) = &caller.delegation else { return Ok(()) };
    let refused =
        || Error::forbidden("An application credential without all rights of its user cannot do that.");
    if delegation.restricted {
        return Err(refused());
    }
    let held = store::grants::of_user(tx, &caller.user_id).await?;
    let all = held.iter().all(|assignment| {
        assignment.scope.tenant().is_some_and(|id| caller.is_scoped_to(id))
            && caller.roles.contains(&assignment.role)
    });
    if all { Ok(()) } else { Err(refused()) }
}

/// Fails if a change left the cloud without an operator who can sign in. Called in the unit that makes the change.
pub(crate) async fn check_operator_remains(tx: &mut Tx) -> Result<(), Error> {
    if store::grants::is_held(tx, &builtin_role_id("operator"), &Scope::Cloud).await? {
        return Ok(());
    }
    Err(Error::conflict("The cloud would have no operator left; make another one first."))
}

/// Returns a user that the caller may see: itself, or one of an account on which it may observe users.
pub(crate) async fn visible_user(tx: &mut Tx, caller: &Caller, id: &str) -> Result<User, Error> {
    let found = store::users::by_id(tx, id).await?;
    found
        .filter(|user| user.id == caller.user_id || on_account(caller, user, Right::Observe))
        .ok_or_else(|| Error::not_found("user", id))
}

/// Returns a user that the caller may change, with its roles. Never returns a user with rights that the caller lacks
/// ([`check_no_higher_rights`]).
pub(crate) async fn managed_user(
    tx: &mut Tx,
    caller: &Caller,
    id: &str,
) -> Result<(User, Vec<Assignment>), Error> {
    let user = visible_user(tx, caller, id).await?;
    if !on_account(caller, &user, Right::Administer) {
        return Err(Error::forbidden(NOT_AUTHORIZED));
    }
    let roles = check_no_higher_rights(tx, caller, id).await?;
    Ok((user, roles))
}

/// Returns a user whose secrets the caller may read and set, with a token of full rights: itself, or a user that it manages.
pub(crate) async fn user_for_secrets(tx: &mut Tx, caller: &Caller, id: &str) -> Result<User, Error> {
    check_full_rights(tx, caller).await?;
    if caller.user_id == id {
        return visible_user(tx, caller, id).await;
    }
    Ok(managed_user(tx, caller, id).await?.0)
}

/// Whether the caller may grant or revoke `role` in `scope`. An account's owner may within the account. A user manager may
/// for users who do not manage users themselves.
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

/// Returns the account on which the caller manages or observes users.
pub(crate) fn account_of(caller: &Caller, right: Right) -> Result<&str, Error> {
    let tenant = caller.tenant.as_ref().map(|tenant| tenant.id.as_str());
    tenant
        .filter(|id| caller.may(id, Product::Identity, right))
        .ok_or_else(|| Error::forbidden(NOT_AUTHORIZED))
}
