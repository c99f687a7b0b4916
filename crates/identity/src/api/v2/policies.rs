//! `/v2.0/RAX-AUTH/domains/{id}/password-policy`: JSON only (v2.0, Set domain password policy).

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::access::Access;
use crate::api::fields::{Fields, JsonBody};
use crate::api::{HandlerResult, Need, Shared, Table, empty, json as answer};
use crate::model::{PasswordPolicy, Right};
use crate::service::error::Error;

pub(crate) fn add(table: Table) -> Table {
    let (path, manage) = ("/RAX-AUTH/domains/{domain_id}/password-policy", Need::Account(Right::Administer));
    table.add(Method::GET, path, manage, show).add(Method::PUT, path, manage, set).add(
        Method::DELETE,
        path,
        manage,
        delete,
    )
}

fn view(policy: &PasswordPolicy) -> Value {
    json!({"passwordPolicy": {
        "passwordDuration": policy.duration,
        "passwordHistoryRestriction": policy.history.to_string(),
    }})
}

async fn show(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    let policy = identity.password_policy(&access.session.caller, &id).await?;
    Ok(answer(StatusCode::OK, &view(&policy)))
}

async fn set(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let given = Fields::inside(&body, "passwordPolicy")?;
    let history = given.optional_text("passwordHistoryRestriction")?;
    let policy = PasswordPolicy::parse(&given.text("passwordDuration")?, history.as_deref())
        .map_err(|e| Error::invalid(e.to_string()))?;
    identity.set_password_policy(&access.session.caller, &id, policy.clone()).await?;
    Ok(answer(StatusCode::OK, &view(&policy)))
}

async fn delete(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> HandlerResult {
    identity.delete_password_policy(&access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
