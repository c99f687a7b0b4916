//! Tenants: create, show, change and delete.

use std::time::Duration;

use database::Tx;
use work::NewJob;

use crate::model::{
    Caller, DEFAULT_DOMAIN, Extra, Product, Right, Scope, Tenant, check_acl_name, check_scope_name,
};
use crate::service::accounts::{NOT_AUTHORIZED, check_operator};
use crate::service::deletion::{TENANT_DELETED, patience};
use crate::service::error::Error;
use crate::service::text::check_text;
use crate::service::{Identity, Listed, note, page_of};
use crate::store;
use crate::store::tenants::Filter;

/// A tenant to create.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewTenant {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) enabled: bool,
    pub(crate) domain_id: Option<String>,
    pub(crate) extra: Extra,
}

/// Changes to a tenant; `None` keeps the current value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChangedTenant {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) enabled: Option<bool>,
    /// Further attributes to set.
    pub(crate) extra: Extra,
}

/// Filters of a list of tenants.
#[derive(Clone, Debug, Default)]
pub(crate) struct TenantQuery {
    pub(crate) name: Option<String>,
    pub(crate) domain_id: Option<String>,
    pub(crate) enabled: Option<bool>,
    /// Only this user's.
    pub(crate) of_user: Option<String>,
    pub(crate) marker: Option<String>,
    pub(crate) limit: Option<i64>,
    /// Whether a marker that names no tenant is an error (v2.0).
    pub(crate) strict: bool,
}

/// Returns a tenant that the caller may see: its own, the user's own, one on which it has a role, or any for an operator.
pub(crate) async fn visible_tenant(tx: &mut Tx, caller: &Caller, id: &str) -> Result<Tenant, Error> {
    let found = store::tenants::by_id(tx, id).await?.ok_or_else(|| Error::not_found("project", id))?;
    if caller.operator || caller.is_scoped_to(id) {
        return Ok(found);
    }
    let user = store::users::by_id(tx, &caller.user_id).await?;
    let scope = Scope::Tenant(id.to_owned());
    let roles = store::grants::of_user(tx, &caller.user_id).await?;
    let known = user.is_some_and(|user| user.tenant_id.as_deref() == Some(id))
        || roles.iter().any(|assignment| assignment.scope == scope);
    if known { Ok(found) } else { Err(Error::not_found("project", id)) }
}

impl Identity {
    /// Creates a tenant.
    pub(crate) async fn create_tenant(&self, caller: &Caller, new: NewTenant) -> Result<Tenant, Error> {
        check_operator(caller)?;
        check_acl_name("name", &new.name)?;
        check_scope_name("name", &new.name)?;
        check_text("description", &new.description)?;
        new.extra.check()?;
        let now = self.clock.now();
        self.db
            .write((caller.clone(), new), move |(caller, new), tx| {
                Box::pin(async move {
                    let domain_id = new.domain_id.clone().unwrap_or_else(|| "default".to_owned());
                    let domain = store::domains::by_id(tx, &domain_id).await?;
                    domain.ok_or_else(|| Error::not_found("domain", &domain_id))?;
                    let tenant = Tenant {
                        id: store::tenants::next_id(tx).await?,
                        name: new.name.clone(),
                        domain_id,
                        description: new.description.clone(),
                        enabled: new.enabled,
                        created: now,
                        extra: new.extra.clone(),
                    };
                    if !store::tenants::insert(tx, &tenant).await? {
                        return Err(taken(&tenant.name));
                    }
                    note(tx, now, caller, "tenant.create", &tenant.id, &tenant.name).await?;
                    Ok(tenant)
                })
            })
            .await
    }

    /// Returns a tenant that the caller may see.
    pub(crate) async fn tenant(&self, caller: &Caller, id: &str) -> Result<Tenant, Error> {
        let input = (caller.clone(), id.to_owned());
        self.db.read(input, |(caller, id), tx| Box::pin(visible_tenant(tx, caller, id))).await
    }

