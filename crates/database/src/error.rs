//! Errors of the database layer.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the database itself. When a unit refuses its input, it returns its service's own error instead.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The URL names no engine or has a parameter that cannot be used.
    #[error("database {url:?}: {reason}")]
    Location {
        /// The URL, without its password.
        url: String,
        /// Why the URL is rejected.
        reason: String,
    },
    /// The database cannot be opened or reached.
    #[error("cannot open the {service} database: {reason}")]
    Open {
        /// The service that the tables belong to.
        service: &'static str,
        /// The engine's message.
        reason: String,
    },
    /// A newer version of the program wrote the database.
    #[error("the {service} database is at version {found}, this program knows {known}: start the newer one")]
    Newer {
        /// The service that the tables belong to.
        service: &'static str,
        /// The version found in the database.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// A row with that key already exists.
    #[error("already present: {reason}")]
    Duplicate {
        /// The engine's message.
        reason: String,
    },
    /// A concurrent unit conflicted with this one. The engine repeats this one.
    #[error("conflict with a concurrent unit")]
    Conflict,
    /// The connection was lost before COMMIT was sent, so nothing was changed. The engine repeats the unit on another
    /// connection, and reports [`Error::Unavailable`] if that fails too.
    #[error("connection to the database lost: {reason}")]
    Disconnected {
        /// The client's or server's message.
        reason: String,
    },
    /// The disk is full.
    #[error("no space left for the database")]
    Full,
    /// The engine is unreachable or too busy. The unit changed nothing and can be repeated.
    #[error("database unavailable: {reason}")]
    Unavailable {
        /// The engine's message.
        reason: String,
    },
    /// It is unknown whether the unit was committed: COMMIT was sent and its response was lost, or the log could not be
    /// synced. The caller must not undo, free or repeat anything, since what the unit wrote may be in the database.
    #[error("the outcome of the commit is not known: {reason}")]
    Unknown {
        /// Why the response was lost.
        reason: String,
    },
    /// A statement failed, through a bug in this program or a fault of the database.
    #[error("statement failed ({statement}): {reason}")]
    Statement {
        /// The statement's text, shortened.
        statement: String,
        /// The engine's message.
        reason: String,
    },
    /// A cell has a different type than the caller expects.
    #[error("column {column}: expected {expected}")]
    Type {
        /// The column's position, from 0.
        column: usize,
        /// The expected type.
        expected: &'static str,
    },
}

impl Error {
    pub(crate) fn statement(sql: &str, reason: impl std::fmt::Display) -> Self {
        let statement = sql.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(160).collect();
        Self::Statement { statement, reason: reason.to_string() }
    }

    /// Whether the unit may have been committed despite the error.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}
