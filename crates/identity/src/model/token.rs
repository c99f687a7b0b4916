//! Tokens: random, stored hashed, and what is known of one that is good.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use work::Time;

use super::caller::Caller;
use super::scope::Scope;
use super::user::{Domain, Tenant, User};

/// How a token was got.
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
    /// As v3 and rows spell it.
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

    /// From what a row holds.
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
    /// SHA-256 of what the client has.
    pub hash: [u8; 32],
    /// Whose it is.
    pub user_id: String,
    /// Where it holds.
    pub scope: Scope,
    /// How it was got, and how the token was got that it was made from.
    pub methods: Vec<Method>,
    /// When it was issued.
    pub issued: Time,
    /// When it runs out.
    pub expires: Time,
    /// Names it in logs, and after it the one it was made from.
    pub audit_ids: Vec<String>,
    /// The application credential that it hangs on.
    pub credential_id: Option<String>,
}

/// What is stored of a token.
#[must_use]
pub fn hash_of(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

/// A good token with all that it stands for.
#[derive(Clone, Debug)]
pub struct Session {
    /// What services see.
    pub caller: Arc<Caller>,
    /// The token.
    pub token: Token,
    /// Whose it is.
    pub user: User,
    /// The domain that the user is in.
    pub user_domain: Domain,
    /// The tenant that the token holds on, and its domain.
    pub tenant: Option<(Tenant, Domain)>,
    /// The domain that the token holds on.
    pub domain: Option<Domain>,
    /// Made by an application credential that may not make or unmake credentials.
    pub restricted: bool,
}
