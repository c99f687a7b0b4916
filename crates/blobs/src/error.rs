//! Errors of the blob stores.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a blob could not be stored or read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be opened.
    #[error("cannot use {path}: {reason}")]
    Open {
        /// The file or directory.
        path: String,
        /// The operating system's message.
        reason: String,
    },
    /// The disk is full.
    #[error("no space left for objects")]
    Full,
    /// The stored bytes fail their checksum or belong to another blob. They are never returned.
    #[error("blob {id} is corrupt: {what}")]
    Corrupt {
        /// The blob's id.
        id: String,
        /// The part that is damaged.
        what: String,
    },
    /// The blob does not exist.
    #[error("blob {id} is missing")]
    Missing {
        /// The blob's id.
        id: String,
    },
    /// The file system is mounted read-only.
    #[error("the file system is read-only")]
    ReadOnly,
    /// A system call failed.
    #[error("{operation} failed: {reason}")]
    Io {
        /// The operation that failed.
        operation: &'static str,
        /// The operating system's message.
        reason: String,
    },
    /// The store is shutting down.
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
