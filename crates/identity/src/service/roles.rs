//! Roles and their assignments.

use database::Tx;
use work::Time;

use crate::model::{
    ADMIN, Assignment, Caller, Extra, MANAGER, Right, Role, Scope, USER_ADMIN, User, builtin_role_id,
    check_name,
};
use crate::service::accounts::{
    NOT_AUTHORIZED, account_of, check_full_rights, check_operator, check_operator_remains, may_assign,
    visible_user,
};
use crate::service::error::Error;
use crate::service::text::check_text;
use crate::service::{Identity, Listed, note, page_of, secrets};
use crate::store;
use crate::store::grants::{Filter, marker_of};

/// Filters of a list of assignments.
#[derive(Clone, Debug, Default)]
pub(crate) struct AssignmentQuery {
    pub(crate) user_id: Option<String>,
    pub(crate) role_id: Option<String>,
    pub(crate) scope: Option<Scope>,
    pub(crate) marker: Option<String>,
    pub(crate) limit: Option<i64>,
}

/// Filters of a list of roles.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoleQuery {
    pub(crate) name: Option<String>,
    pub(crate) marker: Option<String>,
    pub(crate) limit: Option<i64>,
    /// Whether a marker that names no role is an error (v2.0).
    pub(crate) strict: bool,
}

/// An assignment with the names that v3's `include_names` shows.
#[derive(Clone, Debug)]
pub(crate) struct NamedAssignment {
    pub(crate) assignment: Assignment,
    pub(crate) user: User,
    pub(crate) user_domain: String,
    /// The tenant's or domain's name; for a tenant, also its domain's id and name.
    pub(crate) place: Option<(String, Option<(String, String)>)>,
}

/// Changes to a role; `None` keeps the current value.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangedRole {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    /// Further attributes to set.
    pub(crate) extra: Extra,
}

/// Grants a role by its name, in the caller's unit.
pub(crate) async fn grant_by_name(
    tx: &mut Tx,
    now: Time,
    caller: &Caller,
    user_id: &str,
    role: &str,
    scope: &Scope,
) -> Result<(), Error> {
    let role = store::roles::by_name(tx, role).await?.ok_or_else(|| Error::not_found("role", role))?;
    give(tx, now, caller, user_id, &role, scope).await
}

async fn give(
    tx: &mut Tx,
    now: Time,
    caller: &Caller,
    user_id: &str,
    role: &Role,
    scope: &Scope,
) -> Result<(), Error> {
    check_full_rights(tx, caller).await?;
    may_assign(tx, caller, user_id, role, scope).await?;
    place_exists(tx, scope).await?;
    if store::grants::insert(tx, user_id, &role.id, scope).await? {
        note(tx, now, caller, "role.grant", user_id, &detail(role, scope)).await?;
    }
    Ok(())
}

fn detail(role: &Role, scope: &Scope) -> String {
    format!("{} on {}", role.name, scope.to_text())
}

async fn place_exists(tx: &mut Tx, scope: &Scope) -> Result<(), Error> {
    match scope {
        Scope::Tenant(id) => {
            store::tenants::by_id(tx, id).await?.ok_or_else(|| Error::not_found("project", id))?;
        }
        Scope::Domain(id) => {
            store::domains::by_id(tx, id).await?.ok_or_else(|| Error::not_found("domain", id))?;
        }
        Scope::Cloud | Scope::Unscoped => {}
    }
    Ok(())
}

impl Identity {
    /// Creates a role that gives no rights by itself, for ACLs to name.
    pub(crate) async fn create_role(
        &self,
        caller: &Caller,
        name: &str,
        description: &str,
        extra: Extra,
    ) -> Result<Role, Error> {
        check_operator(caller)?;
        check_name("name", name, true)?;
        check_text("description", description)?;
        extra.check()?;
        let role = Role {
            id: secrets::new_id(),
            name: name.to_owned(),
            description: description.to_owned(),
            builtin: false,
            extra,
        };
        let now = self.clock.now();
        self.db
            .write((caller.clone(), role), move |(caller, role), tx| {
                Box::pin(async move {
                    if !store::roles::insert(tx, role).await? {
                        return Err(taken(&role.name));
                    }
                    note(tx, now, caller, "role.create", &role.id, &role.name).await?;
                    Ok(role.clone())
                })
            })
            .await
    }

    /// Returns a role. Everyone may see roles.
    pub(crate) async fn role(&self, id: &str) -> Result<Role, Error> {
        self.db
            .read(id.to_owned(), |id, tx| {
                Box::pin(async move {
                    store::roles::by_id(tx, id).await?.ok_or_else(|| Error::not_found("role", id))
                })
            })
            .await
    }

