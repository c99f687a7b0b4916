//! `/v3/roles`.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::access::Access;
use crate::api::asked::Asked;
use crate::api::fields::{Fields, JsonBody};
use crate::api::v3::{Resource, limit, listing, one};
use crate::api::{Answered, Need, Shared, Table, empty};
use crate::model::Role;
use crate::service::roles::{ChangedRole, RoleQuery};

pub(crate) fn add(table: Table) -> Table {
    table
        .add(Method::GET, "/roles", Need::Token, list)
        .add(Method::POST, "/roles", Need::Operator, create)
        .add(Method::GET, "/roles/{role_id}", Need::Token, show)
        .add(Method::PATCH, "/roles/{role_id}", Need::Operator, update)
        .add(Method::DELETE, "/roles/{role_id}", Need::Operator, delete)
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
}

async fn list(State(identity): State<Shared>, _: Access, asked: Asked) -> Answered {
    let query = RoleQuery {
        name: asked.text("name"),
        marker: asked.text("marker"),
        limit: limit(&asked)?,
        strict: false,
    };
    let listed = identity.roles(query).await?;
    // Roles of one domain are not made here, so none are in any.
    let shown = if asked.text("domain_id").is_some() { &[][..] } else { &listed.items };
    let next = shown.last().filter(|_| listed.more).map(|role| role.id.clone());
    let items = shown.iter().map(|role| role.view(&identity)).collect();
    Ok(listing(&identity, &asked, "roles", items, next.as_deref()))
}

async fn create(State(identity): State<Shared>, access: Access, JsonBody(body): JsonBody) -> Answered {
    let role = Fields::inside(&body, "role")?;
    let description = role.text_if("description")?.unwrap_or_default();
    let made = identity.create_role(&access.session.caller, &role.text("name")?, &description).await?;
    Ok(one(&identity, StatusCode::CREATED, &made))
}

async fn show(State(identity): State<Shared>, _: Access, Path(id): Path<String>) -> Answered {
    let role = identity.role(&id).await?;
    Ok(one(&identity, StatusCode::OK, &role))
}

async fn update(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Answered {
    let role = Fields::inside(&body, "role")?;
    let change = ChangedRole {
        name: role.text_if("name")?,
        description: role.nullable_text("description")?.map(Option::unwrap_or_default),
    };
    let role = identity.update_role(&access.session.caller, &id, change).await?;
    Ok(one(&identity, StatusCode::OK, &role))
}

async fn delete(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    identity.delete_role(&access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
