//! Why an operation was refused, in the service's own words; dialects choose status and form.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A refusal or failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody is signed in, and that is needed.
    #[error("sign in first")]
    Unauthenticated,
    /// The caller may not.
    #[error("not allowed")]
    Forbidden,
    /// The account, container or object is not there.
    #[error("not found")]
    NotFound,
    /// A container that holds objects cannot be deleted.
    #[error("the container is not empty")]
    NotEmpty,
    /// A condition of the request does not hold.
    #[error("precondition failed: {0}")]
    Precondition(String),
    /// The request makes no sense; says which part.
    #[error("{0}")]
    Invalid(String),
    /// The request makes no sense; says which part, in a text that Swift calls a page.
    #[error("{0}")]
    Page(String),
    /// What is asked for is at odds with what is there.
    #[error("{0}")]
    Conflict(String),
    /// What is carried here from another cloud is older than what is here.
    #[error("what is here is newer")]
    Superseded,
    /// The upload would exceed a quota.
    #[error("{0}")]
    OverQuota(String),
    /// More of something than is taken at once.
    #[error("{0}")]
    TooMany(String),
    /// A version is missing, or it is a delete marker.
    #[error("no such version")]
    NoVersion {
        /// The delete marker's id.
        marker: Option<work::Time>,
    },
    /// What a link leads to, an account's container's object, is refused.
    #[error("{0}")]
    Beyond(Box<Error>, (String, String, String)),
    /// The segments of a dynamic large object may not be listed.
    #[error("{0}")]
    Segments(Box<Error>),
    /// A link leads to what it cannot mean.
    #[error("{text}")]
    BrokenLink {
        /// Why.
        text: String,
        /// Where it led: account, container and object.
        place: (String, String, String),
    },
    /// A name that cannot be one.
    #[error("{0}")]
    BadName(String),
    /// The bytes are not those that the sender's ETag names.
    #[error("the bytes do not match the ETag")]
    WrongEtag,
    /// More bytes than an object may have.
    #[error("the object is too large")]
    TooLarge,
    /// The sender left before the end, or sent fewer bytes than announced.
    #[error("the upload broke off")]
    BrokeOff,
    /// The sender paused too long.
    #[error("the upload paused too long")]
    TooSlow,
    /// The disk is full.
    #[error("no space left")]
    Full,
    /// The database or blobs are away; nothing was changed.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Whether the change was committed is not known. Nothing that it may have written is undone or freed.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
    /// A fault of this program or its disks.
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
