//! `/v3/domains`.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::access::Access;
use crate::api::fields::{Fields, JsonBody};
use crate::api::v3::{Asked, links};
use crate::api::{Answered, Need, Shared, Table, empty, json as answer};
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

/// A domain (Keystone v3).
pub(crate) fn view(identity: &Shared, domain: &Domain) -> Value {
    json!({
        "id": domain.id,
        "name": domain.name,
        "description": domain.description,
        "enabled": domain.enabled,
        "tags": [],
        "options": {},
        "links": links(identity, &format!("/domains/{}", domain.id)),
    })
}

async fn list(State(identity): State<Shared>, access: Access, asked: Asked) -> Answered {
    let query = DomainQuery {
        name: asked.text("name"),
        enabled: asked.flag("enabled"),
        marker: asked.text("marker"),
        limit: asked.limit()?,
    };
    let listed = identity.domains(&access.session.caller, query).await?;
    let next = listed.items.last().filter(|_| listed.more).map(|domain| domain.id.clone());
    let items = listed.items.iter().map(|domain| view(&identity, domain)).collect();
    Ok(asked.list(&identity, "domains", items, next.as_deref()))
}

async fn create(State(identity): State<Shared>, access: Access, JsonBody(body): JsonBody) -> Answered {
    let domain = Fields::inside(&body, "domain")?;
    let description = domain.text_if("description")?.unwrap_or_default();
    let enabled = domain.flag_if("enabled")?.unwrap_or(true);
    let name = domain.text("name")?;
    let made = identity.create_domain(&access.session.caller, &name, &description, enabled).await?;
    Ok(answer(StatusCode::CREATED, &json!({"domain": view(&identity, &made)})))
}

async fn show(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    let domain = identity.domain(&access.session.caller, &id).await?;
    Ok(answer(StatusCode::OK, &json!({"domain": view(&identity, &domain)})))
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
    Ok(answer(StatusCode::OK, &json!({"domain": view(&identity, &domain)})))
}

async fn delete(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    identity.delete_domain(&access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
