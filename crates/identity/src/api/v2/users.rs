//! `/v2.0/users`: an account's users.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use web::xml::Element;

use crate::api::access::{Access, Origin, header};
use crate::api::asked::QueryParameters;
use crate::api::fields::{AnyBody, Fields};
use crate::api::v2::{Answer, RAX_AUTH, XMLNS, header_answer, limit, links};
use crate::api::{HandlerResult, Need, Shared, Table, empty};
use crate::model::{Right, User};
use crate::service::error::Error;
use crate::service::resets::ResetError;
use crate::service::secrets::random_hex;
use crate::service::signin::IdOrName;
use crate::service::users::{ChangedUser, NewUser, UserQuery};

pub(crate) fn add(table: Table) -> Table {
    let manage = Need::Account(Right::Administer);
    table
        .add(Method::GET, "/users", Need::Token, list)
        .add(Method::POST, "/users", manage, create)
        .add(Method::GET, "/users/{user_id}", Need::Token, show)
        .add(Method::POST, "/users/{user_id}", manage, update)
        .add(Method::PUT, "/users/{user_id}", manage, update)
        .add(Method::DELETE, "/users/{user_id}", manage, delete)
        .add(Method::GET, "/users/{user_id}/RAX-AUTH/admins", Need::Token, admins)
        .add(Method::POST, "/users/RAX-AUTH/change-pwd", Need::Open, change_password)
        .add(Method::POST, "/users/RAX-AUTH/forgot-pwd", Need::Open, forgot_password)
        .add(Method::POST, "/users/RAX-AUTH/pwd-reset", Need::Open, reset_password)
}

/// Renders a user in JSON.
pub(crate) fn json_of(identity: &Shared, user: &User) -> Value {
    json!({
        "id": user.id,
        "username": user.name,
        "name": user.name,
        "email": user.email,
        "enabled": user.enabled,
        "tenantId": user.tenant_id,
        "created": user.created.iso_millis(),
        "RAX-AUTH:defaultRegion": user.region.as_ref().unwrap_or(&identity.settings().region),
        "RAX-AUTH:domainId": user.tenant_id,
        "RAX-AUTH:multiFactorEnabled": false,
    })
}

/// Renders a user in XML, as the root of a document or in a list.
pub(crate) fn xml_of(identity: &Shared, user: &User, root: bool) -> Element {
    let element = Element::new("user");
    let element = if root { element.attr("xmlns", XMLNS).attr("xmlns:RAX-AUTH", RAX_AUTH) } else { element };
    element
        .attr("id", &user.id)
        .attr("username", &user.name)
        .attr_if("email", user.email.as_ref())
        .attr("enabled", user.enabled)
        .attr("created", user.created.iso_millis())
        .attr("RAX-AUTH:defaultRegion", user.region.as_ref().unwrap_or(&identity.settings().region))
        .attr_if("RAX-AUTH:domainId", user.tenant_id.as_ref())
        .attr("RAX-AUTH:multiFactorEnabled", false)
}

fn one(identity: &Shared, status: StatusCode, user: &User) -> Answer {
    Answer { status, json: json!({"user": json_of(identity, user)}), xml: xml_of(identity, user, true) }
}

/// Lists users. A query by name returns the user itself.
async fn list(State(identity): State<Shared>, access: Access, asked: QueryParameters) -> HandlerResult {
    let caller = &access.session.caller;
    if let Some(name) = asked.text("name") {
        let user = identity.user_named(caller, &name).await?;
        return Ok(one(&identity, StatusCode::OK, &user).in_format(access.format));
    }
    let query = UserQuery {
        email: asked.text("email"),
        marker: asked.text("marker"),
        limit: limit(&asked)?,
        strict: true,
        ..UserQuery::default()
    };
    let listed = identity.users(caller, query).await?;
    let next = listed.items.last().filter(|_| listed.more).map(|user| user.id.clone());
    let links = links(&identity, &asked, next.as_deref(), listed.previous.as_deref());
    let json = listed.items.iter().map(|user| json_of(&identity, user)).collect();
    let xml = listed.items.iter().map(|user| xml_of(&identity, user, false)).collect();
    Ok(Answer::list("users", json, xml, links).in_format(access.format))
}

/// Checks v2.0's own rules for names and passwords, which are stricter than the cloud's.
fn check(name: Option<&str>, password: Option<&str>) -> Result<(), Error> {
    if let Some(name) = name {
        let rest = |c: char| c.is_ascii_alphanumeric() || "-_@.".contains(c);
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(rest) {
            return Err(Error::invalid(
                "username must start with a letter and contain letters, digits, '-', '_', '@' and '.' only",
            ));
        }
    }
    if password.is_some_and(|password| password.chars().count() < 8) {
        return Err(Error::invalid("password must have at least 8 characters"));
    }
    Ok(())
}

