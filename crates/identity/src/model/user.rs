//! Domains, tenants, users and who holds which role where.

use serde::Serialize;
use work::Time;

use super::caller::RoleRef;
use super::extra::Extra;
use super::scope::Scope;

/// A domain: v3's frame for tenants and users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Domain {
    /// Its id; `default` is there from the start.
    pub id: String,
    /// Its name, unique in the cloud.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Nobody of a disabled domain signs in.
    pub enabled: bool,
    /// What v3's clients gave it beside that.
    #[serde(skip)]
    pub extra: Extra,
}

/// A tenant: an account, v3's project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tenant {
    /// Its numeric id as text.
    pub id: String,
    /// Its name, unique in its domain.
    pub name: String,
    /// The domain it is in.
    pub domain_id: String,
    /// Free text.
    pub description: String,
    /// No token is good on a disabled tenant.
    pub enabled: bool,
    /// When it was made.
    #[serde(serialize_with = "iso")]
    pub created: Time,
    /// What v3's clients gave it beside that.
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
    /// The domain it is in.
    pub domain_id: String,
    /// The account that it is of; tokens are scoped to it unless another scope is asked for.
    pub tenant_id: Option<String>,
    /// Its address.
    pub email: Option<String>,
    /// Free text.
    pub description: String,
    /// A disabled user cannot sign in, and its tokens are gone.
    pub enabled: bool,
    /// v2.0's default region; the cloud's if it has none.
    pub region: Option<String>,
    /// When it was made.
    #[serde(serialize_with = "iso")]
    pub created: Time,
    /// When its password is good no more, where its account has a policy.
    #[serde(skip)]
    pub password_expires: Option<Time>,
    /// What v3's clients gave it beside that.
    #[serde(skip)]
    pub extra: Extra,
}

/// One user's role in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Who.
    pub user_id: String,
    /// Which role.
    pub role: RoleRef,
    /// Where.
    pub scope: Scope,
}

fn iso<S: serde::Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.iso_seconds())
}
