//! `/v3/projects`: tenants in v3's words.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::access::Access;
use crate::api::fields::{Fields, JsonBody};
use crate::api::v3::{Asked, links};
use crate::api::{Answered, Need, Shared, Table, empty, json as answer};
use crate::model::{Right, Tenant};
use crate::service::tenants::{ChangedTenant, NewTenant, TenantQuery};

pub(crate) fn add(table: Table) -> Table {
    table
        .add(Method::GET, "/projects", Need::Token, list)
        .add(Method::POST, "/projects", Need::Operator, create)
        .add(Method::GET, "/projects/{project_id}", Need::Token, show)
        .add(Method::PATCH, "/projects/{project_id}", Need::Account(Right::Administer), update)
        .add(Method::DELETE, "/projects/{project_id}", Need::Operator, delete)
}

/// A project (Keystone v3).
pub(crate) fn view(identity: &Shared, tenant: &Tenant) -> Value {
    json!({
        "id": tenant.id,
        "name": tenant.name,
        "domain_id": tenant.domain_id,
        "parent_id": tenant.domain_id,
        "description": tenant.description,
        "enabled": tenant.enabled,
        "is_domain": false,
        "tags": [],
        "options": {},
        "links": links(identity, &format!("/projects/{}", tenant.id)),
    })
}

async fn list(State(identity): State<Shared>, access: Access, asked: Asked) -> Answered {
    let query = TenantQuery {
        name: asked.text("name"),
        domain_id: asked.text("domain_id"),
        enabled: asked.flag("enabled"),
        of_user: None,
        marker: asked.text("marker"),
        limit: asked.limit()?,
        strict: false,
    };
    let listed = identity.tenants(&access.session.caller, query).await?;
    let next = listed.items.last().filter(|_| listed.more).map(|tenant| tenant.id.clone());
    let items = listed.items.iter().map(|tenant| view(&identity, tenant)).collect();
    Ok(asked.list(&identity, "projects", items, next.as_deref()))
}

async fn create(State(identity): State<Shared>, access: Access, JsonBody(body): JsonBody) -> Answered {
    let project = Fields::inside(&body, "project")?;
    let new = NewTenant {
        name: project.text("name")?,
        description: project.text_if("description")?.unwrap_or_default(),
        enabled: project.flag_if("enabled")?.unwrap_or(true),
        domain_id: project.text_if("domain_id")?,
    };
    let tenant = identity.create_tenant(&access.session.caller, new).await?;
    Ok(answer(StatusCode::CREATED, &json!({"project": view(&identity, &tenant)})))
}

async fn show(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    let tenant = identity.tenant(&access.session.caller, &id).await?;
    Ok(answer(StatusCode::OK, &json!({"project": view(&identity, &tenant)})))
}

async fn update(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Answered {
    let project = Fields::inside(&body, "project")?;
    let change = ChangedTenant {
        name: project.text_if("name")?,
        description: project.nullable_text("description")?.map(Option::unwrap_or_default),
        enabled: project.flag_if("enabled")?,
    };
    let tenant = identity.update_tenant(&access.session.caller, &id, change).await?;
    Ok(answer(StatusCode::OK, &json!({"project": view(&identity, &tenant)})))
}

async fn delete(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    identity.delete_tenant(&access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
