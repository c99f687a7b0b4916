//! Readers: a pool of connections, each of which sees the last commit before its snapshot began.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::run_now;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::session::sqlite::{connect_to_read, execute};
use crate::tx::{BoxFuture, Tx};

/// Maximum number of concurrent scans. Point reads are not limited.
const SCANS: usize = 4;

pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    pub(super) scans: Semaphore,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default(), scans: Semaphore::new(SCANS) }
    }

    pub(super) fn take(&self) -> Result<Connection> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| self.connect(), Ok)
    }

    pub(super) fn put_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    pub(super) fn snapshot<S, T, E, F>(&self, input: &S, unit: &F) -> std::result::Result<T, E>
    where
        E: From<Error>,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, std::result::Result<T, E>>,
    {
        let connection = self.take()?;
        execute(&connection, "BEGIN", &[])?;
        let mut tx = Tx::new(Session::Sqlite(connection), 0);
        let answer = run_now(unit(input, &mut tx));
        if let Session::Sqlite(connection) = tx.into_session() {
            // Drop a connection whose snapshot cannot be ended instead of reusing it.
            if execute(&connection, "COMMIT", &[]).is_ok() {
                self.put_back(connection);
            }
        }
        answer
    }

    fn connect(&self) -> Result<Connection> {
        connect_to_read(&self.path).map_err(|e| Error::Unavailable { reason: e.to_string() })
    }
}
