//! PostgreSQL: each unit a serializable transaction on a pooled connection, repeated on conflict.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use tokio::sync::RwLock;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use tokio_postgres::{Config, NoTls};

use crate::error::Error;
use crate::migration::{self, Migration};
use crate::statement::schema_for_postgres;
use crate::tx::{BoxFuture, Connection as TxConnection, Tx};
use crate::value::{Cell, Row, Value};

/// Connections per service and process.
const CONNECTIONS: usize = 16;
/// Times a unit is repeated on conflict before its caller is told.
const ATTEMPTS: u32 = 40;
/// Times a unit is tried beside others; after that it has this process's turn alone, so that nobody is overtaken for good.
const ATTEMPTS_BESIDE: u32 = 3;
/// How long a statement may take, and a server that does not answer be waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Slots of a folded counter.
const SLOTS: i64 = 8;

pub(crate) struct Postgres {
    pool: Pool,
    next_slot: AtomicI64,
    /// Held shared by a unit beside others, alone by one that met too many conflicts. Fair: who comes later waits.
    turn: RwLock<()>,
}

impl Postgres {
    pub(crate) async fn open(
        url: &str,
        service: &'static str,
        migrations: &[Migration],
    ) -> Result<Self, Error> {
        let failed = |reason: String| Error::Open { service, reason };
        let mut config: Config = url.parse().map_err(|e: tokio_postgres::Error| failed(reason(&e)))?;
        let schema = config.get_options().and_then(schema_prefix).unwrap_or_default() + service;
        config.options(format!("-c search_path={schema} -c statement_timeout={}", PATIENCE.as_millis()));
        config.connect_timeout(Duration::from_secs(10));
        config.tcp_user_timeout(PATIENCE);
        let manager =
            Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager).max_size(CONNECTIONS).build().map_err(|e| failed(e.to_string()))?;
        let client = pool.get().await.map_err(|e| failed(pool_reason(&e)))?;
        migrate(&client, &schema, service, migrations).await?;
        drop(client);
        Ok(Self { pool, next_slot: AtomicI64::new(0), turn: RwLock::new(()) })
    }

    async fn client(&self) -> Result<Object, Error> {
        self.pool.get().await.map_err(|e| Error::Unavailable { reason: pool_reason(&e) })
    }

    async fn write<S, T, E, F>(&self, input: &S, unit: &F) -> Result<T, E>
    where
        S: Sync,
        E: From<Error>,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, Result<T, E>>,
    {
        for attempt in 0..ATTEMPTS {
            let turn = if attempt < ATTEMPTS_BESIDE {
                (Some(self.turn.read().await), None)
            } else {
                (None, Some(self.turn.write().await))
            };
            let client = self.client().await?;
            batch(&client, "BEGIN ISOLATION LEVEL SERIALIZABLE").await?;
            let slot = self.next_slot.fetch_add(1, Ordering::Relaxed).rem_euclid(SLOTS);
            let mut tx = Tx::new(TxConnection::Postgres(client), slot);
            let mut outcome = unit(input, &mut tx).await;
            if outcome.is_ok() {
                outcome = match tx.finish().await {
                    Ok(()) => outcome,
                    Err(error) => Err(error.into()),
                };
            }
            let TxConnection::Postgres(client) = &tx.connection else { unreachable!("it is PostgreSQL's") };
            if !tx.conflicted && outcome.is_ok() {
                match client.batch_execute("COMMIT").await {
                    Ok(()) => return outcome,
                    Err(error) if is_conflict(&error) => {}
                    Err(error) => return Err(sql_error("COMMIT", &error).into()),
                }
            } else {
                batch(client, "ROLLBACK").await?;
                if !tx.conflicted {
                    return outcome;
                }
            }
            drop((tx, turn));
            tokio::time::sleep(Duration::from_millis(u64::from(attempt.min(20)))).await;
        }
        Err(Error::Unavailable { reason: "too many conflicting writers".into() }.into())
    }

    async fn read<S, T, E, F>(&self, input: &S, unit: &F) -> Result<T, E>
    where
        S: Sync,
        E: From<Error>,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, Result<T, E>>,
    {
        let client = self.client().await?;
        batch(&client, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let mut tx = Tx::new(TxConnection::Postgres(client), 0);
        let answer = unit(input, &mut tx).await;
        if let TxConnection::Postgres(client) = &tx.connection {
            batch(client, "COMMIT").await?;
        }
        answer
    }

    pub(crate) async fn rows(&self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        rows(&self.client().await?, sql, params).await
    }
}

/// Runs a unit to its end, whether or not its caller goes on waiting, or is polled: one that stood still would keep its
/// transaction open, and others waiting for their turn.
async fn to_its_end<T, E>(unit: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    match tokio::spawn(unit).await {
        Ok(answer) => answer,
        Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        Err(_) => Err(Error::Unavailable { reason: "the program is stopping".into() }.into()),
    }
}

