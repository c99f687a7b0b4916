//! Counts every service's traffic and operations by tenant and UTC day.
//!
//! Counting adds to a sum in memory. A task writes all sums in one transaction about once a second and at shutdown. A crash
//! loses at most the counts since the last write.
//!
//! A write with an unknown outcome is retried and still counted once: its sums keep their flush number, which is stored in
//! the same transaction.

mod store;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use database::{Database, Error, Location};
use serde::Serialize;
use tokio::sync::watch;
use work::Clock;

/// Interval at which sums are written.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// Number of independently locked maps that the sums in memory are spread over, by tenant.
const SHARDS: usize = 16;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Bytes that Cloud Files received.
    FilesBytesIn,
    /// Bytes that Cloud Files sent.
    FilesBytesOut,
    /// Writes and listings of Cloud Files, which are billed.
    FilesCostOperations,
    /// All other requests to Cloud Files.
    FilesFreeOperations,
    /// Requests to Cloud Servers.
    ServersOperations,
    /// Seconds that servers existed.
    ServersSeconds,
    /// Seconds that servers existed, multiplied by their memory in MiB.
    ServersMibSeconds,
    /// Bytes that servers received from the public network.
    ServersBytesIn,
    /// Bytes that servers sent to the public network.
    ServersBytesOut,
}

impl Measure {
    const ALL: [Self; 9] = [
        Self::FilesBytesIn,
        Self::FilesBytesOut,
        Self::FilesCostOperations,
        Self::FilesFreeOperations,
        Self::ServersOperations,
        Self::ServersSeconds,
        Self::ServersMibSeconds,
        Self::ServersBytesIn,
        Self::ServersBytesOut,
    ];

    /// Its name in the database. Names never change.
    fn name(self) -> &'static str {
        match self {
            Self::FilesBytesIn => "files.bytes_in",
            Self::FilesBytesOut => "files.bytes_out",
            Self::FilesCostOperations => "files.costops",
            Self::FilesFreeOperations => "files.freeops",
            Self::ServersOperations => "servers.operations",
            Self::ServersSeconds => "servers.seconds",
            Self::ServersMibSeconds => "servers.mib_seconds",
            Self::ServersBytesIn => "servers.bytes_in",
            Self::ServersBytesOut => "servers.bytes_out",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.name() == name)
    }
}

/// One tenant's sum of one measure on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// The tenant.
    pub tenant: String,
    /// Days since 1970-01-01 UTC.
    pub day: i64,
    /// What was counted.
    pub measure: Measure,
    /// The sum: bytes, operations, seconds or MiB seconds, depending on the measure.
    pub total: u64,
}

pub(crate) type Sums = HashMap<(String, i64, Measure), u64>;

/// Sums that are written in one transaction.
#[derive(Clone)]
pub(crate) struct Flush {
    /// Increases with every flush of one writer.
    pub(crate) number: i64,
    pub(crate) sums: Vec<((String, i64, Measure), u64)>,
}

/// State of the writing task.
struct Writing {
    /// The last flush's number.
    last: i64,
    /// A flush that may or may not be stored.
    pending: Option<Flush>,
}

struct Inner {
    db: Database,
    clock: Clock,
    /// Identifies this meter among all that ever wrote to the database.
    writer: String,
    shards: [Mutex<Sums>; SHARDS],
    /// Locked during a flush, so that flushes do not overlap.
    writing: tokio::sync::Mutex<Writing>,
    stop: watch::Sender<bool>,
    stopped: watch::Sender<bool>,
}

/// The meter. Clones share their counts.
#[derive(Clone)]
pub struct Meter(Arc<Inner>);

impl Meter {
    /// Opens the meter's database and starts the writing task.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(location: &Location, clock: Clock) -> Result<Self, Error> {
        let db = Database::open(location, "meter", store::MIGRATIONS).await?;
        store::delete_old_writers(&db, clock.now()).await?;
        let inner = Inner {
            db,
            clock,
            writer: uuid::Uuid::new_v4().to_string(),
            writing: tokio::sync::Mutex::new(Writing { last: 0, pending: None }),
            shards: std::array::from_fn(|_| Mutex::default()),
            stop: watch::Sender::new(false),
            stopped: watch::Sender::new(false),
        };
        let meter = Self(Arc::new(inner));
        tokio::spawn(meter.clone().write_periodically());
        Ok(meter)
    }

    /// Adds `amount` of `measure` for `tenant` to today's sum.
    pub fn count(&self, tenant: &str, measure: Measure, amount: u64) {
        self.count_on(tenant, self.0.clock.now().seconds().div_euclid(86_400), measure, amount);
    }

    /// Adds `amount` of `measure` for `tenant` to the sum of `day`, in days since 1970-01-01 UTC.
    pub fn count_on(&self, tenant: &str, day: i64, measure: Measure, amount: u64) {
        if amount == 0 {
            return;
        }
        let shard = tenant.bytes().fold(0usize, |hash, byte| hash.wrapping_mul(31) ^ usize::from(byte));
        let mut sums = self.0.shards[shard % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        *sums.entry((tenant.to_owned(), day, measure)).or_default() += amount;
    }

    /// Returns the usage from `first_day` on, of one tenant or of all. Writes pending sums first.
    ///
    /// # Errors
    /// The database's.
    pub async fn usage(&self, tenant: Option<&str>, first_day: i64) -> Result<Vec<Usage>, Error> {
        self.write().await?;
        store::usage(&self.0.db, tenant, first_day).await
    }

    /// Writes pending sums and stops the writing task.
    pub async fn stop(&self) {
        self.0.stop.send_replace(true);
        let _ = self.0.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    async fn write_periodically(self) {
        let mut stop = self.0.stop.subscribe();
        loop {
            let last = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                () = tokio::time::sleep(WRITE_INTERVAL) => false,
            };
            if let Err(error) = self.write().await {
                tracing::warn!(%error, "cannot write usage; it stays in memory and is written with the next flush");
            }
            if last {
                break;
            }
        }
        self.0.stopped.send_replace(true);
    }

    async fn write(&self) -> Result<(), Error> {
        let mut writing = self.0.writing.lock().await;
        // Retry a failed flush first and unchanged: it may be stored already.
        if let Some(pending) = writing.pending.clone() {
            self.store(&mut writing, pending).await?;
        }
        let mut sums = Sums::new();
        for shard in &self.0.shards {
            sums.extend(std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner)));
        }
        if sums.is_empty() {
            return Ok(());
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        // Update rows in key order, so that two processes do not deadlock.
        sums.sort_unstable();
        writing.last += 1;
        let flush = Flush { number: writing.last, sums };
        writing.pending = Some(flush.clone());
        self.store(&mut writing, flush).await
    }

    async fn store(&self, writing: &mut Writing, flush: Flush) -> Result<(), Error> {
        store::add(&self.0.db, &self.0.writer, self.0.clock.now(), flush).await?;
        writing.pending = None;
        Ok(())
    }
}
