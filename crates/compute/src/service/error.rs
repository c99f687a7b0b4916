//! Why compute refused, in no dialect's words.

use work::Time;

use crate::model::Refusal;
use crate::model::launch::Bad;

/// Why an operation was not done. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is none that the caller may see; `0` says of what.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The caller's roles do not reach so far.
    #[error("the roles of this user do not allow it")]
    Forbidden,
    /// The image belongs to another account, which shares it, or to the cloud.
    #[error("{0}")]
    NotOwner(String),
    /// Something given is wrong.
    #[error("{field} {reason}")]
    Invalid {
        /// Which part of the request.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server's state does not admit it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The resize is not possible at all.
    #[error("{0}")]
    ResizeNotAllowed(String),
    /// No host has room.
    #[error("no capacity: {0}")]
    NoCapacity(String),
    /// The service cannot do it now.
    #[error("{0}")]
    Unavailable(String),
    /// A limit of the account is reached.
    #[error("{reason}")]
    OverLimit {
        /// Which.
        reason: String,
        /// When it may be tried again, for limits that time lifts.
        retry_at: Option<Time>,
    },
    /// It is in use, or being made.
    #[error("{0}")]
    Conflict(String),
    /// Whether the change was committed is not known. Nothing that it may have written is undone or freed.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
    /// A fault of this program or its engines.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }
}

impl From<Bad> for Error {
    fn from(bad: Bad) -> Self {
        Self::Invalid { field: bad.field, reason: bad.reason }
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