    /// Returns roles, optionally only those with one name.
    pub(crate) async fn roles(&self, query: RoleQuery) -> Result<Listed<Role>, Error> {
        let page = page_of(query.marker.as_deref(), query.limit);
        self.db
            .scan((query, page), |(query, page), tx| {
                Box::pin(async move {
                    let listed = Listed::of(store::roles::list(tx, query.name.as_deref(), page).await?, page);
                    if !query.strict || page.marker.is_empty() {
                        return Ok(listed);
                    }
                    role_by_id(tx, &page.marker).await?;
                    Ok(listed.after(&store::roles::before(tx, page).await?, page))
                })
            })
            .await
    }

    /// Changes a role that is not built in.
    pub(crate) async fn update_role(
        &self,
        caller: &Caller,
        id: &str,
        change: ChangedRole,
    ) -> Result<Role, Error> {
        check_operator(caller)?;
        if let Some(name) = &change.name {
            check_name("name", name, true)?;
        }
        change.description.as_deref().map_or(Ok(()), |text| check_text("description", text))?;
        let now = self.clock.now();
        let role = self
            .db
            .write((caller.clone(), id.to_owned(), change), move |(caller, id, change), tx| {
                Box::pin(async move {
                    let mut role = own_role(tx, id).await?;
                    role.name = change.name.clone().unwrap_or(role.name);
                    role.description = change.description.clone().unwrap_or(role.description);
                    role.extra.merge(&change.extra);
                    role.extra.check()?;
                    if !store::roles::update(tx, &role).await? {
                        return Err(taken(&role.name));
                    }
                    note(tx, now, caller, "role.update", id, &role.name).await?;
                    Ok(role)
                })
            })
            .await?;
        self.sessions.forget_all();
        Ok(role)
    }

    /// Deletes a role that is not built in, with its assignments.
    pub(crate) async fn delete_role(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        check_operator(caller)?;
        let now = self.clock.now();
        self.db
            .write((caller.clone(), id.to_owned()), move |(caller, id), tx| {
                Box::pin(async move {
                    let role = own_role(tx, id).await?;
                    store::roles::delete(tx, id).await?;
                    note(tx, now, caller, "role.delete", id, &role.name).await
                })
            })
            .await?;
        self.sessions.forget_all();
        Ok(())
    }

    /// Grants a user a role.
    pub(crate) async fn grant_role(
        &self,
        caller: &Caller,
        user_id: &str,
        role_id: &str,
        scope: &Scope,
    ) -> Result<Role, Error> {
        let now = self.clock.now();
        let input = (caller.clone(), user_id.to_owned(), role_id.to_owned(), scope.clone());
        let role = self
            .db
            .write(input, move |(caller, user_id, role_id, scope), tx| {
                Box::pin(async move {
                    let role = role_by_id(tx, role_id).await?;
                    give(tx, now, caller, user_id, &role, scope).await?;
                    Ok::<_, Error>(role)
                })
            })
            .await?;
        self.sessions.forget_user(user_id);
        Ok(role)
    }

    /// Revokes a user's role.
    pub(crate) async fn revoke_role(
        &self,
        caller: &Caller,
        user_id: &str,
        role_id: &str,
        scope: &Scope,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let input = (caller.clone(), user_id.to_owned(), role_id.to_owned(), scope.clone());
        self.db
            .write(input, move |(caller, user_id, role_id, scope), tx| {
                Box::pin(async move {
                    let role = role_by_id(tx, role_id).await?;
                    check_full_rights(tx, caller).await?;
                    may_assign(tx, caller, user_id, &role, scope).await?;
                    place_exists(tx, scope).await?;
                    if !store::grants::delete(tx, user_id, role_id, scope).await? {
                        return Err(Error::not_found("role assignment", role_id));
                    }
                    if *scope == Scope::Cloud {
                        check_operator_remains(tx).await?;
                    }
                    // Revoking the last role in a scope also revokes the user's tokens there.
                    store::tokens::delete_without_role(tx, user_id).await?;
                    note(tx, now, caller, "role.revoke", user_id, &detail(&role, scope)).await
                })
            })
            .await?;
        self.sessions.forget_user(user_id);
        Ok(())
    }

    /// Returns a user's roles in one scope, or in all.
    pub(crate) async fn roles_of(
        &self,
        caller: &Caller,
        user_id: &str,
        scope: Option<&Scope>,
    ) -> Result<Vec<(Role, Scope)>, Error> {
        self.db
            .read((caller.clone(), user_id.to_owned(), scope.cloned()), |(caller, user_id, scope), tx| {
                Box::pin(async move {
                    visible_user(tx, caller, user_id).await?;
                    if let Some(scope) = scope {
                        place_exists(tx, scope).await?;
                    }
                    let mut roles = Vec::new();
                    for assignment in store::grants::of_user(tx, user_id).await? {
                        if scope.as_ref().is_none_or(|scope| *scope == assignment.scope) {
                            roles.push((role_by_id(tx, &assignment.role.id).await?, assignment.scope));
                        }
                    }
                    Ok(roles)
                })
            })
            .await
    }

