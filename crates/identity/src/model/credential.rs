//! Credentials that a user creates for programs.

use work::Time;

/// An application credential, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationCredential {
    /// Its id.
    pub id: String,
    /// The id of its user.
    pub user_id: String,
    /// Its name, unique per user.
    pub name: String,
    /// The tenant that its tokens are scoped to.
    pub tenant_id: String,
    /// Free text.
    pub description: String,
    /// Ids of its tokens' roles. A role counts only while the user has it.
    pub roles: Vec<String>,
    /// When it expires.
    pub expires: Option<Time>,
    /// Whether its tokens may create and delete credentials.
    pub unrestricted: bool,
}

/// A key pair for requests with AWS signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ec2Credential {
    /// The access key, which identifies the pair.
    pub access: String,
    /// The secret key.
    pub secret: String,
    /// The id of its user.
    pub user_id: String,
    /// The tenant that requests act on.
    pub tenant_id: String,
}
