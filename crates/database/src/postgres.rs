//! PostgreSQL engine. Each unit is a serializable transaction on one of the process's connections and is repeated on
//! conflict.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::RwLock;

use crate::error::{Error, Result as DbResult};
use crate::location::Server;
use crate::migration::{self, Migration};
use crate::session::Session;
use crate::session::pool::{Pool, PooledClient, STATEMENT_TIMEOUT};
use crate::statement::schema_for_postgres;
use crate::tx::{BoxFuture, SLOTS, Tx};
use crate::value::{Cell, Row, Value};

/// Attempts at a unit before its caller gets the conflict as an error.
const ATTEMPTS: u32 = 40;
/// Attempts during which other units run concurrently. After those the unit runs while no other unit of this process does,
/// so that others cannot overtake it forever.
const CONCURRENT_ATTEMPTS: u32 = 3;
/// Connections tried before the caller gets [`Error::Unavailable`].
const CONNECTIONS_TRIED: u32 = 5;

pub(crate) struct Postgres {
    pool: Pool,
    schema: Arc<str>,
    /// Isolation level of units: SERIALIZABLE except in tests.
    isolation: &'static str,
    /// How long to wait for the response to COMMIT.
    commit_within: Duration,
    next_slot: AtomicI64,
    /// Units that run concurrently hold it shared; one that met too many conflicts holds it exclusively. The lock is fair:
    /// later units wait.
    turn: RwLock<()>,
}

impl Postgres {
    pub(crate) async fn open(
        server: &Server,
        service: &'static str,
        migrations: &[Migration],
    ) -> Result<Self, Error> {
        let failed = |error: Error| match error {
            error @ (Error::Open { .. } | Error::Newer { .. }) => error,
            Error::Unavailable { reason } | Error::Disconnected { reason } => Error::Open { service, reason },
            other => Error::Open { service, reason: other.to_string() },
        };
        let pool = server.pool()?.clone();
        let schema: Arc<str> = (pool.connector().schema_prefix() + service).into();
        let client = pool.get().await.map_err(failed)?;
        migrate(&client, &schema, service, migrations).await.map_err(failed)?;
        client.recycle();
        Ok(Self {
            pool,
            schema,
            isolation: server.isolation(),
            commit_within: server.commit_within(),
            next_slot: AtomicI64::new(0),
            turn: RwLock::new(()),
        })
    }

    async fn write<S, T, E, F>(&self, input: &S, unit: &F) -> Result<T, E>
    where
        S: Sync,
        E: From<Error>,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, Result<T, E>>,
    {
        let (mut conflicts, mut lost) = (0, 0);
        loop {
            let turn = if conflicts < CONCURRENT_ATTEMPTS {
                (Some(self.turn.read().await), None)
            } else {
                (None, Some(self.turn.write().await))
            };
            match self.attempt(input, unit).await {
                Attempt::Done(outcome) => return outcome,
                Attempt::Conflict if conflicts + 1 == ATTEMPTS => {
                    return Err(Error::Unavailable { reason: "too many conflicting writers".into() }.into());
                }
                Attempt::Conflict => {
                    drop(turn);
                    tokio::time::sleep(Duration::from_millis(u64::from(conflicts.min(20)))).await;
                    conflicts += 1;
                }
                Attempt::Disconnected(reason) if lost + 1 == CONNECTIONS_TRIED => {
                    return Err(Error::Unavailable { reason }.into());
                }
                Attempt::Disconnected(_) => lost += 1,
            }
        }
    }