pub(crate) async fn write<S, T, E, F>(engine: &Arc<Postgres>, input: S, unit: F) -> Result<T, E>
where
    S: Send + Sync + 'static,
    T: Send + 'static,
    E: From<Error> + Send + 'static,
    F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'static,
{
    let engine = Arc::clone(engine);
    to_its_end(async move { engine.write(&input, &unit).await }).await
}

pub(crate) async fn read<S, T, E, F>(engine: &Arc<Postgres>, input: S, unit: F) -> Result<T, E>
where
    S: Send + Sync + 'static,
    T: Send + 'static,
    E: From<Error> + Send + 'static,
    F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'static,
{
    let engine = Arc::clone(engine);
    to_its_end(async move { engine.read(&input, &unit).await }).await
}

/// A schema prefix given as `?options=-c search_path=PREFIX` in the URL: tests have one each.
fn schema_prefix(options: &str) -> Option<String> {
    Some(options.split_once("search_path=")?.1.trim().to_owned() + "_")
}

async fn migrate(
    client: &Object,
    schema: &str,
    service: &'static str,
    migrations: &[Migration],
) -> Result<(), Error> {
    let failed = |e: tokio_postgres::Error| Error::Open { service, reason: reason(&e) };
    // Several processes may start at once; the first one in changes the tables.
    client
        .batch_execute("SET statement_timeout = 0; SELECT pg_advisory_lock(7823641)")
        .await
        .map_err(failed)?;
    let changed = apply(client, schema, service, migrations).await;
    client
        .batch_execute("SELECT pg_advisory_unlock(7823641); RESET statement_timeout")
        .await
        .map_err(failed)?;
    changed
}

async fn apply(
    client: &Object,
    schema: &str,
    service: &'static str,
    migrations: &[Migration],
) -> Result<(), Error> {
    let failed = |e: tokio_postgres::Error| Error::Open { service, reason: reason(&e) };
    let table = format!(
        "SET client_min_messages=warning; CREATE SCHEMA IF NOT EXISTS {schema};
         CREATE TABLE IF NOT EXISTS {schema}.schema_version (version BIGINT NOT NULL);"
    );
    client.batch_execute(&table).await.map_err(failed)?;
    let found: Option<i64> =
        client.query_one("SELECT max(version) FROM schema_version", &[]).await.map_err(failed)?.get(0);
    for migration in migration::pending(migrations, found.unwrap_or(0), service)? {
        let sql = format!(
            "BEGIN; {}; INSERT INTO schema_version VALUES ({}); COMMIT",
            schema_for_postgres(migration.sql),
            migration.version
        );
        client.batch_execute(&sql).await.map_err(failed)?;
    }
    Ok(())
}

async fn batch(client: &Object, sql: &str) -> Result<(), Error> {
    client.batch_execute(sql).await.map_err(|e| sql_error(sql, &e))
}

fn is_conflict(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
}

/// The server's own words: the client's `Display` says only "db error".
fn reason(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned())
}

fn pool_reason(error: &deadpool_postgres::PoolError) -> String {
    match error {
        deadpool_postgres::PoolError::Backend(backend) => reason(backend),
        other => other.to_string(),
    }
}

fn sql_error(sql: &str, error: &tokio_postgres::Error) -> Error {
    let reason = reason(error);
    match error.code() {
        Some(&SqlState::UNIQUE_VIOLATION) => Error::Duplicate { reason },
        Some(&SqlState::DISK_FULL) => Error::Full,
        Some(_) if is_conflict(error) => Error::Conflict,
        Some(&SqlState::QUERY_CANCELED) => Error::Unavailable { reason },
        Some(_) => Error::statement(sql, reason),
        None => Error::Unavailable { reason },
    }
}

pub(crate) async fn rows(
    client: &Object,
    sql: &'static str,
    params: &[Value<'_>],
) -> Result<Vec<Row>, Error> {
    let query = async {
        let statement = client.prepare_cached(sql).await?;
        client.query(&statement, &parameters(params)).await
    };
    let found = query.await.map_err(|e| sql_error(sql, &e))?;
    found.iter().map(|row| row_of(row).map_err(|e| sql_error(sql, &e))).collect()
}

pub(crate) async fn execute(client: &Object, sql: &'static str, params: &[Value<'_>]) -> Result<u64, Error> {
    let run = async {
        let statement = client.prepare_cached(sql).await?;
        client.execute(&statement, &parameters(params)).await
    };
    run.await.map_err(|e| sql_error(sql, &e))
}

fn parameters<'p>(params: &'p [Value<'p>]) -> Vec<&'p (dyn ToSql + Sync)> {
    params.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

fn row_of(row: &tokio_postgres::Row) -> Result<Row, tokio_postgres::Error> {
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
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
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
