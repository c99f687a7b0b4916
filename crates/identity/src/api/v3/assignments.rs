//! Role assignments: `/v3/role_assignments`, and the grants on projects, domains and the system.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::access::Access;
use crate::api::asked::QueryParameters;
use crate::api::v3::{Resource, limit, links, listing};
use crate::api::{HandlerResult, Need, Shared, Table, empty};
use crate::model::{Right, Scope};
use crate::service::error::Error;
use crate::service::roles::{AssignmentQuery, NamedAssignment};

const ON_PROJECT: &str = "/projects/{place}/users/{user_id}/roles";
const ON_PROJECT_ONE: &str = "/projects/{place}/users/{user_id}/roles/{role_id}";
const ON_DOMAIN: &str = "/domains/{place}/users/{user_id}/roles";
const ON_DOMAIN_ONE: &str = "/domains/{place}/users/{user_id}/roles/{role_id}";
const ON_SYSTEM: &str = "/system/users/{user_id}/roles";
const ON_SYSTEM_ONE: &str = "/system/users/{user_id}/roles/{role_id}";

pub(crate) fn add(table: Table) -> Table {
    let manage = Need::Account(Right::Administer);
    table
        .add(Method::GET, "/role_assignments", Need::Token, list)
        .add(Method::GET, ON_PROJECT, Need::Token, on_project)
        .add(Method::GET, ON_PROJECT_ONE, Need::Token, check_on_project)
        .add(Method::PUT, ON_PROJECT_ONE, manage, give_on_project)
        .add(Method::DELETE, ON_PROJECT_ONE, manage, take_on_project)
        .add(Method::GET, ON_DOMAIN, Need::Token, on_domain)
        .add(Method::GET, ON_DOMAIN_ONE, Need::Token, check_on_domain)
        .add(Method::PUT, ON_DOMAIN_ONE, Need::Operator, give_on_domain)
        .add(Method::DELETE, ON_DOMAIN_ONE, Need::Operator, take_on_domain)
        .add(Method::GET, ON_SYSTEM, Need::Token, on_system)
        .add(Method::GET, ON_SYSTEM_ONE, Need::Token, check_on_system)
        .add(Method::PUT, ON_SYSTEM_ONE, Need::Operator, give_on_system)
        .add(Method::DELETE, ON_SYSTEM_ONE, Need::Operator, take_on_system)
}

type TwoIds = Path<(String, String)>;
type ThreeIds = Path<(String, String, String)>;

async fn list(State(identity): State<Shared>, access: Access, asked: QueryParameters) -> HandlerResult {
    let scope = asked
        .text("scope.project.id")
        .map(Scope::Tenant)
        .or_else(|| asked.text("scope.domain.id").map(Scope::Domain))
        .or_else(|| asked.text("scope.system").map(|_| Scope::Cloud));
    if asked.text("group.id").is_some() {
        return Ok(listing(&identity, &asked, "role_assignments", Vec::new(), None));
    }
    let query = AssignmentQuery {
        user_id: asked.text("user.id"),
        role_id: asked.text("role.id"),
        scope,
        marker: asked.text("marker"),
        limit: limit(&asked)?,
    };
    let (listed, next) = identity.assignments(&access.session.caller, query).await?;
    let names = asked.is_set("include_names");
    let items = listed.items.iter().map(|named| view(&identity, named, names)).collect();
    Ok(listing(&identity, &asked, "role_assignments", items, next.as_deref()))
}

/// Renders an assignment (Keystone v3), with names if requested.
fn view(identity: &Shared, named: &NamedAssignment, names: bool) -> Value {
    let assignment = &named.assignment;
    let mut user = json!({"id": assignment.user_id});
    let mut role = json!({"id": assignment.role.id});
    if names {
        user["name"] = json!(named.user.name);
        user["domain"] = json!({"id": named.user.domain_id, "name": named.user_domain});
        role["name"] = json!(assignment.role.name);
    }
    let place = named.place.as_ref().filter(|_| names);
    let scope = match &assignment.scope {
        Scope::Tenant(id) => match place {
            Some((name, Some((domain_id, domain)))) => {
                json!({"project": {"id": id, "name": name, "domain": {"id": domain_id, "name": domain}}})
            }
            _ => json!({"project": {"id": id}}),
        },
        Scope::Domain(id) => match place {
            Some((name, _)) => json!({"domain": {"id": id, "name": name}}),
            None => json!({"domain": {"id": id}}),
        },
        Scope::Cloud | Scope::Unscoped => json!({"system": {"all": true}}),
    };
    let place = match &assignment.scope {
        Scope::Tenant(id) => format!("/projects/{id}"),
        Scope::Domain(id) => format!("/domains/{id}"),
        Scope::Cloud | Scope::Unscoped => "/system".to_owned(),
    };
    let path = format!("{place}/users/{}/roles/{}", assignment.user_id, assignment.role.id);
    let link = links(identity, &path)["self"].clone();
    json!({"role": role, "user": user, "scope": scope, "links": {"assignment": link}})
}