    async fn attempt<S, T, E, F>(&self, input: &S, unit: &F) -> Attempt<T, E>
    where
        S: Sync,
        E: From<Error>,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, Result<T, E>>,
    {
        let client = match self.pool.get().await {
            Ok(client) => client,
            Err(error) => return Attempt::Done(Err(error.into())),
        };
        if let Err(error) = client.begin(self.isolation, &self.schema).await {
            return Attempt::failed(error);
        }
        let slot = self.next_slot.fetch_add(1, Ordering::Relaxed).rem_euclid(SLOTS);
        let mut tx = Tx::new(Session::Postgres(client), slot);
        let mut outcome = unit(input, &mut tx).await;
        if outcome.is_ok()
            && let Err(error) = tx.finish().await
        {
            outcome = Err(error.into());
        }
        let failure = tx.failure().cloned();
        let Session::Postgres(client) = tx.into_session() else { unreachable!("it is PostgreSQL's") };
        if outcome.is_ok() {
            return match commit(client, self.commit_within).await {
                Ok(()) => Attempt::Done(outcome),
                Err(error) => Attempt::failed(error),
            };
        }
        match failure {
            // Dropping the connection closes it, which rolls the transaction back.
            Some(error @ (Error::Disconnected { .. } | Error::Unavailable { .. })) => Attempt::failed(error),
            failure => {
                // The same applies when ROLLBACK fails. The caller needs the unit's own result.
                if client.batch("ROLLBACK").await.is_ok() {
                    client.recycle();
                }
                if matches!(failure, Some(Error::Conflict)) {
                    Attempt::Conflict
                } else {
                    Attempt::Done(outcome)
                }
            }
        }
    }

    async fn read<S, T, E, F>(&self, input: &S, unit: &F) -> Result<T, E>
    where
        S: Sync,
        E: From<Error>,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, Result<T, E>>,
    {
        for lost in 1.. {
            let client = self.pool.get().await?;
            if let Err(error) = client.begin("REPEATABLE READ READ ONLY", &self.schema).await {
                retry_read(error, lost)?;
                continue;
            }
            let mut tx = Tx::new(Session::Postgres(client), 0);
            let answer = unit(input, &mut tx).await;
            let failure = tx.failure().cloned();
            let Session::Postgres(client) = tx.into_session() else { unreachable!("it is PostgreSQL's") };
            if let Some(error @ Error::Disconnected { .. }) = failure {
                retry_read(error, lost)?;
                continue;
            }
            if client.batch("COMMIT").await.is_ok() {
                client.recycle();
            }
            return answer;
        }
        unreachable!("the loop ends by returning")
    }

    pub(crate) async fn rows(&self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        for lost in 1.. {
            let client = self.pool.get().await?;
            let found = match client.use_schema(&self.schema).await {
                Ok(()) => client.rows(sql, params).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(rows) => {
                    client.recycle();
                    return Ok(rows);
                }
                Err(error) => retry_read(error, lost)?,
            }
        }
        unreachable!("the loop ends by returning")
    }

    async fn write_rows(&self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        let (mut lost, mut conflicts) = (0, 0);
        loop {
            let client = self.pool.get().await?;
            let written = match client.use_schema(&self.schema).await {
                Ok(()) => tokio::time::timeout(STATEMENT_TIMEOUT, client.write_rows(sql, params)).await,
                Err(error) => Ok(Err(error)),
            };
            match written {
                Ok(Ok(rows)) => {
                    client.recycle();
                    return Ok(rows);
                }
                Ok(Err(Error::Disconnected { .. })) if lost + 1 < CONNECTIONS_TRIED => lost += 1,
                Ok(Err(Error::Disconnected { reason })) => return Err(Error::Unavailable { reason }),
                Ok(Err(Error::Conflict)) if conflicts + 1 < ATTEMPTS => conflicts += 1,
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(Error::Unknown { reason: "no response in time".into() }),
            }
        }
    }
}

/// Outcome of one attempt at a unit.
enum Attempt<T, E> {
    Done(Result<T, E>),
    Conflict,
    Disconnected(String),
}

impl<T, E: From<Error>> Attempt<T, E> {
    fn failed(error: Error) -> Self {
        match error {
            Error::Conflict => Self::Conflict,
            Error::Disconnected { reason } => Self::Disconnected(reason),
            other => Self::Done(Err(other.into())),
        }
    }
}

