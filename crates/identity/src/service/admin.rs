//! Administration on the machine itself, by command line and admin socket. Results are serialisable.

use serde::{Deserialize, Serialize};

use crate::model::{Caller, Extra, Scope, Tenant, User};
use crate::service::Identity;
use crate::service::error::Error;
use crate::service::roles::{AssignmentQuery, RoleQuery};
use crate::service::tenants::{ChangedTenant, NewTenant, TenantQuery};
use crate::service::users::{ChangedUser, NewUser, UserQuery};
use crate::store;
use crate::store::audit::AuditEntry;

/// Administration's view of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantView {
    /// Its numeric id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The id of its domain.
    pub domain: String,
    /// Free text.
    pub description: String,
    /// Whether it is enabled.
    pub enabled: bool,
    /// When it was created, in UTC.
    pub created: String,
}

/// A role in one scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleView {
    /// The role's name.
    pub role: String,
    /// The tenant's id; `None` for a domain or the whole cloud.
    pub tenant: Option<String>,
    /// The domain's id; `None` for a tenant or the whole cloud.
    pub domain: Option<String>,
}

/// Administration's view of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its tenant's id.
    pub tenant: Option<String>,
    /// Its tenant's name.
    pub tenant_name: Option<String>,
    /// Its mail address.
    pub email: Option<String>,
    /// Whether it is enabled.
    pub enabled: bool,
    /// When it was created, in UTC.
    pub created: String,
    /// Its roles in all scopes.
    pub roles: Vec<RoleView>,
    /// Its password, if this operation generated it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub password: Option<String>,
    /// Its API key, if this operation created it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub api_key: Option<String>,
}

/// A user to create in a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTenantUser {
    /// Its name.
    pub name: String,
    /// Its tenant, by id or name.
    pub tenant: String,
    /// Its password; generated if absent.
    pub password: Option<String>,
    /// Its API key; generated if absent.
    pub api_key: Option<String>,
    /// Its mail address.
    pub email: Option<String>,
    /// Names of its roles on the tenant. An empty list means `admin`; `none` means no role.
    pub roles: Vec<String>,
}

/// Changes to a tenant; `None` keeps the current value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantChange {
    /// A new name.
    pub name: Option<String>,
    /// A new description.
    pub description: Option<String>,
    /// Whether it is enabled.
    pub enabled: Option<bool>,
}

/// Changes to a user; `None` keeps the current value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserChange {
    /// A new name.
    pub name: Option<String>,
    /// A new mail address.
    pub email: Option<String>,
    /// A new password.
    pub password: Option<String>,
    /// A new API key.
    pub api_key: Option<String>,
    /// Another tenant, by id or name.
    pub tenant: Option<String>,
    /// Whether it is enabled.
    pub enabled: Option<bool>,
}

/// Identity's operations for administration on the machine itself.
pub struct Administration<'a> {
    identity: &'a Identity,
    caller: Caller,
}

impl Identity {
    /// Returns the operations of administration, which need no token. Only for the command line and the admin socket.
    #[must_use]
    pub fn administration(&self) -> Administration<'_> {
        Administration { identity: self, caller: Caller::console() }
    }
}

