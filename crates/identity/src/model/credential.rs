//! Credentials that a user makes for programs.

use work::Time;

/// An application credential, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationCredential {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Its name, unique for the user.
    pub name: String,
    /// The tenant that its tokens hold on.
    pub tenant_id: String,
    /// Free text.
    pub description: String,
    /// Ids of the roles that its tokens have, as far as the user still has them.
    pub roles: Vec<String>,
    /// It is void then.
    pub expires: Option<Time>,
    /// Its tokens may make and unmake credentials.
    pub unrestricted: bool,
}

/// A pair of keys for requests signed the AWS way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ec2Credential {
    /// The access key, which names it.
    pub access: String,
    /// The secret key.
    pub secret: String,
    /// Whose it is.
    pub user_id: String,
    /// The tenant that requests act on.
    pub tenant_id: String,
}