/// Returns `Ok` if a failed read should be repeated on another connection, else the error for the caller.
fn retry_read(error: Error, lost: u32) -> Result<(), Error> {
    match error {
        Error::Disconnected { .. } if lost < CONNECTIONS_TRIED => Ok(()),
        Error::Disconnected { reason } => Err(Error::Unavailable { reason }),
        other => Err(other),
    }
}

/// Commits and returns the connection to the pool. If the response takes too long, a background task waits for it and keeps
/// the connection taken, so that hanging commits cannot open more connections than the pool has.
async fn commit(client: PooledClient, within: Duration) -> DbResult<()> {
    let mut committing = Box::pin(async move {
        let outcome = client.commit().await;
        if outcome.is_ok() {
            client.recycle();
        }
        outcome
    });
    match tokio::time::timeout(within, &mut committing).await {
        Ok(outcome) => outcome,
        Err(_) => {
            tokio::spawn(committing);
            let reason = format!("no response to COMMIT within {} s", within.as_secs());
            Err(Error::Unknown { reason })
        }
    }
}

/// Runs `work` to completion even if its caller stops polling. Otherwise a stalled unit would keep its transaction open and
/// make other units wait for their turn. Returns `stopped` if the runtime shuts down first.
async fn run_to_end<T, E>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
    stopped: fn(String) -> Error,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    match tokio::spawn(work).await {
        Ok(answer) => answer,
        Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        Err(_) => Err(stopped("the program is stopping".into()).into()),
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
    let work = async move { engine.write(&input, &unit).await };
    run_to_end(work, |reason| Error::Unknown { reason }).await
}

pub(crate) async fn write_rows(
    engine: &Arc<Postgres>,
    sql: &'static str,
    params: Vec<Cell>,
) -> Result<Vec<Row>, Error> {
    let engine = Arc::clone(engine);
    let work = async move {
        let params: Vec<Value<'_>> = params.iter().map(Value::from).collect();
        engine.write_rows(sql, &params).await
    };
    run_to_end(work, |reason| Error::Unknown { reason }).await
}

pub(crate) async fn read<S, T, E, F>(engine: &Arc<Postgres>, input: S, unit: F) -> Result<T, E>
where
    S: Send + Sync + 'static,
    T: Send + 'static,
    E: From<Error> + Send + 'static,
    F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'static,
{
    let engine = Arc::clone(engine);
    let work = async move { engine.read(&input, &unit).await };
    run_to_end(work, |reason| Error::Unavailable { reason }).await
}

async fn migrate(
    client: &PooledClient,
    schema: &Arc<str>,
    service: &'static str,
    migrations: &[Migration],
) -> Result<(), Error> {
    client.use_schema(schema).await?;
    // Several processes may start at once. The advisory lock lets only one of them migrate the tables.
    client.batch("SET statement_timeout = 0; SELECT pg_advisory_lock(7823641)").await?;
    let changed = apply(client, schema, service, migrations).await;
    client.batch("SELECT pg_advisory_unlock(7823641); RESET statement_timeout").await?;
    changed
}

async fn apply(
    client: &PooledClient,
    schema: &str,
    service: &'static str,
    migrations: &[Migration],
) -> Result<(), Error> {
    let table = format!(
        "SET client_min_messages=warning; CREATE SCHEMA IF NOT EXISTS {schema};
         CREATE TABLE IF NOT EXISTS {schema}.schema_version (version BIGINT NOT NULL);"
    );
    client.batch(&table).await?;
    let found = client.number("SELECT max(version) FROM schema_version").await?;
    for migration in migration::pending(migrations, found.unwrap_or(0), service)? {
        let sql = format!(
            "BEGIN; {}; INSERT INTO schema_version VALUES ({}); COMMIT",
            schema_for_postgres(migration.sql),
            migration.version
        );
        client.batch(&sql).await?;
    }
    Ok(())
}
