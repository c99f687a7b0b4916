//! `/v3/domains`.

use serde_json::{Value, json};

use crate::api::fields::Fields;
use crate::api::v3::Resource;
use crate::api::v3::crud::{self, Collection, ListQuery};
use crate::api::{Need, Shared, Table};
use crate::model::{Caller, Domain, Extra};
use crate::service::Listed;
use crate::service::domains::{ChangedDomain, DomainQuery};
use crate::service::error::Error;

pub(crate) fn add(table: Table) -> Table {
    crud::add::<Domain>(table)
}

impl Resource for Domain {
    const ONE: &'static str = "domain";
    const MANY: &'static str = "domains";

    fn id(&self) -> &str {
        &self.id
    }

    fn fields(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "enabled": self.enabled,
            "tags": [],
            "options": {},
        })
    }

    fn extra(&self) -> Option<&Extra> {
        Some(&self.extra)
    }
}

impl Collection for Domain {
    const PATH: &'static str = "/domains";
    const PATH_ONE: &'static str = "/domains/{domain_id}";
    const NEEDS: [Need; 3] = [Need::Operator; 3];
    // Tags are stored with the further attributes.
    const OWN: &'static [&'static str] = &["name", "description", "enabled"];

    async fn list(identity: &Shared, caller: &Caller, query: ListQuery<'_>) -> Result<Listed<Self>, Error> {
        let asked = query.asked;
        let query = DomainQuery {
            name: asked.text("name"),
            enabled: asked.flag("enabled"),
            marker: query.marker,
            limit: query.limit,
        };
        identity.domains(caller, query).await
    }

    async fn show(identity: &Shared, caller: &Caller, id: &str) -> Result<Self, Error> {
        identity.domain(caller, id).await
    }

    async fn create(
        identity: &Shared,
        caller: &Caller,
        given: &Fields<'_>,
        extra: Extra,
    ) -> Result<Self, Error> {
        let description = given.optional_text("description")?.unwrap_or_default();
        let enabled = given.optional_flag("enabled")?.unwrap_or(true);
        identity.create_domain(caller, &given.text("name")?, &description, enabled, extra).await
    }

    async fn update(
        identity: &Shared,
        caller: &Caller,
        id: &str,
        given: &Fields<'_>,
        extra: Extra,
    ) -> Result<Self, Error> {
        let change = ChangedDomain {
            name: given.optional_text("name")?,
            description: given.nullable_text("description")?.map(Option::unwrap_or_default),
            enabled: given.optional_flag("enabled")?,
            extra,
        };
        identity.update_domain(caller, id, change).await
    }

    async fn delete(identity: &Shared, caller: &Caller, id: &str) -> Result<(), Error> {
        identity.delete_domain(caller, id).await
    }
}
