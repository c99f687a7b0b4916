//! `/v2.0/OS-KSADM/roles` and the roles of users.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use web::xml::Element;

use crate::api::access::Access;
use crate::api::asked::QueryParameters;
use crate::api::fields::{AnyBody, Fields};
use crate::api::v2::{Answer, RAX_AUTH, XMLNS, limit, links, users};
use crate::api::{HandlerResult, Need, Shared, Table, empty};
use crate::model::{Right, Role, Scope};
use crate::service::error::Error;
use crate::service::roles::RoleQuery;

const OF_USER: &str = "/users/{user_id}/roles";
const OF_USER_ONE: &str = "/users/{user_id}/roles/OS-KSADM/{role_id}";
const ON_TENANT: &str = "/tenants/{tenant_id}/users/{user_id}/roles";
const ON_TENANT_ONE: &str = "/tenants/{tenant_id}/users/{user_id}/roles/OS-KSADM/{role_id}";
const ASSIGNMENTS: &str = "/users/{user_id}/RAX-AUTH/roles";

pub(crate) fn add(table: Table) -> Table {
    let manage = Need::Account(Right::Administer);
    table
        .add(Method::GET, "/OS-KSADM/roles", Need::Token, list)
        .add(Method::GET, "/OS-KSADM/roles/{role_id}", Need::Token, show)
        .add(Method::GET, "/OS-KSADM/roles/{role_id}/RAX-AUTH/users", manage, holders)
        .add(Method::GET, OF_USER, Need::Token, of_user)
        .add(Method::PUT, OF_USER_ONE, manage, give)
        .add(Method::DELETE, OF_USER_ONE, manage, take)
        .add(Method::GET, ON_TENANT, Need::Token, on_tenant)
        .add(Method::PUT, ON_TENANT_ONE, manage, give_on_tenant)
        .add(Method::DELETE, ON_TENANT_ONE, manage, take_on_tenant)
        .add(Method::GET, ASSIGNMENTS, Need::Token, assignments)
        .add(Method::PUT, ASSIGNMENTS, manage, assign)
}

fn json_of(role: &Role, tenant_id: Option<&str>) -> Value {
    let mut json = json!({"id": role.id, "name": role.name, "description": role.description});
    if let Some(tenant_id) = tenant_id {
        json["tenantId"] = json!(tenant_id);
    }
    json
}

fn xml_of(role: &Role, tenant_id: Option<&str>) -> Element {
    Element::new("role")
        .attr("id", &role.id)
        .attr("name", &role.name)
        .attr("description", &role.description)
        .attr_if("tenantId", tenant_id)
}

async fn list(State(identity): State<Shared>, access: Access, asked: QueryParameters) -> HandlerResult {
    let query = RoleQuery {
        name: asked.text("roleName"),
        marker: asked.text("marker"),
        limit: limit(&asked)?,
        strict: true,
    };
    let listed = identity.roles(query).await?;
    let next = listed.items.last().filter(|_| listed.more).map(|role| role.id.clone());
    let links = links(&identity, &asked, next.as_deref(), listed.previous.as_deref());
    let json = listed.items.iter().map(|role| json_of(role, None)).collect();
    let xml = listed.items.iter().map(|role| xml_of(role, None)).collect();
    Ok(Answer::list("roles", json, xml, links).in_format(access.format))
}

async fn show(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    let role = identity.role(&id).await?;
    let xml = xml_of(&role, None).attr("xmlns", XMLNS);
    Ok(Answer::ok(json!({"role": json_of(&role, None)}), xml).in_format(access.format))
}

async fn holders(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    let found = identity.holders_of(&access.session.caller, &id).await?;
    let json = found.iter().map(|user| users::json_of(&identity, user)).collect();
    let xml = found.iter().map(|user| users::xml_of(&identity, user, false)).collect();
    Ok(Answer::list("users", json, xml, Vec::new()).in_format(access.format))
}

async fn show_roles(identity: &Shared, access: &Access, user: &str, scope: Option<Scope>) -> HandlerResult {
    let held = identity.roles_of(&access.session.caller, user, scope.as_ref()).await?;
    let json = held.iter().map(|(role, scope)| json_of(role, scope.tenant())).collect();
    let xml = held.iter().map(|(role, scope)| xml_of(role, scope.tenant())).collect();
    Ok(Answer::list("roles", json, xml, Vec::new()).in_format(access.format))
}

async fn of_user(State(identity): State<Shared>, access: Access, Path(user): Path<String>) -> HandlerResult {
    show_roles(&identity, &access, &user, None).await
}

