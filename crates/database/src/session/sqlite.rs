//! Statements on a SQLite connection, and the mapping of its errors.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use crate::error::{Error, Result};
use crate::statement::for_sqlite;
use crate::value::{Cell, Row, Value};

/// How long a connection waits for another connection's lock.
pub(crate) const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Opens a connection for reading and writing.
pub(crate) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    prepare(&connection)?;
    connection.execute_batch(
        "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;
         PRAGMA foreign_keys=ON; PRAGMA mmap_size=268435456; PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY;",
    )?;
    Ok(connection)
}

/// Opens a read-only connection.
pub(crate) fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    prepare(&connection)?;
    connection.execute_batch("PRAGMA mmap_size=268435456; PRAGMA cache_size=-4096;")?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(256);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Query planner stability. Without it SQLite plans the statement again for every bound value, which takes half the time
    // of a point read.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(|_| ())
}

/// Whether a sync failed. The kernel may have dropped the pages that it could not write and report success for the next
/// sync, so this process must not sync that file again.
pub(crate) fn is_failed_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|code| code.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

pub(crate) fn failure(sql: &str, error: &rusqlite::Error) -> Error {
    if let rusqlite::Error::SqliteFailure(code, message) = error {
        let reason = message.clone().unwrap_or_else(|| code.to_string());
        return match code.extended_code {
            ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_UNIQUE => Error::Duplicate { reason },
            _ => match code.code {
                ErrorCode::DiskFull => Error::Full,
                ErrorCode::DatabaseBusy
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly => Error::Unavailable { reason },
                _ => Error::statement(sql, reason),
            },
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
    execute_raw(connection, sql, params).map_err(|e| failure(sql, &e))
}

/// Same as [`execute`], but returns SQLite's own error.
pub(crate) fn execute_raw(
    connection: &Connection,
    sql: &'static str,
    params: &[Value<'_>],
) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(for_sqlite(sql))?;
    bind(&mut statement, params)?;
    statement.raw_execute().map(|changed| changed as u64)
}
