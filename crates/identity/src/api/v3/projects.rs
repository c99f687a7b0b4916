//! `/v3/projects`: v3's name for tenants.

use serde_json::{Value, json};

use crate::api::fields::Fields;
use crate::api::v3::Resource;
use crate::api::v3::crud::{self, Collection, ListQuery};
use crate::api::{Need, Shared, Table};
use crate::model::{Caller, DEFAULT_DOMAIN, Extra, Right, Tenant};
use crate::service::Listed;
use crate::service::error::Error;
use crate::service::tenants::{ChangedTenant, NewTenant, TenantQuery};

pub(crate) fn add(table: Table) -> Table {
    crud::add::<Tenant>(table)
}

/// Rejects a domain other than the resource's own, because nothing moves between domains (Keystone).
pub(crate) fn same_domain(wanted: &str, own: &str) -> Result<(), Error> {
    if wanted == own { Ok(()) } else { Err(Error::invalid("Cannot change Domain ID")) }
}

impl Resource for Tenant {
    const ONE: &'static str = "project";
    const MANY: &'static str = "projects";

    fn id(&self) -> &str {
        &self.id
    }

    fn fields(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "domain_id": self.domain_id,
            "parent_id": self.domain_id,
            "description": self.description,
            "enabled": self.enabled,
            "is_domain": false,
            "tags": [],
            "options": {},
        })
    }

    fn extra(&self) -> Option<&Extra> {
        Some(&self.extra)
    }
}

impl Collection for Tenant {
    const PATH: &'static str = "/projects";
    const PATH_ONE: &'static str = "/projects/{project_id}";
    const NEEDS: [Need; 3] = [Need::Operator, Need::Account(Right::Administer), Need::Operator];
    // Tags are stored with the further attributes.
    const OWN: &'static [&'static str] =
        &["name", "description", "enabled", "domain_id", "parent_id", "is_domain"];

    async fn list(identity: &Shared, caller: &Caller, query: ListQuery<'_>) -> Result<Listed<Self>, Error> {
        let asked = query.asked;
        let query = TenantQuery {
            name: asked.text("name"),
            domain_id: asked.text("domain_id"),
            enabled: asked.flag("enabled"),
            of_user: None,
            marker: query.marker,
            limit: query.limit,
            strict: false,
        };
        identity.tenants(caller, query).await
    }

    async fn show(identity: &Shared, caller: &Caller, id: &str) -> Result<Self, Error> {
        identity.tenant(caller, id).await
    }

    async fn create(
        identity: &Shared,
        caller: &Caller,
        given: &Fields<'_>,
        extra: Extra,
    ) -> Result<Self, Error> {
        if given.optional_flag("is_domain")? == Some(true) {
            return Err(Error::invalid("project.is_domain: make domains by POST /v3/domains"));
        }
        // Projects cannot contain projects, so the parent is always the domain.
        let (domain, parent) = (given.optional_text("domain_id")?, given.optional_text("parent_id")?);
        let wrong = || Error::invalid("project.parent_id must be the project's domain");
        let domain = match (domain, parent) {
            (None, None) => DEFAULT_DOMAIN.to_owned(),
            (Some(domain), None) => domain,
            (Some(domain), Some(parent)) if domain == parent => domain,
            (Some(_), Some(_)) => return Err(wrong()),
            (None, Some(parent)) => match identity.domain(caller, &parent).await {
                Ok(domain) => domain.id,
                Err(Error::NotFound { .. }) => return Err(wrong()),
                Err(other) => return Err(other),
            },
        };
        let new = NewTenant {
            name: given.text("name")?,
            description: given.optional_text("description")?.unwrap_or_default(),
            enabled: given.optional_flag("enabled")?.unwrap_or(true),
            domain_id: Some(domain),
            extra,
        };
        match identity.create_tenant(caller, new).await {
            // The missing domain is an error in the request, not a missing resource (Keystone).
            Err(missing @ Error::NotFound { .. }) => Err(Error::invalid(missing.to_string())),
            other => other,
        }
    }

    async fn update(
        identity: &Shared,
        caller: &Caller,
        id: &str,
        given: &Fields<'_>,
        extra: Extra,
    ) -> Result<Self, Error> {
        let (domain, parent) = (given.optional_text("domain_id")?, given.optional_text("parent_id")?);
        if domain.is_some() || parent.is_some() || given.has("is_domain") {
            let own = identity.tenant(caller, id).await?.domain_id;
            domain.map_or(Ok(()), |domain| same_domain(&domain, &own))?;
            if parent.is_some_and(|parent| parent != own) {
                return Err(Error::forbidden("Update of `parent_id` is not allowed."));
            }
            if given.optional_flag("is_domain")? == Some(true) {
                return Err(Error::forbidden("Update of `is_domain` is not allowed."));
            }
        }
        let change = ChangedTenant {
            name: given.optional_text("name")?,
            description: given.nullable_text("description")?.map(Option::unwrap_or_default),
            enabled: given.optional_flag("enabled")?,
            extra,
        };
        identity.update_tenant(caller, id, change).await
    }

    async fn delete(identity: &Shared, caller: &Caller, id: &str) -> Result<(), Error> {
        identity.delete_tenant(caller, id).await
    }
}
