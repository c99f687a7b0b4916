//! Tokens: random, stored as hashes; and sessions, which describe valid tokens.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use work::Time;

use super::caller::Caller;
use super::scope::Scope;
use super::user::{Domain, Tenant, User};

/// How a token was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// By password.
    Password,
    /// By API key.
    ApiKey,
    /// By another token.
    Token,
    /// By an application credential.
    ApplicationCredential,
    /// By a request signed with an EC2 credential.
    Ec2,
}

impl Method {
    /// The name in v3 and in rows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::ApiKey => "api_key",
            Self::Token => "token",
            Self::ApplicationCredential => "application_credential",
            Self::Ec2 => "ec2credential",
        }
    }

    /// Parses the name in a row.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Password, Self::ApiKey, Self::Token, Self::ApplicationCredential, Self::Ec2]
            .into_iter()
            .find(|method| method.name() == name)
    }
}

/// A token as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the token that the client holds.
    pub hash: [u8; 32],
    /// The id of its user.
    pub user_id: String,
    /// Its scope.
    pub scope: Scope,
    /// The method by which it was issued, and those of the token that it was exchanged for.
    pub methods: Vec<Method>,
    /// When it was issued.
    pub issued: Time,
    /// When it expires.
    pub expires: Time,
    /// Its id in audit logs, followed by that of the token that it was made from.
    pub audit_ids: Vec<String>,
    /// The application credential that it depends on.
    pub credential_id: Option<String>,
}

/// Returns the hash under which a token is stored.
#[must_use]
pub fn hash_of(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

/// A valid token with its user, scope and roles.
#[derive(Clone, Debug)]
pub struct Session {
    /// The caller that services see.
    pub caller: Arc<Caller>,
    /// The token.
    pub token: Token,
    /// Its user.
    pub user: User,
    /// The user's domain.
    pub user_domain: Domain,
    /// The tenant that the token is scoped to, and the tenant's domain.
    pub tenant: Option<(Tenant, Domain)>,
    /// The domain that the token is scoped to.
    pub domain: Option<Domain>,
    /// Whether it was issued for an application credential that may not create or delete credentials.
    pub restricted: bool,
}
