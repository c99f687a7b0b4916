//! `/v2.0/users/{id}/OS-KSADM/credentials`: passwords and API keys.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use web::xml::Element;

use crate::api::access::Access;
use crate::api::fields::{AnyBody, Fields};
use crate::api::v2::{Answer, XMLNS};
use crate::api::{HandlerResult, Need, Shared, Table, empty};
use crate::service::error::Error;
use crate::service::users::ChangedUser;

const KSKEY: &str = "http://docs.rackspace.com/identity/api/ext/RAX-KSKEY/v1.0";
const ALL: &str = "/users/{user_id}/OS-KSADM/credentials";
const API_KEY: &str = "/users/{user_id}/OS-KSADM/credentials/RAX-KSKEY:apiKeyCredentials";
const RESET: &str = "/users/{user_id}/OS-KSADM/credentials/RAX-KSKEY:apiKeyCredentials/RAX-AUTH/reset";

pub(crate) fn add(table: Table) -> Table {
    table
        .add(Method::GET, ALL, Need::Token, list)
        .add(Method::POST, ALL, Need::Token, set)
        .add(Method::GET, API_KEY, Need::Token, show)
        .add(Method::POST, API_KEY, Need::Token, set_key)
        .add(Method::DELETE, API_KEY, Need::Token, delete)
        .add(Method::POST, RESET, Need::Token, reset)
}

fn key_json(name: &str, key: &str) -> Value {
    json!({"RAX-KSKEY:apiKeyCredentials": {"username": name, "apiKey": key}})
}

fn key_xml(name: &str, key: &str) -> Element {
    Element::new("apiKeyCredentials").attr("xmlns", KSKEY).attr("username", name).attr("apiKey", key)
}

async fn list(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    let (user, key) = identity.api_key(&access.session.caller, &id).await?;
    // The password cannot be shown: only its hash is stored.
    let mut json = vec![json!({"passwordCredentials": {"username": user.name}})];
    let mut xml = vec![Element::new("passwordCredentials").attr("username", &user.name)];
    if let Some(key) = key {
        json.push(key_json(&user.name, &key));
        xml.push(key_xml(&user.name, &key));
    }
    Ok(Answer::list("credentials", json, xml, Vec::new()).in_format(access.format))
}

async fn show(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    let (user, key) = identity.api_key(&access.session.caller, &id).await?;
    let key = key.ok_or_else(|| Error::not_found("API key", &id))?;
    Ok(Answer::ok(key_json(&user.name, &key), key_xml(&user.name, &key)).in_format(access.format))
}

/// Adds a password or an API key.
async fn set(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    AnyBody(body): AnyBody,
) -> HandlerResult {
    let fields = Fields::of(&body)?;
    if fields.has("apiKeyCredentials") {
        return store_key(&identity, &access, &id, &fields, StatusCode::CREATED).await;
    }
    let given = fields.object("passwordCredentials")?;
    let (name, password) = (given.text("username")?, given.text("password")?);
    if password.chars().count() < 8 {
        return Err(Error::invalid("passwordCredentials.password must have at least 8 characters").into());
    }
    named_right(&identity, &access, &id, &name).await?;
    let change = ChangedUser { password: Some(password.clone()), ..ChangedUser::default() };
    identity.update_user(&access.session.caller, &id, change).await?;
    let json = json!({"passwordCredentials": {"username": name, "password": password}});
    let xml = Element::new("passwordCredentials")
        .attr("xmlns", XMLNS)
        .attr("username", name)
        .attr("password", password);
    Ok(Answer { status: StatusCode::CREATED, json, xml }.in_format(access.format))
}

async fn set_key(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    AnyBody(body): AnyBody,
) -> HandlerResult {
    store_key(&identity, &access, &id, &Fields::of(&body)?, StatusCode::OK).await
}

async fn store_key(
    identity: &Shared,
    access: &Access,
    id: &str,
    body: &Fields<'_>,
    status: StatusCode,
) -> HandlerResult {
    let given = body.object("apiKeyCredentials")?;
    let (name, key) = (given.text("username")?, given.text("apiKey")?);
    named_right(identity, access, id, &name).await?;
    let (user, key) = identity.set_api_key(&access.session.caller, id, Some(key)).await?;
    let answer = Answer { status, json: key_json(&user.name, &key), xml: key_xml(&user.name, &key) };
    Ok(answer.in_format(access.format))
}

/// Checks that the name in the body is that of the user in the path.
async fn named_right(identity: &Shared, access: &Access, id: &str, name: &str) -> Result<(), Error> {
    let user = identity.user(&access.session.caller, id).await?;
    if user.name == name {
        Ok(())
    } else {
        Err(Error::invalid("username must be the name of the user in the path"))
    }
}

async fn delete(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    identity.delete_api_key(&access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn reset(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    let (user, key) = identity.set_api_key(&access.session.caller, &id, None).await?;
    Ok(Answer::ok(key_json(&user.name, &key), key_xml(&user.name, &key)).in_format(access.format))
}
