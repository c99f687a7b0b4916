//! Metadata behind one transaction type: SQLite in process, or PostgreSQL.
//!
//! A *unit* is one atomic piece of work with its preconditions, written once as an async closure over [`Tx`].
//! SQLite runs many units in one transaction, a savepoint each, and answers all of them after one fsync;
//! PostgreSQL runs each unit as a serializable transaction of its own and repeats it on conflict. Statements
//! are written by hand in the common subset with `$n` placeholders; names are `BLOB` columns, so both engines
//! order them by bytes.

mod error;
mod migration;
mod postgres;
mod sqlite;
mod statement;
pub mod testing;
mod tx;
mod value;

use std::path::PathBuf;
use std::sync::Arc;

pub use error::{Error, Result};
pub use migration::Migration;
pub use tx::{BoxFuture, Tx};
pub use value::{AsValue, Cell, FromCell, Row, Value};

/// Where the databases of this cloud are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A directory that holds one SQLite file per service.
    Sqlite(PathBuf),
    /// A PostgreSQL URL; each service has a schema of its own there.
    Postgres(String),
}

impl Location {
    /// Reads `sqlite:`, `sqlite:DIR` or `postgres://…`; plain `sqlite:` means `data_dir`.
    ///
    /// # Errors
    /// [`Error::Location`] when the URL is of neither kind.
    pub fn parse(url: &str, data_dir: &std::path::Path) -> Result<Self> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        match url.strip_prefix("sqlite:") {
            Some("") => Ok(Self::Sqlite(data_dir.join("db"))),
            Some(dir) => Ok(Self::Sqlite(PathBuf::from(dir))),
            None => Err(Error::Location { url: url.to_owned() }),
        }
    }

    /// Whether several processes may share it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

enum Engine {
    Sqlite(sqlite::Sqlite),
    Postgres(Arc<postgres::Postgres>),
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
            Location::Postgres(url) => {
                Engine::Postgres(Arc::new(postgres::Postgres::open(url, service, migrations).await?))
            }
        };
        Ok(Self { engine: Arc::new(engine) })
    }

    /// Runs `unit` atomically and answers once it is durable.
    ///
    /// The closure may run more than once (PostgreSQL repeats it on conflict), hence `input` by reference. It
    /// must await nothing but its transaction. It comes to its end even if its caller stops waiting.
    ///
    /// # Errors
    /// What the unit returns, which undoes it, or the engine's own [`Error`].
    pub async fn write<S, T, E, F>(&self, input: S, unit: F) -> std::result::Result<T, E>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, std::result::Result<T, E>> + Send + Sync + 'static,
    {
        match &*self.engine {
            Engine::Sqlite(engine) => engine.write(input, unit).await,
            Engine::Postgres(engine) => postgres::write(engine, input, unit).await,
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
            Engine::Postgres(engine) => postgres::read(engine, input, unit).await,
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
            Engine::Postgres(engine) => postgres::read(engine, input, unit).await,
        }
    }

    /// One statement's rows, inline.
    ///
    /// # Errors
    /// The engine's own [`Error`].
    pub async fn rows(&self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>> {
        match &*self.engine {
            Engine::Sqlite(engine) => engine.rows(sql, params),
            Engine::Postgres(engine) => engine.rows(sql, params).await,
        }
    }

    /// The first row of one statement, inline.
    ///
    /// # Errors
    /// The engine's own [`Error`].
    pub async fn row(&self, sql: &'static str, params: &[Value<'_>]) -> Result<Option<Row>> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    /// A single writing statement as a unit of its own; answers the number of rows it changed.
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
