//! Errors of the service, independent of the wire APIs.

use work::Time;

use crate::model::Refusal;
use crate::model::launch::InvalidField;

/// Why an operation failed. Except for [`Error::Unknown`], nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no such object, or the caller must not see it. `0` names the kind.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The caller's roles do not allow the operation.
    #[error("the roles of this user do not allow it")]
    Forbidden,
    /// The image belongs to another account, which shares it, or to the cloud.
    #[error("{0}")]
    NotOwner(String),
    /// A value of the request is invalid.
    #[error("{field} {reason}")]
    Invalid {
        /// The field of the request.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server's state does not allow the action.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The resize is impossible in any state.
    #[error("{0}")]
    ResizeNotAllowed(String),
    /// No host has enough capacity.
    #[error("no capacity: {0}")]
    NoCapacity(String),
    /// A temporary failure; a retry may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// A limit of the account is reached.
    #[error("{reason}")]
    OverLimit {
        /// Which limit.
        reason: String,
        /// When to retry; only for rate limits.
        retry_at: Option<Time>,
    },
    /// The object is in use or being created.
    #[error("{0}")]
    Conflict(String),
    /// It is unknown whether the change was committed. Nothing was undone.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
    /// A bug in this program, or a failure of a component below it.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }
}

impl From<InvalidField> for Error {
    fn from(invalid: InvalidField) -> Self {
        Self::Invalid { field: invalid.field, reason: invalid.reason }
    }
}

impl From<database::Error> for Error {
    fn from(error: database::Error) -> Self {
        match error {
            database::Error::Full | database::Error::Unavailable { .. } | database::Error::Conflict => {
                Self::Unavailable(error.to_string())
            }
            database::Error::Unknown { reason } => Self::Unknown(reason),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<images::Error> for Error {
    fn from(error: images::Error) -> Self {
        match error {
            images::Error::NotFound => Self::NotFound("image"),
            images::Error::NotOwner | images::Error::OwnedByCloud => Self::NotOwner(error.to_string()),
            images::Error::InFlight => Self::Conflict(error.to_string()),
            images::Error::Invalid { field, reason } => Self::invalid(field, reason),
            images::Error::OverLimit(reason) => Self::OverLimit { reason, retry_at: None },
            images::Error::Unsafe(why) => Self::invalid("image", why.to_string()),
            images::Error::Refused(why) => Self::invalid("image", why),
            images::Error::Vault(images::VaultError::NotFound(_)) => Self::NotFound("object"),
            images::Error::Vault(images::VaultError::Refused(why)) => Self::invalid("source", why),
            images::Error::Vault(why) => Self::Unavailable(why.to_string()),
            images::Error::NoRoom { .. } => Self::Unavailable(error.to_string()),
            images::Error::File { .. } => Self::Internal(error.to_string()),
            images::Error::Database(error) => error.into(),
        }
    }
}

impl From<networks::Error> for Error {
    fn from(error: networks::Error) -> Self {
        match error {
            networks::Error::Exhausted(_) => Self::NoCapacity(error.to_string()),
            networks::Error::NotHeld(_) => Self::NotFound("address"),
            networks::Error::NoPort(_) => Self::Internal(error.to_string()),
            networks::Error::Database(error) => error.into(),
        }
    }
}
