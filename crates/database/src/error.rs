//! What can go wrong below the services.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the database itself; a unit's own refusals are the service's errors.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The URL is of no engine.
    #[error("database {url:?}: expected sqlite:, sqlite:DIR or postgres://…")]
    Location {
        /// What was given.
        url: String,
    },
    /// It cannot be opened or reached.
    #[error("cannot open the {service} database: {reason}")]
    Open {
        /// Whose tables.
        service: &'static str,
        /// The engine's words.
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
    /// A row with that key is there already.
    #[error("already present: {reason}")]
    Duplicate {
        /// The engine's words.
        reason: String,
    },
    /// Another unit got in between; the engine repeats this one.
    #[error("conflict with a concurrent unit")]
    Conflict,
    /// The disk is full.
    #[error("no space left for the database")]
    Full,
    /// The engine is away or too busy; the unit left nothing behind and can be repeated.
    #[error("database unavailable: {reason}")]
    Unavailable {
        /// The engine's words.
        reason: String,
    },
    /// A statement failed: a fault of this program or of the database.
    #[error("statement failed ({statement}): {reason}")]
    Statement {
        /// The text, shortened.
        statement: String,
        /// The engine's words.
        reason: String,
    },
    /// A cell was of another type than asked for.
    #[error("column {column}: expected {expected}")]
    Type {
        /// Its position, from 0.
        column: usize,
        /// What was asked for.
        expected: &'static str,
    },
}

impl Error {
    pub(crate) fn statement(sql: &str, reason: impl std::fmt::Display) -> Self {
        let statement = sql.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(160).collect();
        Self::Statement { statement, reason: reason.to_string() }
    }
}
