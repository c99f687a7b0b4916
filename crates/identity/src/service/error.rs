//! The one error type of the service; each dialect has one mapping of it.

use std::time::Duration;

use crate::key::{MasterKeyError, Unsealable};
use crate::model::{ExtraError, NameError};

/// Why an operation was not done; nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The request makes no sense; the message names the field.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
    /// The name and what should prove it do not fit, whoever that is.
    #[error("Unable to authenticate user with credentials provided.")]
    Credentials,
    /// The token that was to be exchanged for another one is not good.
    #[error("Unable to authenticate user with credentials provided.")]
    UnknownToken,
    /// There is no good token.
    #[error("No valid token provided. Please use the 'X-Auth-Token' header with a valid token.")]
    Token,
    /// The credentials fit, but the user, its domain or its tenant is disabled.
    #[error("User has been disabled")]
    Disabled,
    /// The credentials fit, but the account's policy has the password changed first.
    #[error("The password for this user has expired and must be changed.")]
    PasswordExpired {
        /// Whose.
        user_id: String,
    },
    /// The caller may not.
    #[error("{message}")]
    Forbidden {
        /// Why not.
        message: String,
    },
    /// There is no such thing, or the caller must not know of it.
    #[error("Could not find {what}: {id}.")]
    NotFound {
        /// Its kind.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// It would collide with what is there.
    #[error("{message}")]
    Conflict {
        /// With what.
        message: String,
    },
    /// Too many failed attempts to sign in, from there or as that user.
    #[error("Too many failed attempts to sign in; retry after {} seconds.", retry_after.as_secs())]
    TooManyAttempts {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Too much to do at once.
    #[error("The service is busy; retry shortly.")]
    Busy,
    /// The database is away or broken.
    #[error("The service is unavailable.")]
    Database(#[source] database::Error),
    /// A secret at rest cannot be used: not this cloud's master key.
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

    /// Says in the log what the answer does not tell.
    pub(crate) fn log(&self) {
        match self {
            Self::Database(error) => tracing::error!(%error, "identity's database failed"),
            Self::Secret => {
                tracing::error!("a sealed secret cannot be opened: is the master key this cloud's?")
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

impl From<Unsealable> for Error {
    fn from(_: Unsealable) -> Self {
        Self::Secret
    }
}

impl From<MasterKeyError> for Error {
    fn from(_: MasterKeyError) -> Self {
        Self::Secret
    }
}
