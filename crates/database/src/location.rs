//! Location of a cloud's databases.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::session::pool::{Pool, redacted};

/// Default number of connections of one process to PostgreSQL. Three processes, each with one more connection for its lock,
/// fit into the 97 that PostgreSQL admits by default.
pub const CONNECTIONS: usize = 30;
/// How long to wait for the response to COMMIT. It is slow when a synchronous standby is unreachable.
const COMMIT_WITHIN: Duration = Duration::from_secs(30);

/// Location of this cloud's databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A directory with one SQLite file per service.
    Sqlite(PathBuf),
    /// A PostgreSQL server, where each service has its own schema.
    Postgres(Server),
}

impl Location {
    /// Parses `sqlite:`, `sqlite:DIR` or `postgres://…`. Plain `sqlite:` means `data_dir`.
    ///
    /// # Errors
    /// [`Error::Location`] when the URL names no engine.
    pub fn parse(url: &str, data_dir: &Path) -> Result<Self> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(Server::new(url, CONNECTIONS)));
        }
        match url.strip_prefix("sqlite:") {
            Some("") => Ok(Self::Sqlite(data_dir.join("db"))),
            Some(dir) => Ok(Self::Sqlite(PathBuf::from(dir))),
            None => Err(Error::Location {
                url: redacted(url),
                reason: "expected sqlite:, sqlite:DIR or postgres://…".into(),
            }),
        }
    }

    /// Returns the same location with another limit on connections. The limit has no effect on SQLite.
    #[must_use]
    pub fn with_connections(self, connections: usize) -> Self {
        match self {
            Self::Postgres(server) => Self::Postgres(Server::new(&server.url, connections)),
            sqlite @ Self::Sqlite(_) => sqlite,
        }
    }

    /// Whether several processes can use it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Whether this process is the only one that uses it. Always true for SQLite; for PostgreSQL only while this process
    /// holds the [`crate::ExclusiveLock`].
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(server) => server.exclusive.load(Ordering::Acquire),
        }
    }
}

/// A PostgreSQL server and this process's connections to it. All clones share the connections.
#[derive(Clone)]
pub struct Server {
    url: String,
    connections: usize,
    pool: Arc<OnceLock<Result<Pool>>>,
    exclusive: Arc<AtomicBool>,
    isolation: &'static str,
    commit_within: Duration,
}

impl Server {
    /// Creates a server from its URL, with at most `connections` connections.
    #[must_use]
    pub fn new(url: &str, connections: usize) -> Self {
        Self {
            url: url.to_owned(),
            connections,
            pool: Arc::default(),
            exclusive: Arc::default(),
            isolation: "SERIALIZABLE",
            commit_within: COMMIT_WITHIN,
        }
    }

    /// Maximum number of open connections, not counting the one of [`crate::ExclusiveLock`].
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Returns the same server with another isolation level for units. Tests use it for guarantees that must hold without
    /// serializability.
    #[must_use]
    pub fn with_isolation(&self, isolation: &'static str) -> Self {
        Self { isolation, ..Self::new(&self.url, self.connections) }
    }

    /// The same server with another deadline for the answer to a COMMIT, for tests of what happens after it.
    #[must_use]
    pub fn with_commit_within(&self, commit_within: Duration) -> Self {
        Self { commit_within, ..Self::new(&self.url, self.connections) }
    }

    pub(crate) fn commit_within(&self) -> Duration {
        self.commit_within
    }

    pub(crate) fn isolation(&self) -> &'static str {
        self.isolation
    }

    /// Returns the prefix of this cloud's schemas, which is empty unless the URL sets one.
    ///
    /// # Errors
    /// [`Error::Location`] for a URL that cannot be used.
    pub fn schema_prefix(&self) -> Result<String> {
        Ok(self.pool()?.connector().schema_prefix())
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn set_exclusive(&self) {
        self.exclusive.store(true, Ordering::Release);
    }

    pub(crate) fn pool(&self) -> Result<&Pool> {
        self.pool.get_or_init(|| Pool::new(&self.url, self.connections)).as_ref().map_err(Clone::clone)
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = redacted(&self.url);
        f.debug_struct("Server").field("url", &url).field("connections", &self.connections).finish()
    }
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        (&self.url, self.connections) == (&other.url, other.connections)
    }
}

impl Eq for Server {}
