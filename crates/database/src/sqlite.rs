//! SQLite: one writer thread with group commit, a pool of readers, and a checkpointer of its own.

mod reader;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, ffi};

use crate::error::{Error, Result};
use crate::migration::{self, Migration};
use crate::statement::for_sqlite;
use crate::tx::{BoxFuture, Tx};
use crate::value::{Cell, Row, Value};

pub(crate) struct Sqlite {
    // Dropped in this order: the writer first, so that its last batch is in the file.
    writer: writer::Writer,
    readers: Arc<reader::Readers>,
}

impl Sqlite {
    pub(crate) fn open(dir: &Path, service: &'static str, migrations: &[Migration]) -> Result<Self> {
        let failed = |reason: String| Error::Open { service, reason };
        std::fs::create_dir_all(dir).map_err(|e| failed(format!("{}: {e}", dir.display())))?;
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

/// Polls a unit that awaits nothing but its transaction, whose SQLite calls never wait.
pub(crate) fn run_now<T, E: From<Error>>(
    mut future: BoxFuture<'_, std::result::Result<T, E>>,
) -> std::result::Result<T, E> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => {
            Err(Error::statement("unit", "it awaited something beside its transaction").into())
        }
    }
}

fn connect(path: &PathBuf) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    prepare_connection(&connection)?;
    connection.execute_batch(
        "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;
         PRAGMA foreign_keys=ON; PRAGMA mmap_size=268435456; PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY;",
    )?;
    Ok(connection)
}

/// What readers and the writer have in common.
fn prepare_connection(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(256);
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    // Without it every binding of a value makes SQLite plan the statement anew: half of a point read's time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(|_| ())
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

fn failure(sql: &str, error: &rusqlite::Error) -> Error {
    if let rusqlite::Error::SqliteFailure(code, message) = error {
        let reason = message.clone().unwrap_or_else(|| code.to_string());
        return match code.extended_code {
            ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_UNIQUE => Error::Duplicate { reason },
            _ if code.code == rusqlite::ErrorCode::DiskFull => Error::Full,
            _ if code.code == rusqlite::ErrorCode::DatabaseBusy => Error::Unavailable { reason },
            _ => Error::statement(sql, reason),
        };
    }
    Error::statement(sql, error)
}

fn bind(statement: &mut rusqlite::CachedStatement<'_>, params: &[Value<'_>]) -> rusqlite::Result<()> {
    for (index, value) in params.iter().enumerate() {
        match value {
            Value::Null => statement.raw_bind_parameter(index + 1, rusqlite::types::Null)?,
            Value::Int(n) => statement.raw_bind_parameter(index + 1, n)?,
            Value::Text(s) => statement.raw_bind_parameter(index + 1, s)?,
            Value::Bytes(b) => statement.raw_bind_parameter(index + 1, b)?,
        }
    }
    Ok(())
}

pub(crate) fn rows(connection: &Connection, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>> {
    let collect = || -> rusqlite::Result<Vec<Row>> {
        let mut statement = connection.prepare_cached(for_sqlite(sql))?;
        bind(&mut statement, params)?;
        let columns = statement.column_count();
        let mut found = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let mut cells = Vec::with_capacity(columns);
            for column in 0..columns {
                cells.push(match row.get_ref(column)? {
                    ValueRef::Null => Cell::Null,
                    ValueRef::Integer(n) => Cell::Int(n),
                    ValueRef::Text(s) => Cell::Text(match std::str::from_utf8(s) {
                        Ok(text) => text.to_owned(),
                        Err(_) => String::from_utf8_lossy(s).into_owned(),
                    }),
                    ValueRef::Blob(b) => Cell::Bytes(b.to_vec()),
                    #[allow(clippy::cast_possible_truncation)]
                    ValueRef::Real(x) => Cell::Int(x as i64),
                });
            }
            found.push(Row { cells });
        }
        Ok(found)
    };
    collect().map_err(|e| failure(sql, &e))
}

pub(crate) fn execute(connection: &Connection, sql: &'static str, params: &[Value<'_>]) -> Result<u64> {
    let run = || -> rusqlite::Result<usize> {
        let mut statement = connection.prepare_cached(for_sqlite(sql))?;
        bind(&mut statement, params)?;
        statement.raw_execute()
    };
    run().map(|changed| changed as u64).map_err(|e| failure(sql, &e))
}
