//! A connection of either engine, on which a transaction runs its statements.

pub(crate) mod pool;
pub(crate) mod postgres;
pub(crate) mod sqlite;
pub(crate) mod tls;

use crate::error::Result;
use crate::value::{Row, Value};

pub(crate) enum Session {
    Sqlite(rusqlite::Connection),
    Postgres(pool::PooledClient),
}

impl Session {
    pub(crate) async fn rows(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>> {
        match self {
            Self::Sqlite(connection) => sqlite::rows(connection, sql, params),
            Self::Postgres(client) => client.rows(sql, params).await,
        }
    }

    pub(crate) async fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<u64> {
        match self {
            Self::Sqlite(connection) => sqlite::execute(connection, sql, params),
            Self::Postgres(client) => client.execute(sql, params).await,
        }
    }
}
