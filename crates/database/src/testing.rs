//! Databases for tests: a fresh one on each engine, removed afterwards.

mod proxy;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

pub use proxy::{Cut, Proxy};

use crate::{Location, Server};

/// Connections of one test. Fewer than a process has by default, since tests run concurrently.
const CONNECTIONS: usize = 12;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A location for one test. Dropping it removes the databases.
pub struct TestLocation {
    /// The location to pass to [`crate::Database::open`].
    pub location: Location,
    dir: Option<PathBuf>,
}

impl TestLocation {
    /// Creates a temporary directory for SQLite.
    ///
    /// # Panics
    /// When the directory cannot be created.
    #[must_use]
    pub fn sqlite() -> Self {
        let dir = std::env::temp_dir().join(format!("nephos-db-{}", unique()));
        std::fs::create_dir_all(&dir).expect("temporary directory");
        Self { location: Location::Sqlite(dir.clone()), dir: Some(dir) }
    }

    /// Creates schemas for one test in the PostgreSQL server at `NEPHOS_TEST_POSTGRES`.
    ///
    /// # Panics
    /// When that variable is not set. `make test` starts a server and sets it.
    #[must_use]
    pub fn postgres() -> Self {
        let url = std::env::var("NEPHOS_TEST_POSTGRES")
            .expect("NEPHOS_TEST_POSTGRES is not set: run the tests by `make test`, which starts PostgreSQL");
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}options=-c%20search_path%3Dt{}", unique());
        Self { location: Location::Postgres(Server::new(&url, CONNECTIONS)), dir: None }
    }
}

fn unique() -> String {
    let started = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_micros());
    format!("{}_{}_{}", started, std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Drop for TestLocation {
    fn drop(&mut self) {
        if let Some(dir) = &self.dir {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

/// Defines one test per engine from `async fn name(location: &database::Location) { … }`.
#[macro_export]
macro_rules! on_each_engine {
    ($(#[$meta:meta])* async fn $name:ident($location:ident: &Location) $body:block) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            async fn run($location: &$crate::Location) $body
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let scratch = $crate::testing::TestLocation::sqlite();
                run(&scratch.location).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                let scratch = $crate::testing::TestLocation::postgres();
                run(&scratch.location).await;
            }
        }
    };
}
