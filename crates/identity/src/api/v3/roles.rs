//! `/v3/roles`.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::access::Access;
use crate::api::fields::{Fields, JsonBody};
use crate::api::v3::{Asked, links};
use crate::api::{Answered, Need, Shared, Table, empty, json as answer};
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

/// A role (Keystone v3).
pub(crate) fn view(identity: &Shared, role: &Role) -> Value {
    json!({
        "id": role.id,
        "name": role.name,
        "domain_id": null,
        "description": role.description,
        "options": {},
        "links": links(identity, &format!("/roles/{}", role.id)),
    })
}

async fn list(State(identity): State<Shared>, _: Access, asked: Asked) -> Answered {
    let query = RoleQuery {
        name: asked.text("name"),
        marker: asked.text("marker"),
        limit: asked.limit()?,
        strict: false,
    };
    let listed = identity.roles(query).await?;
    // Roles of one domain are not made here, so none are in any.
    let shown = if asked.text("domain_id").is_some() { &[][..] } else { &listed.items };
    let next = shown.last().filter(|_| listed.more).map(|role| role.id.clone());
    let items = shown.iter().map(|role| view(&identity, role)).collect();
    Ok(asked.list(&identity, "roles", items, next.as_deref()))
}

async fn create(State(identity): State<Shared>, access: Access, JsonBody(body): JsonBody) -> Answered {
    let role = Fields::inside(&body, "role")?;
    let description = role.text_if("description")?.unwrap_or_default();
    let made = identity.create_role(&access.session.caller, &role.text("name")?, &description).await?;
    Ok(answer(StatusCode::CREATED, &json!({"role": view(&identity, &made)})))
}

async fn show(State(identity): State<Shared>, _: Access, Path(id): Path<String>) -> Answered {
    let role = identity.role(&id).await?;
    Ok(answer(StatusCode::OK, &json!({"role": view(&identity, &role)})))
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
    Ok(answer(StatusCode::OK, &json!({"role": view(&identity, &role)})))
}

async fn delete(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    identity.delete_role(&access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
