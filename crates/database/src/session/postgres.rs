//! Statements on a PostgreSQL connection, and the mapping of its errors.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Statement;
use tokio_postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};

use crate::error::{Error, Result};
use crate::statement::for_postgres;
use crate::value::{Cell, Row, Value};

/// One connection. All services of a process share the connections; `schema` selects whose tables a statement uses.
pub(crate) struct Client {
    client: tokio_postgres::Client,
    /// Prepared statements by schema and text, since a statement prepared under another search path uses other tables.
    statements: Mutex<HashMap<(Arc<str>, &'static str), Statement>>,
    /// The schema in force now.
    schema: Mutex<Arc<str>>,
    /// The schema of the session's search path, in force outside transactions.
    session_schema: Mutex<Arc<str>>,
}

impl Client {
    pub(crate) fn new(client: tokio_postgres::Client) -> Self {
        Self {
            client,
            statements: Mutex::default(),
            schema: Mutex::new("".into()),
            session_schema: Mutex::new("".into()),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Begins a transaction that uses the tables of `schema`.
    pub(crate) async fn begin(&self, isolation: &str, schema: &Arc<str>) -> Result<()> {
        *lock(&self.schema) = Arc::clone(schema);
        // One message, so that choosing the schema needs no extra round trip. LOCAL, so that ROLLBACK undoes only this
        // choice.
        self.batch(&format!("BEGIN ISOLATION LEVEL {isolation}; SET LOCAL search_path TO {schema}")).await
    }

    /// Selects the tables of `schema` for statements outside transactions.
    pub(crate) async fn use_schema(&self, schema: &Arc<str>) -> Result<()> {
        *lock(&self.schema) = Arc::clone(schema);
        let current = Arc::clone(&lock(&self.session_schema));
        if current != *schema {
            self.batch(&format!("SET search_path TO {schema}")).await?;
            *lock(&self.session_schema) = Arc::clone(schema);
        }
        Ok(())
    }

    pub(crate) async fn batch(&self, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).await.map_err(|e| error_of(sql, &e))
    }

    /// Sends COMMIT.
    ///
    /// # Errors
    /// [`Error::Unknown`] unless the server itself reports that the transaction was rolled back.
    pub(crate) async fn commit(&self) -> Result<()> {
        self.client.batch_execute("COMMIT").await.map_err(|e| commit_error("COMMIT", &e))
    }

    pub(crate) async fn rows(&self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>> {
        let query = async {
            let statement = self.prepare(sql).await?;
            self.client.query(&statement, &parameters(params)).await
        };
        let found = query.await.map_err(|e| error_of(sql, &e))?;
        found.iter().map(|row| row_of(row).map_err(|e| error_of(sql, &e))).collect()
    }

    pub(crate) async fn execute(&self, sql: &'static str, params: &[Value<'_>]) -> Result<u64> {
        let run = async {
            let statement = self.prepare(sql).await?;
            self.client.execute(&statement, &parameters(params)).await
        };
        run.await.map_err(|e| error_of(sql, &e))
    }

    /// Runs a writing statement as its own transaction, so its result is also that of the commit.
    ///
    /// # Errors
    /// Same as [`Client::commit`].
    pub(crate) async fn write_rows(&self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>> {
        let statement = self.prepare(sql).await.map_err(|e| error_of(sql, &e))?;
        let found = self.client.query(&statement, &parameters(params)).await;
        let found = found.map_err(|e| commit_error(sql, &e))?;
        found.iter().map(|row| row_of(row).map_err(|e| error_of(sql, &e))).collect()
    }

    /// Returns the single number that `sql` selects.
    pub(crate) async fn number(&self, sql: &str) -> Result<Option<i64>> {
        let row = self.client.query_one(sql, &[]).await.map_err(|e| error_of(sql, &e))?;
        row.try_get(0).map_err(|e| error_of(sql, &e))
    }

    async fn prepare(&self, sql: &'static str) -> std::result::Result<Statement, tokio_postgres::Error> {
        let key = (Arc::clone(&lock(&self.schema)), sql);
        let known = lock(&self.statements).get(&key).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(&for_postgres(sql)).await?;
        lock(&self.statements).insert(key, statement.clone());
        Ok(statement)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the server's own message. The client's `Display` says only "db error".
pub(crate) fn reason(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => db.message().to_owned(),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// Maps an error before COMMIT: nothing was changed.
fn error_of(sql: &str, error: &tokio_postgres::Error) -> Error {
    use std::error::Error as _;
    let reason = reason(error);
    let Some(code) = error.code() else {
        let is_io = error.source().is_some_and(|source| source.is::<std::io::Error>());
        return if error.is_closed() || is_io {
            Error::Disconnected { reason }
        } else {
            Error::statement(sql, reason)
        };
    };
    match code.code() {
        "23505" => Error::Duplicate { reason },
        "40001" | "40P01" => Error::Conflict,
        "53100" => Error::Full,
        // The server closed or rejected the connection (57P01 to 57P05, 08xxx), does not know the transaction's outcome
        // (40003), or has become a standby (25006). Another connection may reach the primary.
        code if code.starts_with("57P") || code.starts_with("08") || code == "40003" || code == "25006" => {
            Error::Disconnected { reason }
        }
        // Statement timeout, a lock that was not granted, or out of memory or connections.
        code if code == "57014" || code == "55P03" || code.starts_with("53") => Error::Unavailable { reason },
        _ => Error::statement(sql, reason),
    }
}

/// Maps an error in response to a commit. Only an error that the server reports about the transaction itself means that it
/// was rolled back. After any other error it may have been committed.
fn commit_error(sql: &str, error: &tokio_postgres::Error) -> Error {
    match error_of(sql, error) {
        Error::Disconnected { reason } if error.code().is_none_or(|code| code.code() != "25006") => {
            Error::Unknown { reason }
        }
        Error::Statement { reason, .. } if error.code().is_none() => Error::Unknown { reason },
        definite => definite,
    }
}

fn parameters<'p>(params: &'p [Value<'p>]) -> Vec<&'p (dyn ToSql + Sync)> {
    params.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

fn row_of(row: &tokio_postgres::Row) -> std::result::Result<Row, tokio_postgres::Error> {
    let mut cells = Vec::with_capacity(row.len());
    for (index, column) in row.columns().iter().enumerate() {
        cells.push(match *column.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(index)?.map_or(Cell::Null, Cell::Int),
            Type::INT4 => row.try_get::<_, Option<i32>>(index)?.map_or(Cell::Null, |n| Cell::Int(n.into())),
            Type::BOOL => row.try_get::<_, Option<bool>>(index)?.map_or(Cell::Null, |b| Cell::Int(b.into())),
            Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(index)?.map_or(Cell::Null, Cell::Bytes),
            _ => row.try_get::<_, Option<String>>(index)?.map_or(Cell::Null, Cell::Text),
        });
    }
    Ok(Row { cells })
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(n) if *ty == Type::INT4 => i32::try_from(*n)?.to_sql(ty, out),
            Value::Int(n) if *ty == Type::BOOL => (*n != 0).to_sql(ty, out),
            Value::Int(n) => n.to_sql(ty, out),
            Value::Text(s) => s.to_sql(ty, out),
            Value::Bytes(b) => b.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
