//! Metadata storage with one transaction type for two engines: SQLite in the process, or PostgreSQL.
//!
//! A *unit* is one atomic piece of work with its preconditions, written once as an async closure over [`Tx`]. SQLite runs
//! many units in one transaction, each in a savepoint, and returns all of them after one fsync. PostgreSQL runs each unit as
//! its own serializable transaction and repeats it on conflict. Statements are handwritten in the common subset of SQL with
//! `$n` placeholders. Names are `BLOB` columns, so both engines order them by bytes.
//!
//! A unit whose COMMIT was sent but not acknowledged returns [`Error::Unknown`]: it may be in the database. Its caller must
//! then not undo, free or repeat anything.

mod binding;
mod error;
mod exclusive;
mod location;
mod migration;
mod postgres;
mod report;
mod session;
mod sqlite;
mod statement;
pub mod testing;
mod tx;
mod value;

use std::sync::Arc;

pub use binding::{CloudBinding, CloudRow};
pub use error::{Error, Result};
pub use exclusive::ExclusiveLock;
pub use location::{CONNECTIONS, Location, Server};
pub use migration::Migration;
pub use report::{ServerReport, inspect};
pub use tx::{BoxFuture, Tx};
pub use value::{AsValue, Cell, FromCell, Row, Value};

enum Engine {
    Sqlite(sqlite::Sqlite),
    Postgres(Arc<postgres::Postgres>),
}

/// Boxes the engines' futures, which keeps the types of the services' futures small.
fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
    Box::pin(future)
}

/// One service's database. Cheap to clone. Dropping the last clone closes it.
#[derive(Clone)]
pub struct Database {
    engine: Arc<Engine>,
}

impl Database {
    /// Opens `service`'s database at `location` and migrates its tables to the current version.
    ///
    /// # Errors
    /// [`Error::Newer`] when a later version of the program wrote it, [`Error::Open`] when it cannot be opened.
    pub async fn open(location: &Location, service: &'static str, migrations: &[Migration]) -> Result<Self> {
        let engine = match location {
            Location::Sqlite(dir) => Engine::Sqlite(sqlite::Sqlite::open(dir, service, migrations)?),
            Location::Postgres(server) => {
                let opened = postgres::Postgres::open(server, service, migrations).await?;
                Engine::Postgres(Arc::new(opened))
            }
        };
        Ok(Self { engine: Arc::new(engine) })
    }

    /// Runs `unit` atomically and returns once it is durable.
    ///
    /// The closure may run more than once (PostgreSQL repeats it on conflict), so it takes `input` by reference. It must
    /// await nothing but its transaction. It runs to completion even if its caller stops waiting.
    ///
    /// # Errors
    /// The unit's own error, which rolls it back, or the engine's [`Error`]. After [`Error::Unknown`] the unit may have been
    /// committed; after any other error it was not.
    pub async fn write<S, T, E, F>(&self, input: S, unit: F) -> std::result::Result<T, E>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, std::result::Result<T, E>> + Send + Sync + 'static,
    {
        match &*self.engine {
            Engine::Sqlite(engine) => engine.write(input, unit).await,
            Engine::Postgres(engine) => boxed(postgres::write(engine, input, unit)).await,
        }
    }

    /// Runs several reads on one snapshot. With SQLite they run on the caller's thread, so use this for point reads.
    ///
    /// # Errors
    /// The unit's own error, or the engine's [`Error`].
    pub async fn read<S, T, E, F>(&self, input: S, unit: F) -> std::result::Result<T, E>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, std::result::Result<T, E>> + Send + Sync + 'static,
    {
        match &*self.engine {
            Engine::Sqlite(engine) => engine.read(&input, &unit),
            Engine::Postgres(engine) => boxed(postgres::read(engine, input, unit)).await,
        }
    }

    /// Same as [`Database::read`], but runs on a small pool of separate threads. Use this for pages and long scans.
    ///
    /// # Errors
    /// The unit's own error, or the engine's [`Error`].
    pub async fn scan<S, T, E, F>(&self, input: S, unit: F) -> std::result::Result<T, E>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, std::result::Result<T, E>> + Send + Sync + 'static,
    {
        match &*self.engine {
            Engine::Sqlite(engine) => engine.scan(input, unit).await,
            Engine::Postgres(engine) => boxed(postgres::read(engine, input, unit)).await,
        }
    }

    /// Returns one statement's rows, on the caller's thread with SQLite.
    ///
    /// # Errors
    /// The engine's [`Error`].
    pub async fn rows(&self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>> {
        match &*self.engine {
            Engine::Sqlite(engine) => engine.rows(sql, params),
            Engine::Postgres(engine) => boxed(engine.rows(sql, params)).await,
        }
    }

    /// Returns the first row of one statement, on the caller's thread with SQLite.
    ///
    /// # Errors
    /// The engine's [`Error`].
    pub async fn row(&self, sql: &'static str, params: &[Value<'_>]) -> Result<Option<Row>> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    /// Runs one writing statement as its own transaction and returns its rows. PostgreSQL runs it at READ COMMITTED, where a
    /// statement that waited for a row continues with the row's newest version. Use it for claims (`FOR UPDATE SKIP LOCKED`)
    /// and other statements whose `WHERE` clause holds every precondition.
    ///
    /// # Errors
    /// The engine's [`Error`].
    pub async fn write_rows(&self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>> {
        let cells: Vec<Cell> = params.iter().map(Cell::from).collect();
        match &*self.engine {
            Engine::Sqlite(engine) => {
                let written = engine.write(cells, move |cells, tx| {
                    Box::pin(async move {
                        let params: Vec<Value<'_>> = cells.iter().map(Value::from).collect();
                        tx.rows(sql, &params).await
                    })
                });
                written.await
            }
            Engine::Postgres(engine) => boxed(postgres::write_rows(engine, sql, cells)).await,
        }
    }

    /// Runs one writing statement as its own unit and returns the number of rows it changed.
    ///
    /// # Errors
    /// The engine's [`Error`].
    pub async fn execute(&self, sql: &'static str, params: &[Value<'_>]) -> Result<u64> {
        let cells: Vec<Cell> = params.iter().map(Cell::from).collect();
        self.write(cells, move |cells, tx| {
            Box::pin(async move {
                let params: Vec<Value<'_>> = cells.iter().map(Value::from).collect();
                tx.execute(sql, &params).await
            })
        })
        .await
    }
}
