//! `/v3/users`.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use work::Time;

use crate::api::access::{Access, Origin};
use crate::api::asked::Asked;
use crate::api::fields::{Fields, JsonBody};
use crate::api::v3::{Resource, limit, listing, one, page};
use crate::api::{Answered, Need, Shared, Table, empty};
use crate::model::{Right, User};
use crate::service::signin::Named;
use crate::service::tenants::TenantQuery;
use crate::service::users::{ChangedUser, NewUser, UserQuery};

pub(crate) fn add(table: Table) -> Table {
    table
        .add(Method::GET, "/users", Need::Token, list)
        .add(Method::POST, "/users", Need::Account(Right::Administer), create)
        .add(Method::GET, "/users/{user_id}", Need::Token, show)
        .add(Method::PATCH, "/users/{user_id}", Need::Account(Right::Administer), update)
        .add(Method::DELETE, "/users/{user_id}", Need::Account(Right::Administer), delete)
        .add(Method::POST, "/users/{user_id}/password", Need::Open, change_password)
        .add(Method::GET, "/users/{user_id}/projects", Need::Token, list_projects)
        .add(Method::GET, "/users/{user_id}/groups", Need::Token, list_groups)
}

impl Resource for User {
    const ONE: &'static str = "user";
    const MANY: &'static str = "users";

    fn id(&self) -> &str {
        &self.id
    }

    fn fields(&self) -> Value {
        let mut view = json!({
            "id": self.id,
            "name": self.name,
            "domain_id": self.domain_id,
            "enabled": self.enabled,
            "description": self.description,
            "password_expires_at": self.password_expires.map(Time::iso_micros),
            "options": {},
        });
        if let Some(email) = &self.email {
            view["email"] = json!(email);
        }
        if let Some(tenant) = &self.tenant_id {
            view["default_project_id"] = json!(tenant);
        }
        view
    }
}

async fn list(State(identity): State<Shared>, access: Access, asked: Asked) -> Answered {
    let query = UserQuery {
        name: asked.text("name"),
        email: None,
        domain_id: asked.text("domain_id"),
        enabled: asked.flag("enabled"),
        marker: asked.text("marker"),
        limit: limit(&asked)?,
        strict: false,
    };
    let listed = identity.users(&access.session.caller, query).await?;
    Ok(page(&identity, &asked, &listed))
}

async fn create(State(identity): State<Shared>, access: Access, JsonBody(body): JsonBody) -> Answered {
    let user = Fields::inside(&body, "user")?;
    let new = NewUser {
        name: user.text("name")?,
        email: user.text_if("email")?,
        description: user.text_if("description")?.unwrap_or_default(),
        enabled: user.flag_if("enabled")?.unwrap_or(true),
        domain_id: user.text_if("domain_id")?,
        tenant_id: user.text_if("default_project_id")?,
        password: user.text_if("password")?,
        ..NewUser::default()
    };
    let (user, _) = identity.create_user(&access.session.caller, new).await?;
    Ok(one(&identity, StatusCode::CREATED, &user))
}

async fn show(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    let user = identity.user(&access.session.caller, &id).await?;
    Ok(one(&identity, StatusCode::OK, &user))
}

async fn update(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Answered {
    let user = Fields::inside(&body, "user")?;
    let change = ChangedUser {
        name: user.text_if("name")?,
        email: user.nullable_text("email")?,
        description: user.nullable_text("description")?.map(Option::unwrap_or_default),
        enabled: user.flag_if("enabled")?,
        tenant_id: user.nullable_text("default_project_id")?,
        password: user.text_if("password")?,
        region: None,
    };
    let user = identity.update_user(&access.session.caller, &id, change).await?;
    Ok(one(&identity, StatusCode::OK, &user))
}

async fn delete(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    identity.delete_user(&access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Needs no token: the old password is the proof (Keystone v3).
async fn change_password(
    State(identity): State<Shared>,
    origin: Origin,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Answered {
    let user = Fields::inside(&body, "user")?;
    let (original, password) = (user.text("original_password")?, user.text("password")?);
    identity.change_password(&Named::Id(id), &original, &password, origin.address).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn list_projects(
    State(identity): State<Shared>,
    access: Access,
    asked: Asked,
    Path(id): Path<String>,
) -> Answered {
    let query = TenantQuery {
        of_user: Some(id),
        name: asked.text("name"),
        marker: asked.text("marker"),
        limit: limit(&asked)?,
        ..TenantQuery::default()
    };
    let listed = identity.tenants(&access.session.caller, query).await?;
    Ok(page(&identity, &asked, &listed))
}

/// There are no groups; clients ask nevertheless.
async fn list_groups(
    State(identity): State<Shared>,
    access: Access,
    asked: Asked,
    Path(id): Path<String>,
) -> Answered {
    identity.user(&access.session.caller, &id).await?;
    Ok(listing(&identity, &asked, "groups", Vec::new(), None))
}
