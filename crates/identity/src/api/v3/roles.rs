//! `/v3/roles`.

use serde_json::{Value, json};

use crate::api::fields::Fields;
use crate::api::v3::Resource;
use crate::api::v3::crud::{self, Collection, ListQuery};
use crate::api::{Need, Shared, Table};
use crate::model::{Caller, Extra, Role};
use crate::service::Listed;
use crate::service::error::Error;
use crate::service::roles::{ChangedRole, RoleQuery};

pub(crate) fn add(table: Table) -> Table {
    crud::add::<Role>(table)
}

impl Resource for Role {
    const ONE: &'static str = "role";
    const MANY: &'static str = "roles";

    fn id(&self) -> &str {
        &self.id
    }

    fn fields(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "domain_id": null,
            "description": self.description,
            "options": {},
        })
    }

    fn extra(&self) -> Option<&Extra> {
        Some(&self.extra)
    }
}

/// Rejects roles that belong to one domain, which are not supported.
fn of_no_domain(given: &Fields<'_>) -> Result<(), Error> {
    match given.optional_text("domain_id")? {
        Some(_) => Err(Error::invalid("role.domain_id: roles of one domain are not supported")),
        None => Ok(()),
    }
}

impl Collection for Role {
    const PATH: &'static str = "/roles";
    const PATH_ONE: &'static str = "/roles/{role_id}";
    const NEEDS: [Need; 3] = [Need::Operator; 3];
    const OWN: &'static [&'static str] = &["name", "description", "domain_id"];

    async fn list(identity: &Shared, _: &Caller, query: ListQuery<'_>) -> Result<Listed<Self>, Error> {
        let asked = query.asked;
        if asked.text("domain_id").is_some() {
            return Ok(Listed::whole(Vec::new()));
        }
        let query =
            RoleQuery { name: asked.text("name"), marker: query.marker, limit: query.limit, strict: false };
        identity.roles(query).await
    }

    async fn show(identity: &Shared, _: &Caller, id: &str) -> Result<Self, Error> {
        identity.role(id).await
    }

    async fn create(
        identity: &Shared,
        caller: &Caller,
        given: &Fields<'_>,
        extra: Extra,
    ) -> Result<Self, Error> {
        of_no_domain(given)?;
        let description = given.optional_text("description")?.unwrap_or_default();
        identity.create_role(caller, &given.text("name")?, &description, extra).await
    }

    async fn update(
        identity: &Shared,
        caller: &Caller,
        id: &str,
        given: &Fields<'_>,
        extra: Extra,
    ) -> Result<Self, Error> {
        of_no_domain(given)?;
        let change = ChangedRole {
            name: given.optional_text("name")?,
            description: given.nullable_text("description")?.map(Option::unwrap_or_default),
            extra,
        };
        identity.update_role(caller, id, change).await
    }

    async fn delete(identity: &Shared, caller: &Caller, id: &str) -> Result<(), Error> {
        identity.delete_role(caller, id).await
    }
}