    /// Whether a tenant and its domain are enabled; `None` if there is no tenant with that id. For services that serve
    /// requests without a caller from the tenant, such as published objects.
    ///
    /// # Errors
    /// The database's.
    pub async fn tenant_enabled(&self, id: &str) -> Result<Option<bool>, database::Error> {
        self.db
            .read(id.to_owned(), |id, tx| {
                Box::pin(async move {
                    let Some(tenant) = store::tenants::by_id(tx, id).await? else { return Ok(None) };
                    let domain = store::domains::by_id(tx, &tenant.domain_id).await?;
                    Ok(Some(tenant.enabled && domain.is_some_and(|domain| domain.enabled)))
                })
            })
            .await
    }

    /// Returns the tenant of that name in the domain `default`, if the caller may see it.
    pub(crate) async fn tenant_named(&self, caller: &Caller, name: &str) -> Result<Tenant, Error> {
        self.db
            .read((caller.clone(), name.to_owned()), |(caller, name), tx| {
                Box::pin(async move {
                    let found = store::tenants::by_name(tx, DEFAULT_DOMAIN, name).await?;
                    let found = found.ok_or_else(|| Error::not_found("project", name))?;
                    visible_tenant(tx, caller, &found.id).await.map_err(|_| Error::not_found("project", name))
                })
            })
            .await
    }

    /// Returns all tenants for an operator, else those that the caller belongs to or has a role on.
    pub(crate) async fn tenants(&self, caller: &Caller, query: TenantQuery) -> Result<Listed<Tenant>, Error> {
        let page = page_of(query.marker.as_deref(), query.limit);
        let of_user = match query.of_user {
            Some(id) if id == caller.user_id || caller.operator => Some(id),
            Some(id) => Some(self.user(caller, &id).await?.id),
            None if caller.operator => None,
            None => Some(caller.user_id.clone()),
        };
        let filter = Filter { name: query.name, domain_id: query.domain_id, enabled: query.enabled, of_user };
        let strict = query.strict;
        self.db
            .scan((filter, page, caller.clone()), move |(filter, page, caller), tx| {
                Box::pin(async move {
                    let listed = Listed::of(store::tenants::list(tx, filter, page).await?, page);
                    if !strict || page.marker.is_empty() {
                        return Ok(listed);
                    }
                    visible_tenant(tx, caller, &page.marker).await?;
                    Ok(listed.after(&store::tenants::before(tx, filter, page).await?, page))
                })
            })
            .await
    }

    /// Changes a tenant. An operator may change everything, the account's owner its description. Disabling the tenant
    /// revokes its tokens.
    pub(crate) async fn update_tenant(
        &self,
        caller: &Caller,
        id: &str,
        change: ChangedTenant,
    ) -> Result<Tenant, Error> {
        if let Some(name) = &change.name {
            check_acl_name("name", name)?;
            check_scope_name("name", name)?;
        }
        change.description.as_deref().map_or(Ok(()), |text| check_text("description", text))?;
        let now = self.clock.now();
        let tenant = self
            .db
            .write((caller.clone(), id.to_owned(), change), move |(caller, id, change), tx| {
                Box::pin(async move {
                    let mut tenant = visible_tenant(tx, caller, id).await?;
                    let own = caller.may(id, Product::Identity, Right::Administer);
                    if change.name.is_some() || change.enabled.is_some() || !own {
                        check_operator(caller)?;
                    }
                    let c = change.clone();
                    tenant.name = c.name.unwrap_or(tenant.name);
                    tenant.description = c.description.unwrap_or(tenant.description);
                    tenant.enabled = c.enabled.unwrap_or(tenant.enabled);
                    tenant.extra.merge(&c.extra);
                    tenant.extra.check()?;
                    if !store::tenants::update(tx, &tenant).await? {
                        return Err(taken(&tenant.name));
                    }
                    if !tenant.enabled {
                        store::tokens::delete_of_scope(tx, &Scope::Tenant(id.clone())).await?;
                    }
                    note(tx, now, caller, "tenant.update", id, &tenant.name).await?;
                    Ok(tenant)
                })
            })
            .await?;
        self.forget_tenant(id);
        Ok(tenant)
    }

