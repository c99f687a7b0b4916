//! Metadata behind one transaction type: SQLite in process, or PostgreSQL.
//!
//! A *unit* is one atomic piece of work with its preconditions, written once as an async closure over [`Tx`].
//! SQLite runs many units in one transaction, a savepoint each, and returns all of them after one fsync;
//! PostgreSQL runs each unit as a serializable transaction of its own and repeats it on conflict. Statements
//! are written by hand in the common subset with `$n` placeholders; names are `BLOB` columns, so both engines
//! order them by bytes.
//!
//! A unit whose COMMIT was sent and not answered ends in [`Error::Unknown`]: it may be in the database. Its caller must
//! not undo, free or repeat anything then.

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

pub use binding::{Binding, CloudRow};
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

/// Keeps the types of services' futures, which hold these, small.
fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
    Box::pin(future)
}

/// One service's database. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct Database {
    engine: Arc<Engine>,
}

impl Database {
    /// Opens `service`'s database at `location` and brings its tables up to date.
    ///
    /// # Errors
    /// [`Error::Newer`] when a later version of the program made it, [`Error::Open`] when it cannot be opened.
    pub async fn open(location: &Location, service: &'static str, migrations: &[Migration]) -> Result<Self> {
        let engine = match location {
            Location::Sqlite(dir) => Engine::Sqlite(sqlite::Sqlite::open(dir, service, migrations)?),
            Location::Postgres(server) => {
                let (pool, isolation) = (server.pool()?.clone(), server.isolation());
                let opened = postgres::Postgres::open(pool, isolation, service, migrations).await?;
                Engine::Postgres(Arc::new(opened))
            }
        };
        Ok(Self { engine: Arc::new(engine) })
    }

    /// Runs `unit` atomically and returns once it is durable.
    ///
    /// The closure may run more than once (PostgreSQL repeats it on conflict), hence `input` by reference. It
    /// must await nothing but its transaction. It runs to its end even if its caller stops waiting.
    ///
    /// # Errors
    /// What the unit returns, which rolls it back, or the engine's own [`Error`]. After [`Error::Unknown`] the unit may
    /// have been committed; after any other error it was not.
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

    /// Runs several reads over one snapshot, inline on the caller's thread with SQLite: for point reads.
    ///
    /// # Errors
    /// What the unit returns, or the engine's own [`Error`].
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

    /// As [`Database::read`], but on a small pool of threads of their own: for pages and walks.
    ///
    /// # Errors
    /// What the unit returns, or the engine's own [`Error`].
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

    /// One statement's rows, inline.
    ///
    /// # Errors
    /// The engine's own [`Error`].
    pub async fn rows(&self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>> {
        match &*self.engine {
            Engine::Sqlite(engine) => engine.rows(sql, params),
            Engine::Postgres(engine) => boxed(engine.rows(sql, params)).await,
        }
    }

    /// The first row of one statement, inline.
    ///
    /// # Errors
    /// The engine's own [`Error`].
    pub async fn row(&self, sql: &'static str, params: &[Value<'_>]) -> Result<Option<Row>> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    /// Runs one writing statement as a transaction of its own and returns its rows. PostgreSQL runs it at READ COMMITTED,
    /// where a statement that waited for a row goes on with the row's newest version: for claims (`FOR UPDATE SKIP
    /// LOCKED`) and other statements whose `WHERE` says all that matters.
    ///
    /// # Errors
    /// The engine's own [`Error`].
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

    /// A single writing statement as a unit of its own; returns the number of rows it changed.
    ///
    /// # Errors
    /// The engine's own [`Error`].
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
