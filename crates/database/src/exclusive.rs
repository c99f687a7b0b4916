//! A lock that at most one process at a time holds on a cloud's databases.
//!
//! With PostgreSQL it is an advisory lock on a connection of its own, so the server releases it however the process dies.
//! With SQLite it is a lock on a file next to the databases.

use std::fs::File;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::location::{Location, Server};
use crate::session::postgres::reason;

/// First half of the advisory lock's key: `neph`.
const KEY: i32 = 0x6e65_7068;
/// How long to wait for a lock that another process holds. After a power cut the server first has to detect that the old
/// connection is dead.
const WAIT: Duration = Duration::from_secs(15);
/// Interval between attempts to take a lock that another process holds.
const TRY_EVERY: Duration = Duration::from_millis(200);
/// Interval at which the holder checks that its connection is still open.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// The server detects the dead connection of a machine that vanished after 5 s + 3 × 2 s.
const OPTIONS: &str = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 \
                       -c tcp_user_timeout=10000 -c idle_session_timeout=0 -c statement_timeout=10000";

/// The lock. Dropping it releases it.
pub struct ExclusiveLock {
    lost: watch::Receiver<bool>,
    task: Option<JoinHandle<()>>,
    _file: Option<File>,
}

impl ExclusiveLock {
    /// Takes the lock on the databases at `location`. Returns `None` if another process holds it.
    ///
    /// # Errors
    /// [`Error::Open`] when the databases cannot be reached.
    pub async fn take(location: &Location) -> Result<Option<Self>> {
        Self::take_within(location, WAIT).await
    }

    /// Same as [`ExclusiveLock::take`], but waits at most `wait` for a lock that another process holds, both now and
    /// whenever the lock has to be taken again.
    ///
    /// # Errors
    /// Same as [`ExclusiveLock::take`].
    pub async fn take_within(location: &Location, wait: Duration) -> Result<Option<Self>> {
        match location {
            Location::Sqlite(dir) => Self::on_directory(dir),
            Location::Postgres(server) => Self::on_server(server, wait).await,
        }
    }

    fn on_directory(dir: &std::path::Path) -> Result<Option<Self>> {
        let open = || {
            std::fs::create_dir_all(dir)?;
            File::options().create(true).truncate(false).write(true).open(dir.join("lock"))
        };
        let failed =
            |e: std::io::Error| Error::Open { service: "lock", reason: format!("{}: {e}", dir.display()) };
        let file = open().map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { lost: watch::channel(false).1, task: None, _file: Some(file) })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    async fn on_server(server: &Server, wait: Duration) -> Result<Option<Self>> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let held = take(server).await.map_err(|reason| Error::Open { service: "lock", reason })?;
            if let Some(held) = held {
                server.set_exclusive();
                let (lost, receiver) = watch::channel(false);
                let task = tokio::spawn(keep(server.clone(), held, lost, wait));
                return Ok(Some(Self { lost: receiver, task: Some(task), _file: None }));
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    }

    /// Returns once another process has taken the lock, which is possible after this process's connection broke. From then
    /// on this process must not serve.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        if lost.wait_for(|lost| *lost).await.is_err() {
            // A lock on a file cannot be lost.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for ExclusiveLock {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn take(server: &Server) -> std::result::Result<Option<tokio_postgres::Client>, String> {
    let connector = server.pool().map_err(|e| e.to_string())?.connector();
    let client = connector.connect(OPTIONS).await.map_err(|e| reason(&e))?;
    // Clouds with different schema prefixes can share a database, so the prefix is part of the key.
    let taken = client
        .query_one("SELECT pg_try_advisory_lock($1, hashtext($2))", &[&KEY, &connector.schema_prefix()])
        .await
        .map_err(|e| reason(&e))?;
    Ok(taken.get::<_, bool>(0).then_some(client))
}

/// Holds the lock, and takes it again on a new connection when the current one breaks.
async fn keep(server: Server, mut client: tokio_postgres::Client, lost: watch::Sender<bool>, wait: Duration) {
    loop {
        while client.batch_execute("").await.is_ok() {
            tokio::time::sleep(CHECK_EVERY).await;
        }
        tracing::warn!("the connection that holds the database's lock broke; taking the lock again");
        client = loop {
            match take(&server).await {
                Ok(Some(client)) => break client,
                Ok(None) => {
                    // The server may still hold the lock for the broken connection.
                    let deadline = tokio::time::Instant::now() + wait;
                    let mut again = None;
                    while again.is_none() && tokio::time::Instant::now() < deadline {
                        tokio::time::sleep(TRY_EVERY).await;
                        again = take(&server).await.ok().flatten();
                    }
                    match again {
                        Some(client) => break client,
                        None => {
                            lost.send_replace(true);
                            return;
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take the database's lock again; retrying");
                    tokio::time::sleep(TRY_EVERY).await;
                }
            }
        };
    }
}
