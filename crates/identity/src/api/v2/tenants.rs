//! `/v2.0/tenants`.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use web::xml::Element;

use crate::api::access::Access;
use crate::api::asked::QueryParameters;
use crate::api::fields::{AnyBody, Fields};
use crate::api::v2::{Answer, XMLNS, limit, links, users};
use crate::api::{HandlerResult, Need, Shared, Table, empty};
use crate::model::{Right, Tenant};
use crate::service::tenants::{ChangedTenant, NewTenant, TenantQuery};
use crate::service::users::UserQuery;

pub(crate) fn add(table: Table) -> Table {
    table
        .add(Method::GET, "/tenants", Need::Token, list)
        .add(Method::POST, "/tenants", Need::Operator, create)
        .add(Method::GET, "/tenants/{tenant_id}", Need::Token, show)
        .add(Method::POST, "/tenants/{tenant_id}", Need::Operator, update)
        .add(Method::PUT, "/tenants/{tenant_id}", Need::Operator, update)
        .add(Method::DELETE, "/tenants/{tenant_id}", Need::Operator, delete)
        .add(Method::GET, "/tenants/{tenant_id}/users", Need::Account(Right::Observe), list_users)
}

fn json_of(tenant: &Tenant) -> Value {
    json!({
        "id": tenant.id, "name": tenant.name, "enabled": tenant.enabled, "description": tenant.description,
    })
}

fn xml_of(tenant: &Tenant) -> Element {
    let element = Element::new("tenant")
        .attr("id", &tenant.id)
        .attr("name", &tenant.name)
        .attr("enabled", tenant.enabled);
    if tenant.description.is_empty() {
        return element;
    }
    element.child(Element::new("description").text(&tenant.description))
}

fn one(status: StatusCode, tenant: &Tenant) -> Answer {
    Answer { status, json: json!({"tenant": json_of(tenant)}), xml: xml_of(tenant).attr("xmlns", XMLNS) }
}

/// Lists the tenants of the token's user; for an operator all of them, as on Keystone's admin port.
async fn list(State(identity): State<Shared>, access: Access, asked: QueryParameters) -> HandlerResult {
    let caller = &access.session.caller;
    if let Some(name) = asked.text("name") {
        let tenant = identity.tenant_named(caller, &name).await?;
        return Ok(one(StatusCode::OK, &tenant).in_format(access.format));
    }
    let query = TenantQuery {
        marker: asked.text("marker"),
        limit: limit(&asked)?,
        strict: true,
        ..TenantQuery::default()
    };
    let listed = identity.tenants(caller, query).await?;
    let next = listed.items.last().filter(|_| listed.more).map(|tenant| tenant.id.clone());
    let links = links(&identity, &asked, next.as_deref(), listed.previous.as_deref());
    let json = listed.items.iter().map(json_of).collect();
    let xml = listed.items.iter().map(xml_of).collect();
    Ok(Answer::list("tenants", json, xml, links).in_format(access.format))
}

async fn create(State(identity): State<Shared>, access: Access, AnyBody(body): AnyBody) -> HandlerResult {
    let given = Fields::inside(&body, "tenant")?;
    let new = NewTenant {
        name: given.text("name")?,
        description: given.optional_text("description")?.unwrap_or_default(),
        enabled: given.optional_flag("enabled")?.unwrap_or(true),
        ..NewTenant::default()
    };
    let tenant = identity.create_tenant(&access.session.caller, new).await?;
    Ok(one(StatusCode::CREATED, &tenant).in_format(access.format))
}

async fn show(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    let tenant = identity.tenant(&access.session.caller, &id).await?;
    Ok(one(StatusCode::OK, &tenant).in_format(access.format))
}

async fn update(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    AnyBody(body): AnyBody,
) -> HandlerResult {
    let given = Fields::inside(&body, "tenant")?;
    let change = ChangedTenant {
        name: given.optional_text("name")?,
        description: given.nullable_text("description")?.map(Option::unwrap_or_default),
        enabled: given.optional_flag("enabled")?,
        ..ChangedTenant::default()
    };
    let tenant = identity.update_tenant(&access.session.caller, &id, change).await?;
    Ok(one(StatusCode::OK, &tenant).in_format(access.format))
}

async fn delete(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    identity.delete_tenant(&access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn list_users(
    State(identity): State<Shared>,
    access: Access,
    asked: QueryParameters,
    Path(id): Path<String>,
) -> HandlerResult {
    let query = UserQuery {
        marker: asked.text("marker"),
        limit: limit(&asked)?,
        strict: true,
        ..UserQuery::default()
    };
    let listed = identity.users_on_tenant(&access.session.caller, &id, &query).await?;
    let next = listed.items.last().filter(|_| listed.more).map(|user| user.id.clone());
    let links = links(&identity, &asked, next.as_deref(), listed.previous.as_deref());
    let json = listed.items.iter().map(|user| users::json_of(&identity, user)).collect();
    let xml = listed.items.iter().map(|user| users::xml_of(&identity, user, false)).collect();
    Ok(Answer::list("users", json, xml, links).in_format(access.format))
}
