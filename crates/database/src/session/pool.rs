//! The process's connections to a PostgreSQL server, shared by all its services.

use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, PoolError, RecycleError, RecycleResult, TimeoutType, Timeouts};
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::postgres::{Client, reason};
use super::tls;
use crate::error::{Error, Result};

/// Statement timeout, and how long to wait for a server that does not respond.
pub(crate) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout for opening a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a unit waits for a free connection of the pool.
const WAIT_FOR_FREE: Duration = Duration::from_secs(30);

/// Opens connections.
pub(crate) struct Connector {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

impl Connector {
    /// Parses a URL. `sslmode` and `sslrootcert` have the meaning that libpq documents.
    ///
    /// # Errors
    /// [`Error::Location`] for a parameter or value that cannot be used.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let bad = |reason: String| Error::Location { url: redacted(url), reason };
        let (url, tls) = tls::split(url).map_err(bad)?;
        let mut config: Config = url.parse().map_err(|e: tokio_postgres::Error| bad(reason(&e)))?;
        let tls = tls.connector(&mut config).map_err(bad)?;
        config.connect_timeout(CONNECT_WITHIN);
        config.tcp_user_timeout(STATEMENT_TIMEOUT);
        Ok(Self { config, tls })
    }

    /// Returns the prefix of every schema, if the URL sets it by `?options=-c search_path=PREFIX`. Each test has its own.
    pub(crate) fn schema_prefix(&self) -> String {
        let given = self.config.get_options().and_then(|options| options.split_once("search_path="));
        given.map_or_else(String::new, |(_, prefix)| format!("{}_", prefix.trim()))
    }

    /// Opens a connection. `options` configures the session, as on the server's command line.
    pub(crate) async fn connect(
        &self,
        options: &str,
    ) -> std::result::Result<tokio_postgres::Client, tokio_postgres::Error> {
        let mut config = self.config.clone();
        config.options(options);
        // The task moves bytes until the client is dropped. The client reports the task's errors.
        match &self.tls {
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                tokio::spawn(connection);
                Ok(client)
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                tokio::spawn(connection);
                Ok(client)
            }
        }
    }
}

/// Returns the URL without its password, for messages.
pub(crate) fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}@{host}{}", tail.split('?').next().unwrap_or_default())
        }
        None => format!("{scheme}://{authority}{}", tail.split('?').next().unwrap_or_default()),
    }
}

pub(crate) struct Manager(Arc<Connector>);

impl managed::Manager for Manager {
    type Type = Client;
    type Error = tokio_postgres::Error;

    async fn create(&self) -> std::result::Result<Client, tokio_postgres::Error> {
        let options = format!("-c statement_timeout={}", STATEMENT_TIMEOUT.as_millis());
        self.0.connect(&options).await.map(Client::new)
    }

    async fn recycle(&self, client: &mut Client, _: &Metrics) -> RecycleResult<tokio_postgres::Error> {
        if client.is_closed() { Err(RecycleError::message("closed")) } else { Ok(()) }
    }
}

/// Up to `connections` connections to one server, opened on demand.
#[derive(Clone)]
pub(crate) struct Pool {
    pool: managed::Pool<Manager>,
    connector: Arc<Connector>,
}

impl Pool {
    pub(crate) fn new(url: &str, connections: usize) -> Result<Self> {
        let connector = Arc::new(Connector::new(url)?);
        let timeouts = Timeouts { wait: Some(WAIT_FOR_FREE), create: Some(CONNECT_WITHIN), recycle: None };
        let pool = managed::Pool::builder(Manager(Arc::clone(&connector)))
            .max_size(connections)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| Error::Location { url: redacted(url), reason: e.to_string() })?;
        Ok(Self { pool, connector })
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    pub(crate) async fn get(&self) -> Result<PooledClient> {
        match self.pool.get().await {
            Ok(client) => Ok(PooledClient(Some(Box::new(client)))),
            Err(error) => Err(Error::Unavailable { reason: pool_reason(&error) }),
        }
    }
}

fn pool_reason(error: &PoolError<tokio_postgres::Error>) -> String {
    match error {
        PoolError::Backend(backend) => reason(backend),
        PoolError::Timeout(TimeoutType::Wait) => {
            format!("all connections of this process were busy for {} s", WAIT_FOR_FREE.as_secs())
        }
        other => other.to_string(),
    }
}

/// A connection taken from the pool. Dropping it closes it. Only callers that know it to be intact and outside any
/// transaction return it, with [`PooledClient::recycle`].
pub(crate) struct PooledClient(Option<Box<managed::Object<Manager>>>);

impl PooledClient {
    /// Returns the connection to the pool.
    pub(crate) fn recycle(mut self) {
        drop(self.0.take());
    }
}

impl std::ops::Deref for PooledClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.0.as_ref().expect("taken only by recycle and drop")
    }
}

impl Drop for PooledClient {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(managed::Object::take(*client));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn messages_show_no_password() {
        assert_eq!(
            redacted("postgres://u:s%40cret@h:5432/db?sslmode=require&password=x"),
            "postgres://u@h:5432/db"
        );
        assert_eq!(redacted("postgres://h/db"), "postgres://h/db");
        assert_eq!(redacted("mysql:x"), "mysql:x");
    }
}