async fn on_tenant(
    State(identity): State<Shared>,
    access: Access,
    Path((tenant, user)): Path<(String, String)>,
) -> HandlerResult {
    show_roles(&identity, &access, &user, Some(Scope::Tenant(tenant))).await
}

/// Returns the scope of a role without a tenant: the user's own account, since v2.0's users know no other.
async fn own_account(identity: &Shared, access: &Access, user: &str) -> Result<Scope, Error> {
    let found = identity.user(&access.session.caller, user).await?;
    let tenant = found.tenant_id.ok_or_else(|| Error::invalid("the user has no account"))?;
    Ok(Scope::Tenant(tenant))
}

async fn give(
    State(identity): State<Shared>,
    access: Access,
    Path((user, role)): Path<(String, String)>,
) -> HandlerResult {
    let scope = own_account(&identity, &access, &user).await?;
    given(&identity, &access, &user, &role, scope).await
}

async fn given(identity: &Shared, access: &Access, user: &str, role: &str, scope: Scope) -> HandlerResult {
    let role = identity.grant_role(&access.session.caller, user, role, &scope).await?;
    let xml = xml_of(&role, scope.tenant()).attr("xmlns", XMLNS);
    Ok(Answer::ok(json!({"role": json_of(&role, scope.tenant())}), xml).in_format(access.format))
}

async fn take(
    State(identity): State<Shared>,
    access: Access,
    Path((user, role)): Path<(String, String)>,
) -> HandlerResult {
    let scope = own_account(&identity, &access, &user).await?;
    identity.revoke_role(&access.session.caller, &user, &role, &scope).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn give_on_tenant(
    State(identity): State<Shared>,
    access: Access,
    Path((tenant, user, role)): Path<(String, String, String)>,
) -> HandlerResult {
    given(&identity, &access, &user, &role, Scope::Tenant(tenant)).await
}

async fn take_on_tenant(
    State(identity): State<Shared>,
    access: Access,
    Path((tenant, user, role)): Path<(String, String, String)>,
) -> HandlerResult {
    identity.revoke_role(&access.session.caller, &user, &role, &Scope::Tenant(tenant)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Lists roles, each with the tenants on which it applies (RAX-AUTH).
async fn assignments(
    State(identity): State<Shared>,
    access: Access,
    Path(user): Path<String>,
) -> HandlerResult {
    let held = identity.roles_of(&access.session.caller, &user, None).await?;
    let mut merged: Vec<(Role, Vec<String>)> = Vec::new();
    for (role, scope) in held {
        let place = scope.tenant().map_or_else(|| "*".to_owned(), str::to_owned);
        match merged.iter_mut().find(|(known, _)| known.id == role.id) {
            Some((_, places)) => places.push(place),
            None => merged.push((role, vec![place])),
        }
    }
    let json: Vec<Value> = merged
        .iter()
        .map(|(role, places)| json!({"onRole": role.id, "onRoleName": role.name, "forTenants": places}))
        .collect();
    let xml = merged.iter().map(|(role, places)| {
        Element::new("rax-auth:tenantAssignment")
            .attr("onRole", &role.id)
            .attr("onRoleName", &role.name)
            .attr("forTenants", places.join(" "))
    });
    let xml = Element::new("rax-auth:roleAssignments")
        .attr("xmlns:rax-auth", RAX_AUTH)
        .child(Element::new("rax-auth:tenantAssignments").children(xml));
    let json = json!({"RAX-AUTH:roleAssignments": {"tenantAssignments": json}});
    Ok(Answer::ok(json, xml).in_format(access.format))
}

async fn assign(
    State(identity): State<Shared>,
    access: Access,
    Path(user): Path<String>,
    AnyBody(body): AnyBody,
) -> HandlerResult {
    let given = Fields::inside(&body, "roleAssignments")?;
    // XML wraps each assignment in an element.
    let items = match given.optional_object("tenantAssignments") {
        Ok(Some(wrapper)) => wrapper.objects("tenantAssignment")?,
        _ => given.objects("tenantAssignments")?,
    };
    for item in items {
        let role = item.text("onRole")?;
        let places = match item.optional_text("forTenants") {
            Ok(Some(text)) => text.split_whitespace().map(str::to_owned).collect(),
            _ => item.texts("forTenants")?,
        };
        for place in places {
            let scope = match place.as_str() {
                "*" => own_account(&identity, &access, &user).await?,
                _ => Scope::Tenant(place),
            };
            identity.grant_role(&access.session.caller, &user, &role, &scope).await?;
        }
    }
    assignments(State(identity), access, Path(user)).await
}
