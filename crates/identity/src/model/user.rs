//! Domains, tenants, users and role assignments.

use serde::Serialize;
use work::Time;

use super::caller::RoleRef;
use super::extra::Extra;
use super::scope::Scope;

/// A domain: v3's container of tenants and users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Domain {
    /// Its id; `default` always exists.
    pub id: String,
    /// Its name, unique in the cloud.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Whether it is enabled. Users of a disabled domain cannot sign in.
    pub enabled: bool,
    /// Further attributes that v3's clients gave it.
    #[serde(skip)]
    pub extra: Extra,
}

/// A tenant: an account, or project in v3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tenant {
    /// Its numeric id as text.
    pub id: String,
    /// Its name, unique in its domain.
    pub name: String,
    /// The id of its domain.
    pub domain_id: String,
    /// Free text.
    pub description: String,
    /// Whether it is enabled. No token is valid on a disabled tenant.
    pub enabled: bool,
    /// When it was created.
    #[serde(serialize_with = "iso")]
    pub created: Time,
    /// Further attributes that v3's clients gave it.
    #[serde(skip)]
    pub extra: Extra,
}

/// A user, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// Its id.
    pub id: String,
    /// Its name, unique in its domain.
    pub name: String,
    /// The id of its domain.
    pub domain_id: String,
    /// The id of its account. Tokens are scoped to it unless another scope is requested.
    pub tenant_id: Option<String>,
    /// Its mail address.
    pub email: Option<String>,
    /// Free text.
    pub description: String,
    /// Whether it is enabled. A disabled user cannot sign in, and its tokens are deleted.
    pub enabled: bool,
    /// v2.0's default region; `None` for the cloud's.
    pub region: Option<String>,
    /// When it was created.
    #[serde(serialize_with = "iso")]
    pub created: Time,
    /// When its password expires, if its account has a policy.
    #[serde(skip)]
    pub password_expires: Option<Time>,
    /// Further attributes that v3's clients gave it.
    #[serde(skip)]
    pub extra: Extra,
}

/// One user's role in one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The user's id.
    pub user_id: String,
    /// The role.
    pub role: RoleRef,
    /// The scope.
    pub scope: Scope,
}

fn iso<S: serde::Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.iso_seconds())
}