impl Administration<'_> {
    /// Creates a tenant.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_tenant(&self, name: &str, description: &str) -> Result<TenantView, Error> {
        let new = NewTenant {
            name: name.to_owned(),
            description: description.to_owned(),
            enabled: true,
            domain_id: None,
            extra: Extra::default(),
        };
        Ok(tenant_view(self.identity.create_tenant(&self.caller, new).await?))
    }

    /// Returns a tenant by id or name.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn tenant(&self, id_or_name: &str) -> Result<TenantView, Error> {
        Ok(tenant_view(self.find_tenant(id_or_name).await?))
    }

    /// Returns up to 1,000 tenants after `marker` (an id).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn tenants(&self, marker: Option<&str>) -> Result<Vec<TenantView>, Error> {
        let query = TenantQuery { marker: marker.map(str::to_owned), ..TenantQuery::default() };
        let listed = self.identity.tenants(&self.caller, query).await?;
        Ok(listed.items.into_iter().map(tenant_view).collect())
    }

    /// Changes a tenant.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_tenant(&self, id_or_name: &str, change: TenantChange) -> Result<TenantView, Error> {
        let found = self.find_tenant(id_or_name).await?;
        let change = ChangedTenant {
            name: change.name,
            description: change.description,
            enabled: change.enabled,
            extra: Extra::default(),
        };
        Ok(tenant_view(self.identity.update_tenant(&self.caller, &found.id, change).await?))
    }

    /// Deletes a tenant. A job deletes its data in other services.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_tenant(&self, id_or_name: &str) -> Result<(), Error> {
        let found = self.find_tenant(id_or_name).await?;
        self.identity.delete_tenant(&self.caller, &found.id).await
    }

    /// Creates a user. The result has its API key, and its password if that was generated.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_user(&self, new: NewTenantUser) -> Result<UserView, Error> {
        let tenant = self.find_tenant(&new.tenant).await?;
        let roles = match new.roles.as_slice() {
            [] => vec!["admin".to_owned()],
            [none] if none == "none" => Vec::new(),
            given => given.to_vec(),
        };
        if roles.iter().any(|role| role == "none") {
            return Err(Error::invalid("role none cannot be combined with other roles"));
        }
        let made_up = match new.password {
            Some(_) => None,
            None => Some(crate::service::secrets::random_hex::<12>()?),
        };
        let user = NewUser {
            name: new.name,
            email: new.email,
            enabled: true,
            tenant_id: Some(tenant.id),
            password: new.password.or_else(|| made_up.clone()),
            api_key: new.api_key,
            roles,
            ..NewUser::default()
        };
        let (user, api_key) = self.identity.create_user(&self.caller, user).await?;
        let view = self.user_view(user).await?;
        Ok(UserView { password: made_up, api_key: Some(api_key), ..view })
    }

    /// Returns a user by name or id.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn user(&self, name_or_id: &str) -> Result<UserView, Error> {
        self.user_view(self.find_user(name_or_id).await?).await
    }

    /// Returns up to 1,000 users after `marker` (an id), without their roles.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn users(&self, marker: Option<&str>) -> Result<Vec<UserView>, Error> {
        let query = UserQuery { marker: marker.map(str::to_owned), ..UserQuery::default() };
        let listed = self.identity.users(&self.caller, query).await?;
        Ok(listed.items.into_iter().map(|user| view_of(user, None, Vec::new())).collect())
    }

    /// Changes a user. A new password or disabling it revokes its tokens.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_user(&self, name_or_id: &str, change: UserChange) -> Result<UserView, Error> {
        let found = self.find_user(name_or_id).await?;
        let tenant_id = match &change.tenant {
            Some(tenant) => Some(Some(self.find_tenant(tenant).await?.id)),
            None => None,
        };
        let changed = ChangedUser {
            name: change.name,
            email: change.email.map(Some),
            enabled: change.enabled,
            tenant_id,
            password: change.password,
            ..ChangedUser::default()
        };
        let user = self.identity.update_user(&self.caller, &found.id, changed).await?;
        if let Some(key) = change.api_key {
            self.identity.set_api_key(&self.caller, &found.id, Some(key)).await?;
        }
        self.user_view(user).await
    }

    /// Gives a user a new API key and returns the key.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn reset_api_key(&self, name_or_id: &str) -> Result<String, Error> {
        let found = self.find_user(name_or_id).await?;
        Ok(self.identity.set_api_key(&self.caller, &found.id, None).await?.1)
    }

    /// Deletes a user.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_user(&self, name_or_id: &str) -> Result<(), Error> {
        let found = self.find_user(name_or_id).await?;
        self.identity.delete_user(&self.caller, &found.id).await
    }

    /// Makes the name of a deleted or renamed user of the domain `default` free for users of any tenant.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn release_user_name(&self, name: &str) -> Result<(), Error> {
        self.identity.release_name(&self.caller, crate::model::DEFAULT_DOMAIN, name).await
    }

    /// Returns names and descriptions of all roles.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn roles(&self) -> Result<Vec<(String, String)>, Error> {
        let mut roles: Vec<(String, String)> = self
            .identity
            .roles(RoleQuery::default())
            .await?
            .items
            .into_iter()
            .map(|role| (role.name, role.description))
            .collect();
        roles.sort();
        Ok(roles)
    }

    /// Grants a role on a tenant; without a tenant, on the whole cloud.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn grant_role(&self, user: &str, role: &str, tenant: Option<&str>) -> Result<(), Error> {
        let (user, role, scope) = self.assignment(user, role, tenant).await?;
        self.identity.grant_role(&self.caller, &user, &role, &scope).await.map(|_| ())
    }

    /// Revokes a role on a tenant; without a tenant, on the whole cloud.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn revoke_role(&self, user: &str, role: &str, tenant: Option<&str>) -> Result<(), Error> {
        let (user, role, scope) = self.assignment(user, role, tenant).await?;
        self.identity.revoke_role(&self.caller, &user, &role, &scope).await
    }

    /// Returns changes, newest first: all, or those to one subject (an id).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn audit(&self, subject: Option<&str>, limit: i64) -> Result<Vec<AuditEntry>, Error> {
        self.identity
            .db
            .scan((subject.map(str::to_owned), limit), |(subject, limit), tx| {
                Box::pin(async move { Ok(store::audit::newest(tx, subject.as_deref(), *limit).await?) })
            })
            .await
    }

    async fn assignment(
        &self,
        user: &str,
        role: &str,
        tenant: Option<&str>,
    ) -> Result<(String, String, Scope), Error> {
        let user = self.find_user(user).await?.id;
        let listed =
            self.identity.roles(RoleQuery { name: Some(role.to_owned()), ..RoleQuery::default() }).await?;
        let role = listed.items.into_iter().next().ok_or_else(|| Error::not_found("role", role))?.id;
        let scope = match tenant {
            Some(tenant) => Scope::Tenant(self.find_tenant(tenant).await?.id),
            None => Scope::Cloud,
        };
        Ok((user, role, scope))
    }

    async fn find_tenant(&self, id_or_name: &str) -> Result<Tenant, Error> {
        match self.identity.tenant(&self.caller, id_or_name).await {
            Err(Error::NotFound { .. }) => self.identity.tenant_named(&self.caller, id_or_name).await,
            found => found,
        }
    }

    async fn find_user(&self, name_or_id: &str) -> Result<User, Error> {
        match self.identity.user_named(&self.caller, name_or_id).await {
            Err(Error::NotFound { .. }) => self.identity.user(&self.caller, name_or_id).await,
            found => found,
        }
    }

    async fn user_view(&self, user: User) -> Result<UserView, Error> {
        let query = AssignmentQuery { user_id: Some(user.id.clone()), ..AssignmentQuery::default() };
        let (listed, _) = self.identity.assignments(&self.caller, query).await?;
        let roles = listed.items.into_iter().map(|named| RoleView {
            role: named.assignment.role.name,
            tenant: named.assignment.scope.tenant().map(str::to_owned),
            domain: named.assignment.scope.domain().map(str::to_owned),
        });
        let roles = roles.collect();
        let tenant_name = match &user.tenant_id {
            Some(id) => Some(self.identity.tenant(&self.caller, id).await?.name),
            None => None,
        };
        Ok(view_of(user, tenant_name, roles))
    }
}

fn tenant_view(tenant: Tenant) -> TenantView {
    TenantView {
        id: tenant.id,
        name: tenant.name,
        domain: tenant.domain_id,
        description: tenant.description,
        enabled: tenant.enabled,
        created: tenant.created.iso_seconds(),
    }
}

fn view_of(user: User, tenant_name: Option<String>, roles: Vec<RoleView>) -> UserView {
    UserView {
        id: user.id,
        name: user.name,
        tenant: user.tenant_id,
        tenant_name,
        email: user.email,
        enabled: user.enabled,
        created: user.created.iso_seconds(),
        roles,
        password: None,
        api_key: None,
    }
}
