//! What can go wrong below the services.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the database itself; a unit's own refusals are the service's errors.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The URL names no engine, or has a parameter that cannot be used.
    #[error("database {url:?}: {reason}")]
    Location {
        /// What was given, without its password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The database cannot be opened or reached.
    #[error("cannot open the {service} database: {reason}")]
    Open {
        /// Whose tables.
        service: &'static str,
        /// The engine's message.
        reason: String,
    },
    /// A newer program wrote it.
    #[error("the {service} database is at version {found}, this program knows {known}: start the newer one")]
    Newer {
        /// Whose tables.
        service: &'static str,
        /// The version found.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// A row with that key exists already.
    #[error("already present: {reason}")]
    Duplicate {
        /// The engine's message.
        reason: String,
    },
    /// A concurrent unit conflicted; the engine repeats this one.
    #[error("conflict with a concurrent unit")]
    Conflict,
    /// The connection was lost before COMMIT was sent, so nothing was changed; the engine repeats the unit on another
    /// connection and reports [`Error::Unavailable`] if that does not help.
    #[error("connection to the database lost: {reason}")]
    Disconnected {
        /// The client's or server's message.
        reason: String,
    },
    /// The disk is full.
    #[error("no space left for the database")]
    Full,
    /// The engine is unreachable or too busy; the unit changed nothing and can be repeated.
    #[error("database unavailable: {reason}")]
    Unavailable {
        /// The engine's message.
        reason: String,
    },
    /// Whether the unit was committed is not known: COMMIT was sent and its answer was lost, or the log could not be
    /// synced. Whoever gets this must not undo, free or repeat anything: what the unit wrote may be in the database.
    #[error("the outcome of the commit is not known: {reason}")]
    Unknown {
        /// What happened to the answer.
        reason: String,
    },
    /// A statement failed: a fault of this program or of the database.
    #[error("statement failed ({statement}): {reason}")]
    Statement {
        /// The text, shortened.
        statement: String,
        /// The engine's message.
        reason: String,
    },
    /// A cell has another type than the caller expects.
    #[error("column {column}: expected {expected}")]
    Type {
        /// Its position, from 0.
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

    /// Whether the unit may have been committed all the same.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}
