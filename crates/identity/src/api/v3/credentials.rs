//! `/v3/users/{id}/application_credentials` and `/v3/users/{id}/credentials/OS-EC2`.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use work::Time;

use crate::api::access::Access;
use crate::api::asked::QueryParameters;
use crate::api::fields::{Fields, JsonBody};
use crate::api::v3::{limit, links, listing};
use crate::api::{HandlerResult, Need, Shared, Table, empty, json as answer};
use crate::model::{ApplicationCredential, Ec2Credential};
use crate::service::credentials::NewCredential;
use crate::service::error::Error;

const APPLICATION: &str = "/users/{user_id}/application_credentials";
const APPLICATION_ONE: &str = "/users/{user_id}/application_credentials/{credential_id}";
const EC2: &str = "/users/{user_id}/credentials/OS-EC2";
const EC2_ONE: &str = "/users/{user_id}/credentials/OS-EC2/{access}";

pub(crate) fn add(table: Table) -> Table {
    table
        .add(Method::GET, APPLICATION, Need::Token, list)
        .add(Method::POST, APPLICATION, Need::Token, create)
        .add(Method::GET, APPLICATION_ONE, Need::Token, show)
        .add(Method::DELETE, APPLICATION_ONE, Need::Token, delete)
        .add(Method::GET, EC2, Need::Token, list_ec2)
        .add(Method::POST, EC2, Need::Token, create_ec2)
        .add(Method::GET, EC2_ONE, Need::Token, show_ec2)
        .add(Method::DELETE, EC2_ONE, Need::Token, delete_ec2)
}

