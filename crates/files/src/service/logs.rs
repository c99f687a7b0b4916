//! Access logs, delivered to the account whose containers ask for them (Cloud Files guide, Access log delivery).
//!
//! Lines are kept in memory, by container and hour. They are stored as objects once per interval, when there are many, and on
//! shutdown. A process that is killed loses its undelivered lines.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use identity::Caller;
use tokio::sync::Notify;
use work::Time;

use super::content::Incoming;
use super::upload::PutRequest;
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::access::{Access, log_name};
use crate::model::metadata::{Changes, Metadata};
use crate::model::version::is_versioned;
use crate::store;

/// The container for an account's logs.
pub const LOGS: &str = ".ACCESS_LOGS";
/// The setting of a container that wants its requests logged.
const DELIVERY: &str = "x-container-meta-access-log-delivery";
/// Size of undelivered lines from which they are delivered at once, in bytes.
const WAITING_BYTES: usize = 16 << 20;
/// Maximum size of lines that could not be delivered, in bytes; further lines are dropped.
const KEPT_BYTES_MAX: usize = 64 << 20;

const HOUR_MICROS: i64 = 3_600_000_000;

/// Returns whether a container wants its requests logged.
#[must_use]
pub fn wants_logs(metadata: &Metadata) -> bool {
    let word = metadata.get(DELIVERY).unwrap_or_default().trim().to_ascii_lowercase();
    matches!(word.as_str(), "true" | "1" | "yes" | "on" | "t" | "y")
}

/// Records, while a request is handled, whether its container wants it logged and whether it has versions.
#[derive(Debug)]
pub struct ContainerObserver {
    account: String,
    container: String,
    seen: AtomicBool,
    wants: AtomicBool,
    versions: AtomicBool,
}

impl ContainerObserver {
    /// Creates a watch for a request to this container or an object in it.
    #[must_use]
    pub fn of(account: &str, container: &str) -> Self {
        let [seen, wants, versions] = [const { AtomicBool::new(false) }; 3];
        Self { account: account.to_owned(), container: container.to_owned(), seen, wants, versions }
    }

    /// Returns whether a container has versions, if that is known without reading it again.
    #[must_use]
    pub fn has_versions(&self, account: &str, container: &str) -> Option<bool> {
        let known =
            self.account == account && self.container == container && self.seen.load(Ordering::Relaxed);
        known.then(|| self.versions.load(Ordering::Relaxed))
    }

    /// Called when the container's row was read.
    pub(super) fn see(&self, account: &str, container: &str, metadata: Option<&Metadata>) {
        if self.account == account && self.container == container {
            self.wants.store(metadata.is_some_and(wants_logs), Ordering::Relaxed);
            self.versions.store(metadata.is_some_and(is_versioned), Ordering::Relaxed);
            self.seen.store(true, Ordering::Relaxed);
        }
    }
}

/// Undelivered lines.
#[derive(Default)]
pub(super) struct Logs {
    waiting: Mutex<Waiting>,
    many: Notify,
    delivering: tokio::sync::Mutex<()>,
}

/// Account, container and hour.
type Place = (String, String, i64);

#[derive(Default)]
struct Waiting {
    lines: BTreeMap<Place, Vec<u8>>,
    bytes: usize,
}

impl Waiting {
    fn add(&mut self, place: Place, lines: &[u8]) {
        self.bytes += lines.len();
        self.lines.entry(place).or_default().extend_from_slice(lines);
    }
}

impl Logs {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    /// Returns whether the watched request is to be logged.
    ///
    /// # Errors
    /// The database's.
    pub async fn is_logged(&self, watch: &ContainerObserver) -> Result<bool> {
        if watch.seen.load(Ordering::Relaxed) {
            return Ok(watch.wants.load(Ordering::Relaxed));
        }
        let settings = self.container_settings(&watch.account, &watch.container).await?;
        Ok(settings.is_some_and(|metadata| wants_logs(&metadata)))
    }

    /// Adds a line to the log of the watched container.
    pub fn log_access(&self, watch: &ContainerObserver, access: &Access) {
        let logs = &self.0.logs;
        let hour = access.at.0.div_euclid(HOUR_MICROS);
        let mut waiting = logs.waiting();
        waiting.add((watch.account.clone(), watch.container.clone(), hour), access.line().as_bytes());
        if waiting.bytes > WAITING_BYTES {
            logs.many.notify_one();
        }
    }

    /// Delivers logs once per interval, counted from midnight UTC.
    pub(super) async fn deliver_logs_periodically(self) {
        let mut stop = self.0.stop.subscribe();
        let interval = i64::try_from(self.settings().log_interval.as_micros()).unwrap_or(i64::MAX).max(1);
        loop {
            let next = self.0.clock.now().0.div_euclid(interval).saturating_add(1).saturating_mul(interval);
            tokio::select! {
                () = self.0.clock.until(Time(next)) => {}
                () = self.0.logs.many.notified() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            self.deliver_logs().await;
        }
    }

    /// Delivers all lines; those that cannot be delivered are kept.
    pub(super) async fn deliver_logs(&self) {
        let logs = &self.0.logs;
        let _one_at_a_time = logs.delivering.lock().await;
        let Waiting { lines, .. } = std::mem::take(&mut *logs.waiting());
        for ((account, container, hour), lines) in lines {
            let delivered = self.deliver_log(LOGS, &account, &container, hour, lines.clone()).await;
            let Err(error) = delivered else { continue };
            let mut waiting = logs.waiting();
            let keeps = waiting.bytes + lines.len() <= KEPT_BYTES_MAX;
            tracing::warn!(%error, account, container, retried = keeps, "cannot deliver an access log");
            if keeps {
                let behind =
                    waiting.lines.remove(&(account.clone(), container.clone(), hour)).unwrap_or_default();
                waiting.bytes -= behind.len();
                waiting.add((account, container, hour), &[lines, behind].concat());
            }
        }
    }

    /// Stores a container's log lines of one hour, in hours since 1970, as an object in the account's container `into`. The
    /// object's name depends on the lines alone, so that lines which are delivered twice are stored once. Lines of an account
    /// that does not exist are dropped.
    ///
    /// # Errors
    /// The database's and the store's.
    pub async fn deliver_log(
        &self,
        into: &str,
        account: &str,
        container: &str,
        hour: i64,
        lines: Vec<u8>,
    ) -> Result<()> {
        let is_there = self.0.db.read(account.to_owned(), |account, tx| {
            Box::pin(async move { Ok::<_, Error>(store::accounts::find(tx, account).await?.is_some()) })
        });
        if !is_there.await? {
            // The account was deleted meanwhile, so nobody can read the log.
            return Ok(());
        }
        let packed = tokio::task::spawn_blocking(move || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&lines).and_then(|()| encoder.finish())
        });
        let packed = packed.await.map_err(|e| Error::Internal(e.to_string()))?;
        let packed = Bytes::from(packed.map_err(|e| Error::Internal(e.to_string()))?);
        let md5 = hex::encode(fast_md5::digest(&packed));
        let name = log_name(container, Time(hour.saturating_mul(HOUR_MICROS)), &md5);
        let context =
            Context { caller: Some(Arc::new(Caller::console())), internal: true, ..Context::default() };
        self.put_container(&context, account, into, Changes::default(), None).await?;
        let put = PutRequest {
            length: Some(packed.len() as u64),
            etag: Some(md5),
            content_type: "application/gzip".into(),
            metadata: Metadata::default(),
            only_new: false,
            shape: None,
            expires: None,
        };
        self.put_object(&context, account, into, &name, put, &mut Incoming::of(packed)).await.map(|_| ())
    }
}