async fn roles_in(
    identity: &Shared,
    access: &Access,
    asked: &QueryParameters,
    user_id: &str,
    scope: Scope,
) -> HandlerResult {
    let held = identity.roles_of(&access.session.caller, user_id, Some(&scope)).await?;
    let items = held.iter().map(|(role, _)| role.view(identity)).collect();
    Ok(listing(identity, asked, "roles", items, None))
}

async fn check(
    identity: &Shared,
    access: &Access,
    user_id: &str,
    role_id: &str,
    scope: Scope,
) -> HandlerResult {
    let held = identity.roles_of(&access.session.caller, user_id, Some(&scope)).await?;
    if held.iter().any(|(role, _)| role.id == role_id) {
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    Err(Error::not_found("role assignment", role_id).into())
}

async fn give(
    identity: &Shared,
    access: &Access,
    user_id: &str,
    role_id: &str,
    scope: Scope,
) -> HandlerResult {
    identity.grant_role(&access.session.caller, user_id, role_id, &scope).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn take(
    identity: &Shared,
    access: &Access,
    user_id: &str,
    role_id: &str,
    scope: Scope,
) -> HandlerResult {
    identity.revoke_role(&access.session.caller, user_id, role_id, &scope).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn on_project(
    State(identity): State<Shared>,
    access: Access,
    asked: QueryParameters,
    Path((place, user)): TwoIds,
) -> HandlerResult {
    roles_in(&identity, &access, &asked, &user, Scope::Tenant(place)).await
}

async fn check_on_project(
    State(identity): State<Shared>,
    access: Access,
    Path((place, user, role)): ThreeIds,
) -> HandlerResult {
    check(&identity, &access, &user, &role, Scope::Tenant(place)).await
}

async fn give_on_project(
    State(identity): State<Shared>,
    access: Access,
    Path((place, user, role)): ThreeIds,
) -> HandlerResult {
    give(&identity, &access, &user, &role, Scope::Tenant(place)).await
}

async fn take_on_project(
    State(identity): State<Shared>,
    access: Access,
    Path((place, user, role)): ThreeIds,
) -> HandlerResult {
    take(&identity, &access, &user, &role, Scope::Tenant(place)).await
}

async fn on_domain(
    State(identity): State<Shared>,
    access: Access,
    asked: QueryParameters,
    Path((place, user)): TwoIds,
) -> HandlerResult {
    roles_in(&identity, &access, &asked, &user, Scope::Domain(place)).await
}

async fn check_on_domain(
    State(identity): State<Shared>,
    access: Access,
    Path((place, user, role)): ThreeIds,
) -> HandlerResult {
    check(&identity, &access, &user, &role, Scope::Domain(place)).await
}

async fn give_on_domain(
    State(identity): State<Shared>,
    access: Access,
    Path((place, user, role)): ThreeIds,
) -> HandlerResult {
    give(&identity, &access, &user, &role, Scope::Domain(place)).await
}

async fn take_on_domain(
    State(identity): State<Shared>,
    access: Access,
    Path((place, user, role)): ThreeIds,
) -> HandlerResult {
    take(&identity, &access, &user, &role, Scope::Domain(place)).await
}

async fn on_system(
    State(identity): State<Shared>,
    access: Access,
    asked: QueryParameters,
    Path(user): Path<String>,
) -> HandlerResult {
    roles_in(&identity, &access, &asked, &user, Scope::Cloud).await
}

async fn check_on_system(
    State(identity): State<Shared>,
    access: Access,
    Path((user, role)): TwoIds,
) -> HandlerResult {
    check(&identity, &access, &user, &role, Scope::Cloud).await
}

async fn give_on_system(
    State(identity): State<Shared>,
    access: Access,
    Path((user, role)): TwoIds,
) -> HandlerResult {
    give(&identity, &access, &user, &role, Scope::Cloud).await
}

async fn take_on_system(
    State(identity): State<Shared>,
    access: Access,
    Path((user, role)): TwoIds,
) -> HandlerResult {
    take(&identity, &access, &user, &role, Scope::Cloud).await
}
