//! Why an operation was rejected, independent of the dialect, which chooses status and form.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A rejection or failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The operation requires authentication.
    #[error("sign in first")]
    Unauthenticated,
    /// The caller lacks the right.
    #[error("not allowed")]
    Forbidden,
    /// The account, container or object does not exist.
    #[error("not found")]
    NotFound,
    /// The container holds objects, so it cannot be deleted.
    #[error("the container is not empty")]
    NotEmpty,
    /// A condition of the request is false.
    #[error("precondition failed: {0}")]
    Precondition(String),
    /// The request is invalid; the text names the part at fault.
    #[error("{0}")]
    Invalid(String),
    /// As `Invalid`, with a text that Swift sends as HTML.
    #[error("{0}")]
    Page(String),
    /// The request conflicts with the current state.
    #[error("{0}")]
    Conflict(String),
    /// A replicated change is older than what is stored.
    #[error("the stored object is newer")]
    Superseded,
    /// The upload would exceed a quota.
    #[error("{0}")]
    OverQuota(String),
    /// The request has more items than allowed.
    #[error("{0}")]
    TooMany(String),
    /// The version does not exist or is a delete marker.
    #[error("no such version")]
    NoVersion {
        /// The delete marker's id.
        marker: Option<work::Time>,
    },
    /// A link's target, given as account, container and object, was rejected.
    #[error("{0}")]
    Beyond(Box<Error>, (String, String, String)),
    /// The caller may not list the segments of a dynamic large object.
    #[error("{0}")]
    Segments(Box<Error>),
    /// A link's target is not valid for the link.
    #[error("{text}")]
    BrokenLink {
        /// The reason.
        text: String,
        /// The target: account, container and object.
        place: (String, String, String),
    },
    /// The name is invalid.
    #[error("{0}")]
    BadName(String),
    /// The bytes do not match the sender's ETag.
    #[error("the bytes do not match the ETag")]
    WrongEtag,
    /// The upload exceeds the maximum size of an object.
    #[error("the object is too large")]
    TooLarge,
    /// The connection closed before the announced length was received.
    #[error("the connection closed before the whole upload was received")]
    BrokeOff,
    /// The sender paused too long.
    #[error("the upload paused too long")]
    TooSlow,
    /// The disk is full.
    #[error("no space left")]
    Full,
    /// The database or the blob store is unavailable. Nothing was changed.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It is unknown whether the change was committed. Nothing that it may have written is rolled back or freed.
    #[error("it is unknown whether the change was committed: {0}")]
    Unknown(String),
    /// A bug or a disk failure.
    #[error("{0}")]
    Internal(String),
}

impl From<database::Error> for Error {
    fn from(error: database::Error) -> Self {
        match error {
            database::Error::Full => Self::Full,
            database::Error::Unavailable { reason } => Self::Unavailable(reason),
            database::Error::Unknown { reason } => Self::Unknown(reason),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<blobs::Error> for Error {
    fn from(error: blobs::Error) -> Self {
        match error {
            blobs::Error::Full => Self::Full,
            blobs::Error::Closing | blobs::Error::ReadOnly | blobs::Error::Io { .. } => {
                Self::Unavailable(error.to_string())
            }
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<web::body::Error> for Error {
    fn from(error: web::body::Error) -> Self {
        match error {
            web::body::Error::TooLong { .. } => Self::TooLarge,
            web::body::Error::TooSlow => Self::TooSlow,
            web::body::Error::Broken { .. } => Self::BrokeOff,
        }
    }
}