    /// Returns the users with the role in any scope whom the caller may see.
    pub(crate) async fn holders_of(&self, caller: &Caller, role_id: &str) -> Result<Vec<User>, Error> {
        self.db
            .scan((caller.clone(), role_id.to_owned()), |(caller, role_id), tx| {
                Box::pin(async move {
                    role_by_id(tx, role_id).await?;
                    let mut users: Vec<User> = Vec::new();
                    for holder in store::grants::holders(tx, role_id).await? {
                        if users.last().is_some_and(|last| last.id == holder.user_id) {
                            continue;
                        }
                        match visible_user(tx, caller, &holder.user_id).await {
                            Ok(user) => users.push(user),
                            Err(Error::NotFound { .. }) => {}
                            Err(other) => return Err(other),
                        }
                    }
                    Ok(users)
                })
            })
            .await
    }

    /// Returns the administrators of a user's account: those with all rights on it.
    pub(crate) async fn admins_of(&self, caller: &Caller, user_id: &str) -> Result<Vec<User>, Error> {
        self.db
            .scan((caller.clone(), user_id.to_owned()), |(caller, user_id), tx| {
                Box::pin(async move {
                    let user = visible_user(tx, caller, user_id).await?;
                    let Some(tenant_id) = user.tenant_id else { return Ok(Vec::new()) };
                    let scope = Scope::Tenant(tenant_id);
                    let mut admins: Vec<User> = Vec::new();
                    for name in [ADMIN, MANAGER, USER_ADMIN] {
                        let filter = Filter {
                            role_id: Some(builtin_role_id(name)),
                            scope: Some(scope.clone()),
                            user_id: None,
                        };
                        let page = page_of(None, None);
                        for assignment in store::grants::list(tx, &filter, &page).await? {
                            let found = store::users::by_id(tx, &assignment.user_id).await?;
                            admins.extend(found.filter(|user| !admins.iter().any(|a| a.id == user.id)));
                        }
                    }
                    Ok(admins)
                })
            })
            .await
    }

    /// Returns assignments with names: all for an operator, the account's for callers who may observe it, else the caller's
    /// own.
    pub(crate) async fn assignments(
        &self,
        caller: &Caller,
        query: AssignmentQuery,
    ) -> Result<(Listed<NamedAssignment>, Option<String>), Error> {
        let page = page_of(query.marker.as_deref(), query.limit);
        let mut filter = Filter { user_id: query.user_id, role_id: query.role_id, scope: query.scope };
        if !caller.operator && filter.user_id.as_ref() != Some(&caller.user_id) {
            match account_of(caller, Right::Observe) {
                Ok(account) => {
                    let own = Scope::Tenant(account.to_owned());
                    if filter.scope.as_ref().is_some_and(|scope| *scope != own) {
                        return Err(Error::forbidden(NOT_AUTHORIZED));
                    }
                    filter.scope = Some(own);
                }
                Err(_) if filter.user_id.is_none() => filter.user_id = Some(caller.user_id.clone()),
                Err(error) => return Err(error),
            }
        }
        self.db
            .scan((filter, page), |(filter, page), tx| {
                Box::pin(async move {
                    let listed = Listed::of(store::grants::list(tx, filter, page).await?, page);
                    let marker = listed.items.last().map(marker_of).filter(|_| listed.more);
                    let mut items = Vec::with_capacity(listed.items.len());
                    for assignment in listed.items {
                        items.extend(named(tx, assignment).await?);
                    }
                    Ok((Listed { items, more: marker.is_some(), previous: None }, marker))
                })
            })
            .await
    }
}

async fn named(tx: &mut Tx, assignment: Assignment) -> Result<Option<NamedAssignment>, Error> {
    let Some(user) = store::users::by_id(tx, &assignment.user_id).await? else { return Ok(None) };
    let user_domain = domain_name(tx, &user.domain_id).await?;
    let place = match &assignment.scope {
        Scope::Tenant(id) => match store::tenants::by_id(tx, id).await? {
            Some(tenant) => {
                let domain = domain_name(tx, &tenant.domain_id).await?;
                Some((tenant.name, Some((tenant.domain_id, domain))))
            }
            None => None,
        },
        Scope::Domain(id) => Some((domain_name(tx, id).await?, None)),
        Scope::Cloud | Scope::Unscoped => None,
    };
    Ok(Some(NamedAssignment { assignment, user, user_domain, place }))
}

async fn domain_name(tx: &mut Tx, id: &str) -> Result<String, Error> {
    Ok(store::domains::by_id(tx, id).await?.map_or_else(String::new, |domain| domain.name))
}

async fn role_by_id(tx: &mut Tx, id: &str) -> Result<Role, Error> {
    store::roles::by_id(tx, id).await?.ok_or_else(|| Error::not_found("role", id))
}

/// Returns a role that requests may change.
async fn own_role(tx: &mut Tx, id: &str) -> Result<Role, Error> {
    let role = role_by_id(tx, id).await?;
    if role.builtin { Err(Error::forbidden("The cloud's own roles cannot be changed.")) } else { Ok(role) }
}

fn taken(name: &str) -> Error {
    Error::conflict(format!("A role named {name} already exists."))
}
