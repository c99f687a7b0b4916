//! Domains: v3's containers of tenants and users. Only operators manage them, but everyone may see their own.

use database::Tx;

use crate::model::{Caller, Domain, Extra, check_name, check_scope_name};
use crate::service::accounts::{check_operator, check_operator_remains};
use crate::service::error::Error;
use crate::service::tenants::remove_tenant;
use crate::service::text::check_text;
use crate::service::{Identity, Listed, note, page_of, secrets};
use crate::store;

/// Changes to a domain; `None` keeps the current value.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangedDomain {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) enabled: Option<bool>,
    /// Further attributes to set.
    pub(crate) extra: Extra,
}

/// Filters of a list of domains.
#[derive(Clone, Debug, Default)]
pub(crate) struct DomainQuery {
    pub(crate) name: Option<String>,
    pub(crate) enabled: Option<bool>,
    pub(crate) marker: Option<String>,
    pub(crate) limit: Option<i64>,
}

async fn visible_domain(tx: &mut Tx, caller: &Caller, id: &str) -> Result<Domain, Error> {
    let found = store::domains::by_id(tx, id).await?.ok_or_else(|| Error::not_found("domain", id))?;
    if caller.operator {
        return Ok(found);
    }
    let own = store::users::by_id(tx, &caller.user_id).await?.is_some_and(|user| user.domain_id == id);
    if own { Ok(found) } else { Err(Error::not_found("domain", id)) }
}

impl Identity {
    /// Creates a domain.
    pub(crate) async fn create_domain(
        &self,
        caller: &Caller,
        name: &str,
        description: &str,
        enabled: bool,
        extra: Extra,
    ) -> Result<Domain, Error> {
        check_operator(caller)?;
        check_name("name", name, false)?;
        check_scope_name("name", name)?;
        check_text("description", description)?;
        extra.check()?;
        let domain = Domain {
            id: secrets::new_id(),
            name: name.to_owned(),
            description: description.to_owned(),
            enabled,
            extra,
        };
        let now = self.clock.now();
        self.db
            .write((caller.clone(), domain), move |(caller, domain), tx| {
                Box::pin(async move {
                    if !store::domains::insert(tx, domain).await? {
                        return Err(taken(&domain.name));
                    }
                    note(tx, now, caller, "domain.create", &domain.id, &domain.name).await?;
                    Ok(domain.clone())
                })
            })
            .await
    }

    /// Returns a domain that the caller may see.
    pub(crate) async fn domain(&self, caller: &Caller, id: &str) -> Result<Domain, Error> {
        let input = (caller.clone(), id.to_owned());
        self.db.read(input, |(caller, id), tx| Box::pin(visible_domain(tx, caller, id))).await
    }

    /// Returns all domains for an operator, else the caller's own.
    pub(crate) async fn domains(&self, caller: &Caller, query: DomainQuery) -> Result<Listed<Domain>, Error> {
        let page = page_of(query.marker.as_deref(), query.limit);
        self.db
            .scan((caller.clone(), query, page), |(caller, query, page), tx| {
                Box::pin(async move {
                    if caller.operator {
                        let items =
                            store::domains::list(tx, query.name.as_deref(), query.enabled, page).await?;
                        return Ok(Listed::of(items, page));
                    }
                    let user = store::users::by_id(tx, &caller.user_id).await?;
                    let own = match user {
                        Some(user) => store::domains::by_id(tx, &user.domain_id).await?,
                        None => None,
                    };
                    let fits = |d: &Domain| {
                        query.name.as_ref().is_none_or(|name| *name == d.name)
                            && query.enabled.is_none_or(|enabled| enabled == d.enabled)
                    };
                    Ok(Listed::whole(own.into_iter().filter(fits).collect()))
                })
            })
            .await
    }

    /// Returns the domains that the caller's tokens can be scoped to.
    pub(crate) async fn domains_to_scope(&self, caller: &Caller) -> Result<Vec<Domain>, Error> {
        self.db
            .read(caller.user_id.clone(), |user_id, tx| {
                Box::pin(async move { Ok(store::domains::of_user(tx, user_id).await?) })
            })
            .await
    }

    /// Changes a domain.
    pub(crate) async fn update_domain(
        &self,
        caller: &Caller,
        id: &str,
        change: ChangedDomain,
    ) -> Result<Domain, Error> {
        check_operator(caller)?;
        if let Some(name) = &change.name {
            check_name("name", name, false)?;
            check_scope_name("name", name)?;
        }
        change.description.as_deref().map_or(Ok(()), |text| check_text("description", text))?;
        if id == "default" && change.enabled == Some(false) {
            return Err(Error::forbidden("The default domain cannot be disabled."));
        }
        let now = self.clock.now();
        let domain = self
            .db
            .write((caller.clone(), id.to_owned(), change), move |(caller, id, change), tx| {
                Box::pin(async move {
                    let mut domain = visible_domain(tx, caller, id).await?;
                    let c = change.clone();
                    domain.name = c.name.unwrap_or(domain.name);
                    domain.description = c.description.unwrap_or(domain.description);
                    domain.enabled = c.enabled.unwrap_or(domain.enabled);
                    domain.extra.merge(&c.extra);
                    domain.extra.check()?;
                    if !store::domains::update(tx, &domain).await? {
                        return Err(taken(&domain.name));
                    }
                    note(tx, now, caller, "domain.update", id, &domain.name).await?;
                    Ok(domain)
                })
            })
            .await?;
        self.sessions.forget_all();
        Ok(domain)
    }

    /// Deletes a disabled domain with its projects and users, as Keystone does.
    pub(crate) async fn delete_domain(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        check_operator(caller)?;
        let now = self.clock.now();
        self.db
            .write((caller.clone(), id.to_owned()), move |(caller, id), tx| {
                Box::pin(async move {
                    let domain = visible_domain(tx, caller, id).await?;
                    if domain.enabled || id == "default" {
                        return Err(Error::forbidden(
                            "Cannot delete a domain that is enabled, please disable it first.",
                        ));
                    }
                    for tenant in store::tenants::of_domain(tx, id).await? {
                        remove_tenant(tx, now, caller, &tenant).await?;
                    }
                    for user in store::users::of_domain(tx, id).await? {
                        store::users::delete(tx, &user).await?;
                        note(tx, now, caller, "user.delete", &user, "with its domain").await?;
                    }
                    check_operator_remains(tx).await?;
                    store::grants::delete_scope(tx, &crate::model::Scope::Domain(id.clone())).await?;
                    store::domains::delete(tx, id).await?;
                    note(tx, now, caller, "domain.delete", id, &domain.name).await
                })
            })
            .await?;
        self.sessions.forget_all();
        if let Some(runner) = self.runner.get() {
            runner.wake();
        }
        Ok(())
    }
}

fn taken(name: &str) -> Error {
    Error::conflict(format!("A domain named {name} already exists."))
}