/// Renders an application credential (Keystone v3). `expires_at` has no time zone, as in Keystone.
async fn view(
    identity: &Shared,
    credential: &ApplicationCredential,
    secret: Option<&str>,
) -> Result<Value, Error> {
    let mut roles = Vec::new();
    for id in &credential.roles {
        match identity.role(id).await {
            Ok(role) => roles.push(json!({"id": role.id, "name": role.name, "domain_id": null})),
            Err(Error::NotFound { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    let path = format!("/users/{}/application_credentials/{}", credential.user_id, credential.id);
    let expires = credential.expires.map(|time| time.iso_micros().trim_end_matches('Z').to_owned());
    let mut view = json!({
        "id": credential.id,
        "name": credential.name,
        "user_id": credential.user_id,
        "project_id": credential.tenant_id,
        "description": credential.description,
        "roles": roles,
        "expires_at": expires,
        "unrestricted": credential.unrestricted,
        "system": null,
        "access_rules": [],
        "links": links(identity, &path),
    });
    if let Some(secret) = secret {
        view["secret"] = json!(secret);
    }
    Ok(view)
}

async fn list(
    State(identity): State<Shared>,
    access: Access,
    asked: QueryParameters,
    Path(user): Path<String>,
) -> HandlerResult {
    let (name, marker) = (asked.text("name"), asked.text("marker"));
    let caller = &access.session.caller;
    let listed =
        identity.credentials(caller, &user, name.as_deref(), marker.as_deref(), limit(&asked)?).await?;
    let next = listed.items.last().filter(|_| listed.more).map(|credential| credential.id.clone());
    let mut items = Vec::new();
    for credential in &listed.items {
        items.push(view(&identity, credential, None).await?);
    }
    Ok(listing(&identity, &asked, "application_credentials", items, next.as_deref()))
}

async fn create(
    State(identity): State<Shared>,
    access: Access,
    Path(user): Path<String>,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let given = Fields::inside(&body, "application_credential")?;
    if !given.objects("access_rules")?.is_empty() {
        return Err(Error::invalid("application_credential.access_rules are not supported").into());
    }
    let mut roles = Vec::new();
    for role in given.objects("roles")? {
        match role.optional_text("id")? {
            Some(id) => roles.push(id),
            None => {
                let name = role.text("name")?;
                let held = access.session.caller.roles.iter().find(|held| held.name == name);
                let held =
                    held.ok_or_else(|| Error::invalid(format!("the token does not have role {name}")))?;
                roles.push(held.id.clone());
            }
        }
    }
    let expires = given.optional_text("expires_at")?.map(|text| instant(&text)).transpose()?;
    let new = NewCredential {
        name: given.text("name")?,
        description: given.optional_text("description")?.unwrap_or_default(),
        secret: given.optional_text("secret")?,
        roles,
        expires,
        unrestricted: given.optional_flag("unrestricted")?.unwrap_or(false),
    };
    let (made, secret) = identity.create_credential(&access.session, &user, new).await?;
    let shown = view(&identity, &made, Some(&secret)).await?;
    Ok(answer(StatusCode::CREATED, &json!({"application_credential": shown})))
}

/// Parses an ISO 8601 time, in UTC if it names no zone (Keystone v3).
fn instant(text: &str) -> Result<Time, Error> {
    let parsed = text.parse::<jiff::Timestamp>().or_else(|_| format!("{text}Z").parse::<jiff::Timestamp>());
    let at = parsed.map_err(|_| {
        Error::invalid("application_credential.expires_at must be an instant such as 2030-01-31T12:00:00")
    })?;
    Ok(Time(at.as_microsecond()))
}

async fn show(
    State(identity): State<Shared>,
    access: Access,
    Path((user, id)): Path<(String, String)>,
) -> HandlerResult {
    let found = identity.credential(&access.session.caller, &user, &id).await?;
    let shown = view(&identity, &found, None).await?;
    Ok(answer(StatusCode::OK, &json!({"application_credential": shown})))
}

async fn delete(
    State(identity): State<Shared>,
    access: Access,
    Path((user, id)): Path<(String, String)>,
) -> HandlerResult {
    identity.delete_credential(&access.session, &user, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Renders an EC2 credential (Keystone v3, OS-EC2).
fn ec2_view(identity: &Shared, pair: &Ec2Credential) -> Value {
    let path = format!("/users/{}/credentials/OS-EC2/{}", pair.user_id, pair.access);
    json!({
        "access": pair.access,
        "secret": pair.secret,
        "user_id": pair.user_id,
        "tenant_id": pair.tenant_id,
        "trust_id": null,
        "links": links(identity, &path),
    })
}

async fn list_ec2(
    State(identity): State<Shared>,
    access: Access,
    asked: QueryParameters,
    Path(user): Path<String>,
) -> HandlerResult {
    let marker = asked.text("marker");
    let listed = identity.ec2_credentials(&access.session, &user, marker.as_deref(), limit(&asked)?).await?;
    let next = listed.items.last().filter(|_| listed.more).map(|pair| pair.access.clone());
    let items = listed.items.iter().map(|pair| ec2_view(&identity, pair)).collect();
    Ok(listing(&identity, &asked, "credentials", items, next.as_deref()))
}

async fn create_ec2(
    State(identity): State<Shared>,
    access: Access,
    Path(user): Path<String>,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let tenant = Fields::of(&body)?.text("tenant_id")?;
    let pair = identity.create_ec2(&access.session, &user, &tenant).await?;
    Ok(answer(StatusCode::CREATED, &json!({"credential": ec2_view(&identity, &pair)})))
}

async fn show_ec2(
    State(identity): State<Shared>,
    access: Access,
    Path((user, id)): Path<(String, String)>,
) -> HandlerResult {
    let pair = identity.ec2_credential(&access.session, &user, &id).await?;
    Ok(answer(StatusCode::OK, &json!({"credential": ec2_view(&identity, &pair)})))
}

async fn delete_ec2(
    State(identity): State<Shared>,
    access: Access,
    Path((user, id)): Path<(String, String)>,
) -> HandlerResult {
    identity.delete_ec2(&access.session, &user, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
