//! The service's only error type. Each dialect has its own mapping of it.

use std::time::Duration;

use crate::key::{MasterKeyError, UnsealError};
use crate::model::{ExtraError, NameError};

/// Why an operation failed. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The request is invalid; the message names the field.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
    /// The credentials are wrong, or the user does not exist.
    #[error("Unable to authenticate user with credentials provided.")]
    Credentials,
    /// The token to be exchanged for another one is invalid.
    #[error("Unable to authenticate user with credentials provided.")]
    UnknownToken,
    /// There is no valid token.
    #[error("No valid token provided. Please use the 'X-Auth-Token' header with a valid token.")]
    Token,
    /// The credentials are right, but the user, its domain or its tenant is disabled.
    #[error("User has been disabled")]
    Disabled,
    /// The credentials are right, but the account's policy requires a new password first.
    #[error("The password for this user has expired and must be changed.")]
    PasswordExpired {
        /// The user's id.
        user_id: String,
    },
    /// The caller is not allowed to do this.
    #[error("{message}")]
    Forbidden {
        /// Why not.
        message: String,
    },
    /// The resource does not exist, or the caller must not know of it.
    #[error("Could not find {what}: {id}.")]
    NotFound {
        /// Its kind.
        what: &'static str,
        /// The id or name in the request.
        id: String,
    },
    /// The operation conflicts with existing data.
    #[error("{message}")]
    Conflict {
        /// The conflict.
        message: String,
    },
    /// Too many failed attempts to sign in from this address or as this user.
    #[error("Too many failed attempts to sign in; retry after {} seconds.", retry_after.as_secs())]
    TooManyAttempts {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Too many concurrent operations.
    #[error("The service is busy; retry shortly.")]
    Busy,
    /// The database is unavailable or broken.
    #[error("The service is unavailable.")]
    Database(#[source] database::Error),
    /// A sealed secret cannot be opened: the master key is not this cloud's.
    #[error("The service is unavailable.")]
    Secret,
}

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into() }
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::Forbidden { message: message.into() }
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::Conflict { message: message.into() }
    }

    pub(crate) fn not_found(what: &'static str, id: &str) -> Self {
        Self::NotFound { what, id: id.to_owned() }
    }

    /// Logs the details that the response omits.
    pub(crate) fn log(&self) {
        match self {
            Self::Database(error) => {
                tracing::error!(%error, "identity's database failed; the request gets 503")
            }
            Self::Secret => {
                tracing::error!("a sealed secret cannot be opened: the master key may not be this cloud's")
            }
            _ => {}
        }
    }
}

impl From<database::Error> for Error {
    fn from(error: database::Error) -> Self {
        Self::Database(error)
    }
}

impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<ExtraError> for Error {
    fn from(error: ExtraError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<UnsealError> for Error {
    fn from(_: UnsealError) -> Self {
        Self::Secret
    }
}

impl From<MasterKeyError> for Error {
    fn from(_: MasterKeyError) -> Self {
        Self::Secret
    }
}
