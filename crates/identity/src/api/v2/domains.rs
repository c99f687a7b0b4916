//! `/v2.0/RAX-AUTH/domains`: a domain of v2.0 is an account, so it has the tenant's id.

use axum::extract::{Path, State};
use http::Method;
use serde_json::{Value, json};
use web::xml::Element;

use crate::api::access::Access;
use crate::api::fields::{AnyBody, Fields};
use crate::api::v2::{Answer, RAX_AUTH};
use crate::api::{HandlerResult, Need, Shared, Table};
use crate::model::{Right, Tenant};
use crate::service::tenants::ChangedTenant;

pub(crate) fn add(table: Table) -> Table {
    let manage = Need::Account(Right::Administer);
    table
        .add(Method::GET, "/RAX-AUTH/domains", Need::Token, list)
        .add(Method::GET, "/RAX-AUTH/domains/{domain_id}", Need::Token, show)
        .add(Method::PUT, "/RAX-AUTH/domains/{domain_id}", manage, update)
        .add(Method::GET, "/users/{user_id}/RAX-AUTH/domains", Need::Token, of_user)
}

fn json_of(tenant: &Tenant, timeout: &str) -> Value {
    json!({
        "id": tenant.id,
        "name": tenant.name,
        "description": tenant.description,
        "enabled": tenant.enabled,
        "sessionInactivityTimeout": timeout,
        "domainMultiFactorEnforcementLevel": "OPTIONAL",
    })
}

fn xml_of(tenant: &Tenant, timeout: &str) -> Element {
    Element::new("rax-auth:domain")
        .attr("id", &tenant.id)
        .attr("name", &tenant.name)
        .attr("enabled", tenant.enabled)
        .attr("sessionInactivityTimeout", timeout)
        .child(Element::new("rax-auth:description").text(&tenant.description))
}

fn one(tenant: &Tenant, timeout: &str) -> Answer {
    let xml = xml_of(tenant, timeout).attr("xmlns:rax-auth", RAX_AUTH);
    Answer::ok(json!({"RAX-AUTH:domain": json_of(tenant, timeout)}), xml)
}

fn all(tenant: Option<(Tenant, String)>) -> Answer {
    let json: Vec<Value> = tenant.iter().map(|(tenant, timeout)| json_of(tenant, timeout)).collect();
    let xml = Element::new("rax-auth:domains")
        .attr("xmlns:rax-auth", RAX_AUTH)
        .children(tenant.iter().map(|(tenant, timeout)| xml_of(tenant, timeout)));
    Answer::ok(json!({"RAX-AUTH:domains": json}), xml)
}

/// Lists the token's account.
async fn list(State(identity): State<Shared>, access: Access) -> HandlerResult {
    let caller = &access.session.caller;
    let own = match &caller.tenant {
        Some(tenant) => Some(identity.account(caller, &tenant.id).await?),
        None => None,
    };
    Ok(all(own).in_format(access.format))
}

async fn of_user(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    let caller = &access.session.caller;
    let own = match identity.user(caller, &id).await?.tenant_id {
        Some(tenant) => Some(identity.account(caller, &tenant).await?),
        None => None,
    };
    Ok(all(own).in_format(access.format))
}

async fn show(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    let (tenant, timeout) = identity.account(&access.session.caller, &id).await?;
    Ok(one(&tenant, &timeout).in_format(access.format))
}

async fn update(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    AnyBody(body): AnyBody,
) -> HandlerResult {
    let given = Fields::inside(&body, "domain")?;
    let caller = &access.session.caller;
    let change = ChangedTenant {
        name: given.optional_text("name")?,
        description: given.optional_text("description")?,
        enabled: given.optional_flag("enabled")?,
        ..ChangedTenant::default()
    };
    let timeout = given.optional_text("sessionInactivityTimeout")?;
    if change != ChangedTenant::default() {
        identity.update_tenant(caller, &id, change).await?;
    }
    if let Some(timeout) = timeout {
        identity.set_session_timeout(caller, &id, &timeout).await?;
    }
    let (tenant, timeout) = identity.account(caller, &id).await?;
    Ok(one(&tenant, &timeout).in_format(access.format))
}
