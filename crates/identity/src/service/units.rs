//! Identity's units of work, and what becomes of the session cache when their outcome is not known.

use std::sync::Arc;

use database::{BoxFuture, Database, Tx};
use tokio::sync::oneshot;

use crate::service::error::Error;
use crate::service::sessions::Sessions;

/// An error of a unit.
pub(crate) trait UnitError: From<database::Error> + Send + 'static {
    /// Whether it is unknown if the unit was committed.
    fn is_unknown(&self) -> bool;
}

impl UnitError for database::Error {
    fn is_unknown(&self) -> bool {
        self.is_unknown()
    }
}

impl UnitError for Error {
    fn is_unknown(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_unknown())
    }
}

/// The database with the sessions that are kept of it.
///
/// Whoever changes something forgets the sessions that it concerns once the change is durable. Where that does not happen,
/// since the outcome of the commit is unknown or the client has left, all sessions are forgotten.
#[derive(Clone)]
pub(crate) struct Units {
    db: Database,
    sessions: Arc<Sessions>,
}

impl Units {
    pub(crate) fn new(db: Database, sessions: Arc<Sessions>) -> Self {
        Self { db, sessions }
    }

    /// The database, for what concerns no sessions.
    pub(crate) fn database(&self) -> &Database {
        &self.db
    }

    /// As [`Database::write`], but carried through when its caller is dropped.
    pub(crate) async fn write<S, T, E, F>(&self, input: S, unit: F) -> Result<T, E>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        E: UnitError,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let this = self.clone();
        tokio::spawn(async move {
            let written = this.db.write(input, unit).await;
            if written.as_ref().is_err_and(UnitError::is_unknown) {
                this.sessions.distrust();
            }
            if let Err(unheard) = sender.send(written)
                && unheard.is_ok()
            {
                this.sessions.forget_all();
            }
        });
        // The sender is gone only when the runtime ends.
        let stopped = |_| Err(database::Error::Unavailable { reason: "the process is ending".into() }.into());
        receiver.await.unwrap_or_else(stopped)
    }

    /// As [`Database::read`].
    pub(crate) async fn read<S, T, E, F>(&self, input: S, unit: F) -> Result<T, E>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        E: From<database::Error> + Send + 'static,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'static,
    {
        self.db.read(input, unit).await
    }

    /// As [`Database::scan`].
    pub(crate) async fn scan<S, T, E, F>(&self, input: S, unit: F) -> Result<T, E>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        E: From<database::Error> + Send + 'static,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'static,
    {
        self.db.scan(input, unit).await
    }
}
