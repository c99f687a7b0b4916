//! `/v3/projects`: tenants in v3's words.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::access::Access;
use crate::api::asked::Asked;
use crate::api::fields::{Fields, JsonBody};
use crate::api::v3::{Resource, limit, one, page};
use crate::api::{Answered, Need, Shared, Table, empty};
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
}

async fn list(State(identity): State<Shared>, access: Access, asked: Asked) -> Answered {
    let query = TenantQuery {
        name: asked.text("name"),
        domain_id: asked.text("domain_id"),
        enabled: asked.flag("enabled"),
        of_user: None,
        marker: asked.text("marker"),
        limit: limit(&asked)?,
        strict: false,
    };
    let listed = identity.tenants(&access.session.caller, query).await?;
    Ok(page(&identity, &asked, &listed))
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
    Ok(one(&identity, StatusCode::CREATED, &tenant))
}

async fn show(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    let tenant = identity.tenant(&access.session.caller, &id).await?;
    Ok(one(&identity, StatusCode::OK, &tenant))
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
    Ok(one(&identity, StatusCode::OK, &tenant))
}

async fn delete(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    identity.delete_tenant(&access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
