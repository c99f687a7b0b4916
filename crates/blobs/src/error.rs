//! What can go wrong with bytes.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why bytes were not stored or not given.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be used at all.
    #[error("cannot use {path}: {reason}")]
    Open {
        /// Which file or directory.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// The disk is full.
    #[error("no space left for objects")]
    Full,
    /// What is there is not what was stored: it is never served.
    #[error("blob {id} is corrupt: {what}")]
    Corrupt {
        /// The blob.
        id: String,
        /// Which part.
        what: String,
    },
    /// It is not there.
    #[error("blob {id} is missing")]
    Missing {
        /// The blob.
        id: String,
    },
    /// The file system takes no writes.
    #[error("the file system is read-only")]
    ReadOnly,
    /// The system refused.
    #[error("{operation} failed: {reason}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The system's words.
        reason: String,
    },
    /// The store is closing.
    #[error("the object store is closing")]
    Closing,
}

impl Error {
    pub(crate) fn io(operation: &'static str, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            std::io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Io { operation, reason: error.to_string() },
        }
    }
}
