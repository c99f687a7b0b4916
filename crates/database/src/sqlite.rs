//! SQLite engine: one writer thread with group commit, a pool of readers, and a separate checkpointer thread.

mod reader;
mod space;
mod writer;

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::migration::{self, Migration};
use crate::session::sqlite::{connect, rows};
use crate::tx::{BoxFuture, Tx};
use crate::value::{Row, Value};

pub(crate) struct Sqlite {
    // Fields drop in this order: the writer first, so that its last batch is in the file.
    writer: writer::Writer,
    readers: Arc<reader::Readers>,
}

impl Sqlite {
    pub(crate) fn open(dir: &Path, service: &'static str, migrations: &[Migration]) -> Result<Self> {
        let failed = |reason: String| Error::Open { service, reason };
        create_dir(dir).map_err(|e| failed(format!("{}: {e}", dir.display())))?;
        let path = dir.join(format!("{service}.db"));
        let mut connection = connect(&path).map_err(|e| failed(e.to_string()))?;
        migrate(&mut connection, service, migrations)?;
        let readers = Arc::new(reader::Readers::new(path.clone()));
        let writer = writer::Writer::start(connection, path, service).map_err(|e| failed(e.to_string()))?;
        Ok(Self { writer, readers })
    }

    pub(crate) async fn write<S, T, E, F>(&self, input: S, unit: F) -> std::result::Result<T, E>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, std::result::Result<T, E>> + Send + Sync + 'static,
    {
        self.writer.submit(input, unit).await
    }

    pub(crate) fn read<S, T, E, F>(&self, input: &S, unit: &F) -> std::result::Result<T, E>
    where
        E: From<Error>,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, std::result::Result<T, E>>,
    {
        self.readers.snapshot(input, unit)
    }

    pub(crate) async fn scan<S, T, E, F>(&self, input: S, unit: F) -> std::result::Result<T, E>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, std::result::Result<T, E>> + Send + Sync + 'static,
    {
        let readers = Arc::clone(&self.readers);
        let _permit = readers.scans.acquire().await;
        let pool = Arc::clone(&self.readers);
        tokio::task::spawn_blocking(move || pool.snapshot(&input, &unit))
            .await
            .unwrap_or_else(|e| Err(Error::Unavailable { reason: e.to_string() }.into()))
    }

    pub(crate) fn rows(&self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>> {
        let connection = self.readers.take()?;
        let answer = rows(&connection, sql, params);
        self.readers.put_back(connection);
        answer
    }
}

/// Polls a unit that awaits nothing but its transaction. SQLite calls never wait, so one poll completes it.
pub(crate) fn run_now<T, E: From<Error>>(
    mut future: BoxFuture<'_, std::result::Result<T, E>>,
) -> std::result::Result<T, E> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => {
            Err(Error::statement("unit", "it awaited something other than its transaction").into())
        }
    }
}

/// Creates the directory of the databases. SQLite syncs the entries of its files in it; this function syncs the directory's
/// own entry.
fn create_dir(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(above)?.sync_all()
}

fn migrate(connection: &mut Connection, service: &'static str, migrations: &[Migration]) -> Result<()> {
    let failed = |e: rusqlite::Error| Error::Open { service, reason: e.to_string() };
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let pending = migration::pending(migrations, found, service)?;
    if pending.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction().map_err(failed)?;
    for migration in pending {
        transaction.execute_batch(migration.sql).map_err(failed)?;
        transaction.pragma_update(None, "user_version", migration.version).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}
