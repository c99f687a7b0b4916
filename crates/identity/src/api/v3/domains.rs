//! `/v3/domains`.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::access::Access;
use crate::api::asked::Asked;
use crate::api::fields::{Fields, JsonBody};
use crate::api::v3::{Resource, limit, one, page};
use crate::api::{Answered, Need, Shared, Table, empty};
use crate::model::Domain;
use crate::service::domains::{ChangedDomain, DomainQuery};

pub(crate) fn add(table: Table) -> Table {
    table
        .add(Method::GET, "/domains", Need::Token, list)
        .add(Method::POST, "/domains", Need::Operator, create)
        .add(Method::GET, "/domains/{domain_id}", Need::Token, show)
        .add(Method::PATCH, "/domains/{domain_id}", Need::Operator, update)
        .add(Method::DELETE, "/domains/{domain_id}", Need::Operator, delete)
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
}

async fn list(State(identity): State<Shared>, access: Access, asked: Asked) -> Answered {
    let query = DomainQuery {
        name: asked.text("name"),
        enabled: asked.flag("enabled"),
        marker: asked.text("marker"),
        limit: limit(&asked)?,
    };
    let listed = identity.domains(&access.session.caller, query).await?;
    Ok(page(&identity, &asked, &listed))
}

async fn create(State(identity): State<Shared>, access: Access, JsonBody(body): JsonBody) -> Answered {
    let domain = Fields::inside(&body, "domain")?;
    let description = domain.text_if("description")?.unwrap_or_default();
    let enabled = domain.flag_if("enabled")?.unwrap_or(true);
    let name = domain.text("name")?;
    let made = identity.create_domain(&access.session.caller, &name, &description, enabled).await?;
    Ok(one(&identity, StatusCode::CREATED, &made))
}

async fn show(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    let domain = identity.domain(&access.session.caller, &id).await?;
    Ok(one(&identity, StatusCode::OK, &domain))
}

async fn update(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Answered {
    let domain = Fields::inside(&body, "domain")?;
    let change = ChangedDomain {
        name: domain.text_if("name")?,
        description: domain.nullable_text("description")?.map(Option::unwrap_or_default),
        enabled: domain.flag_if("enabled")?,
    };
    let domain = identity.update_domain(&access.session.caller, &id, change).await?;
    Ok(one(&identity, StatusCode::OK, &domain))
}

async fn delete(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    identity.delete_domain(&access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