    /// Deletes a tenant with all roles on it. Its users stay, without a tenant (Keystone clears `default_project_id`).
    /// Enqueues a job that deletes the tenant's data in other services.
    pub(crate) async fn delete_tenant(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        check_operator(caller)?;
        let now = self.clock.now();
        self.db
            .write((caller.clone(), id.to_owned()), move |(caller, id), tx| {
                Box::pin(async move {
                    let tenant = visible_tenant(tx, caller, id).await?;
                    remove_tenant(tx, now, caller, &tenant).await
                })
            })
            .await?;
        self.sessions.forget_all();
        if let Some(runner) = self.runner.get() {
            runner.wake();
        }
        Ok(())
    }

    /// Returns an account with its session inactivity timeout (v2.0's domain).
    pub(crate) async fn account(&self, caller: &Caller, id: &str) -> Result<(Tenant, String), Error> {
        self.db
            .read((caller.clone(), id.to_owned()), |(caller, id), tx| {
                Box::pin(async move {
                    let tenant = visible_tenant(tx, caller, id).await?;
                    let timeout = store::tenants::session_timeout(tx, id).await?.unwrap_or_default();
                    Ok((tenant, timeout))
                })
            })
            .await
    }

    /// Sets an account's inactivity timeout, five minutes to a day.
    pub(crate) async fn set_session_timeout(
        &self,
        caller: &Caller,
        id: &str,
        timeout: &str,
    ) -> Result<(), Error> {
        let span: Result<jiff::SignedDuration, _> = timeout.parse();
        let within = |span: jiff::SignedDuration| (300..=86_400).contains(&span.as_secs());
        if !timeout.starts_with("PT") || !span.is_ok_and(within) {
            return Err(Error::invalid("sessionInactivityTimeout must be from PT5M to PT24H"));
        }
        let now = self.clock.now();
        self.db
            .write((caller.clone(), id.to_owned(), timeout.to_owned()), move |(caller, id, timeout), tx| {
                Box::pin(async move {
                    visible_tenant(tx, caller, id).await?;
                    if !caller.may(id, Product::Identity, Right::Administer) {
                        return Err(Error::forbidden(NOT_AUTHORIZED));
                    }
                    store::tenants::set_session_timeout(tx, id, timeout).await?;
                    note(tx, now, caller, "tenant.update", id, "session timeout").await
                })
            })
            .await
    }

    fn forget_tenant(&self, id: &str) {
        self.sessions.forget(|session| session.token.scope.tenant() == Some(id));
    }

    /// Returns the lifetime of this cloud's tokens.
    pub(crate) fn token_lifetime(&self) -> Duration {
        self.settings.token_lifetime
    }
}

/// Deletes a tenant with the roles and tokens on it, and enqueues a job for its data in other services.
pub(crate) async fn remove_tenant(
    tx: &mut Tx,
    now: work::Time,
    caller: &Caller,
    tenant: &Tenant,
) -> Result<(), Error> {
    let scope = Scope::Tenant(tenant.id.clone());
    store::grants::delete_scope(tx, &scope).await?;
    store::tokens::delete_of_scope(tx, &scope).await?;
    store::tenants::delete(tx, &tenant.id).await?;
    let job = NewJob {
        kind: TENANT_DELETED,
        subject: &tenant.id,
        payload: String::new(),
        due: now,
        deadline: now.after(patience()),
    };
    work::jobs::enqueue(tx, now, &job).await?;
    note(tx, now, caller, "tenant.delete", &tenant.id, &tenant.name).await
}

fn taken(name: &str) -> Error {
    Error::conflict(format!("A project named {name} already exists."))
}
