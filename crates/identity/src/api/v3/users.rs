//! `/v3/users`.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use work::Time;

use crate::api::access::{Access, Origin};
use crate::api::asked::QueryParameters;
use crate::api::fields::{Fields, JsonBody};
use crate::api::v3::crud::{self, Collection, ListQuery};
use crate::api::v3::projects::same_domain;
use crate::api::v3::{Resource, limit, listing, page};
use crate::api::{HandlerResult, Need, Shared, Table, empty};
use crate::model::{Caller, Extra, Right, User};
use crate::service::Listed;
use crate::service::error::Error;
use crate::service::signin::IdOrName;
use crate::service::tenants::TenantQuery;
use crate::service::users::{ChangedUser, NewUser, UserQuery};

pub(crate) fn add(table: Table) -> Table {
    crud::add::<User>(table)
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

    fn extra(&self) -> Option<&Extra> {
        Some(&self.extra)
    }
}

impl Collection for User {
    const PATH: &'static str = "/users";
    const PATH_ONE: &'static str = "/users/{user_id}";
    const NEEDS: [Need; 3] = [Need::Account(Right::Administer); 3];
    const OWN: &'static [&'static str] = &[
        "name",
        "email",
        "description",
        "enabled",
        "domain_id",
        "default_project_id",
        "password",
        "password_expires_at",
    ];

    async fn list(identity: &Shared, caller: &Caller, query: ListQuery<'_>) -> Result<Listed<Self>, Error> {
        let asked = query.asked;
        let query = UserQuery {
            name: asked.text("name"),
            email: asked.text("email"),
            domain_id: asked.text("domain_id"),
            enabled: asked.flag("enabled"),
            marker: query.marker,
            limit: query.limit,
            strict: false,
        };
        identity.users(caller, query).await
    }

    async fn show(identity: &Shared, caller: &Caller, id: &str) -> Result<Self, Error> {
        identity.user(caller, id).await
    }

    async fn create(
        identity: &Shared,
        caller: &Caller,
        given: &Fields<'_>,
        extra: Extra,
    ) -> Result<Self, Error> {
        let new = NewUser {
            name: given.text("name")?,
            email: given.optional_text("email")?,
            description: given.optional_text("description")?.unwrap_or_default(),
            enabled: given.optional_flag("enabled")?.unwrap_or(true),
            domain_id: given.optional_text("domain_id")?,
            tenant_id: given.optional_text("default_project_id")?,
            password: given.optional_text("password")?,
            extra,
            ..NewUser::default()
        };
        Ok(identity.create_user(caller, new).await?.0)
    }

    async fn update(
        identity: &Shared,
        caller: &Caller,
        id: &str,
        given: &Fields<'_>,
        extra: Extra,
    ) -> Result<Self, Error> {
        if let Some(domain) = given.optional_text("domain_id")? {
            same_domain(&domain, &identity.user(caller, id).await?.domain_id)?;
        }
        let change = ChangedUser {
            name: given.optional_text("name")?,
            email: given.nullable_text("email")?,
            description: given.nullable_text("description")?.map(Option::unwrap_or_default),
            enabled: given.optional_flag("enabled")?,
            tenant_id: given.nullable_text("default_project_id")?,
            password: given.optional_text("password")?,
            region: None,
            extra,
        };
        identity.update_user(caller, id, change).await
    }

    async fn delete(identity: &Shared, caller: &Caller, id: &str) -> Result<(), Error> {
        identity.delete_user(caller, id).await
    }
}

/// Changes a password. Needs no token, since the old password proves who the caller is (Keystone v3).
async fn change_password(
    State(identity): State<Shared>,
    origin: Origin,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let user = Fields::inside(&body, "user")?;
    let (original, password) = (user.text("original_password")?, user.text("password")?);
    identity.change_password(&IdOrName::Id(id), &original, &password, origin.address).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn list_projects(
    State(identity): State<Shared>,
    access: Access,
    asked: QueryParameters,
    Path(id): Path<String>,
) -> HandlerResult {
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

/// Returns an empty list: there are no groups, but clients ask for them.
async fn list_groups(
    State(identity): State<Shared>,
    access: Access,
    asked: QueryParameters,
    Path(id): Path<String>,
) -> HandlerResult {
    identity.user(&access.session.caller, &id).await?;
    Ok(listing(&identity, &asked, "groups", Vec::new(), None))
}
