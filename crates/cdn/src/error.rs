//! Why an operation was refused, in the service's own terms; the dialect chooses status and form.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A refusal or failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller lacks the right.
    #[error("not allowed")]
    Forbidden,
    /// The container was never published, or its publication was removed.
    #[error("the container was never CDN-enabled")]
    NotPublished,
    /// A name or value that is not acceptable; says which and why.
    #[error("{0}")]
    Invalid(String),
    /// A purge is refused; says why.
    #[error("{0}")]
    PurgeRefused(String),
    /// The account has used up its purges of this UTC day.
    #[error("{0} purges a day are used up")]
    PurgesUsedUp(u64),
    /// The database is unreachable; nothing was changed.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Whether the change was committed is not known.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
    /// A fault of this program or its disks.
    #[error("{0}")]
    Internal(String),
}

impl From<database::Error> for Error {
    fn from(error: database::Error) -> Self {
        match error {
            database::Error::Unavailable { reason } => Self::Unavailable(reason),
            database::Error::Full => Self::Unavailable("the disk is full".into()),
            database::Error::Unknown { reason } => Self::Unknown(reason),
            other => Self::Internal(other.to_string()),
        }
    }
}