async fn create(State(identity): State<Shared>, access: Access, AnyBody(body): AnyBody) -> HandlerResult {
    let given = Fields::inside(&body, "user")?;
    let name = match given.optional_text("username")? {
        Some(name) => name,
        None => given.text("name")?,
    };
    let password = given.optional_text("password")?;
    check(Some(&name), password.as_deref())?;
    let caller = &access.session.caller;
    let made_up = if password.is_none() { Some(format!("{}aA1", random_hex::<8>()?)) } else { None };
    // Keystone's own clients name the tenant. An account's owner creates users in the owner's account.
    let tenant_id = match given.optional_text("tenantId")? {
        Some(id) => Some(id),
        None => given.optional_text("domainId")?,
    };
    let new = NewUser {
        name,
        email: given.optional_text("email")?,
        enabled: given.optional_flag("enabled")?.unwrap_or(true),
        tenant_id: tenant_id.or_else(|| caller.tenant.as_ref().map(|tenant| tenant.id.clone())),
        password: password.or_else(|| made_up.clone()),
        region: given.optional_text("defaultRegion")?,
        roles: vec!["identity:default".to_owned()],
        ..NewUser::default()
    };
    let (user, _) = identity.create_user(caller, new).await?;
    let mut answer = one(&identity, StatusCode::CREATED, &user);
    if let Some(password) = made_up {
        answer.json["user"]["OS-KSADM:password"] = json!(password);
        answer.xml = answer
            .xml
            .attr("xmlns:OS-KSADM", "http://docs.openstack.org/identity/api/ext/OS-KSADM/v1.0")
            .attr("OS-KSADM:password", password);
    }
    Ok(answer.in_format(access.format))
}

async fn show(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    let user = identity.user(&access.session.caller, &id).await?;
    Ok(one(&identity, StatusCode::OK, &user).in_format(access.format))
}

async fn update(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    AnyBody(body): AnyBody,
) -> HandlerResult {
    let given = Fields::inside(&body, "user")?;
    let name = match given.optional_text("username")? {
        Some(name) => Some(name),
        None => given.optional_text("name")?,
    };
    let password = given.optional_text("password")?;
    check(name.as_deref(), password.as_deref())?;
    let change = ChangedUser {
        name,
        email: given.nullable_text("email")?,
        enabled: given.optional_flag("enabled")?,
        password,
        region: given.nullable_text("defaultRegion")?,
        ..ChangedUser::default()
    };
    let user = identity.update_user(&access.session.caller, &id, change).await?;
    Ok(one(&identity, StatusCode::OK, &user).in_format(access.format))
}

async fn delete(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    identity.delete_user(&access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn admins(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    let admins = identity.admins_of(&access.session.caller, &id).await?;
    let json = admins.iter().map(|user| json_of(&identity, user)).collect();
    let xml = admins.iter().map(|user| xml_of(&identity, user, false)).collect();
    Ok(Answer::list("users", json, xml, Vec::new()).in_format(access.format))
}

/// Changes a password. Needs no token, since the current password proves who the caller is.
async fn change_password(
    State(identity): State<Shared>,
    origin: Origin,
    AnyBody(body): AnyBody,
) -> HandlerResult {
    let given = Fields::inside(&body, "changePasswordCredentials")?;
    let (name, old, new) = (given.text("username")?, given.text("password")?, given.text("newPassword")?);
    check(None, Some(&new))?;
    if old == new {
        return Err(Error::invalid("newPassword must differ from the present one").into());
    }
    identity.change_password(&IdOrName::name(&name), &old, &new, origin.address).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Always returns 204, so that the response does not reveal which users exist. `portal` is ignored, because there is no web
/// portal.
async fn forgot_password(State(identity): State<Shared>, AnyBody(body): AnyBody) -> HandlerResult {
    let given = Fields::inside(&body, "forgotPasswordCredentials")?;
    let name = given.text("username")?;
    identity.forgot_password(&name);
    Ok(header_answer(StatusCode::NO_CONTENT, "x-user-name", &name))
}

/// Sets a new password. The mailed token authorises this; any other token gets 403.
async fn reset_password(
    State(identity): State<Shared>,
    headers: http::HeaderMap,
    AnyBody(body): AnyBody,
) -> HandlerResult {
    let token = header(&headers, "x-auth-token").ok_or(Error::Token)?;
    let password = Fields::inside(&body, "passwordReset")?.text("password")?;
    check(None, Some(&password))?;
    match identity.reset_password(token, &password).await {
        Ok(name) => Ok(header_answer(StatusCode::NO_CONTENT, "x-user-name", &name)),
        Err(ResetError::NoToken) => Err(Error::Token.into()),
        Err(ResetError::OtherToken) => {
            Err(Error::forbidden("The token was not made for resetting a password.").into())
        }
        Err(ResetError::Error(error)) => Err(error.into()),
    }
}
