//! The compute service: all business rules.

mod actions;
mod config_drive;
mod context;
mod custom_images;
mod enqueue;
mod error;
mod groups;
mod host_registry;
mod jobs;
mod limits;
mod locks;
mod metering;
mod operator;
mod orders;
mod reconcile;
mod schedules;
mod seal;
mod servers;
mod settings;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use database::{Database, Location};
use hypervisor::Hypervisor;
use images::Images;
use meter::Meter;
use networks::Networks;
use tokio::sync::watch;
use uuid::Uuid;
use work::{Clock, Runner, RunnerHandle};

pub use context::Context;
pub use custom_images::Upload;
pub use error::Error;
pub use host_registry::Host;
pub use metering::ServerUsage;
pub use servers::{Launched, Pollable};
pub use settings::{Deadlines, Fence, ResponseStyle, Settings};

use crate::store;
use locks::Locks;
use seal::Seal;

/// Error message if the cloud has no hypervisor.
const NO_HYPERVISOR: &str = "no hypervisor: install libvirt (libvirt-daemon-system, qemu-system-x86) and start it, \
                             or start nephos with --hypervisor simulated";

/// Whether and how the service is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shutdown {
    /// It is running.
    No,
    /// Running steps are dropped and their jobs released, to be continued at the next start.
    Stop,
    /// Running steps are dropped and nothing is written any more, as after a crash.
    Crash,
}

/// What is copied to a host at most once at a time, however many servers need it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Transfer {
    Networks { host: String },
    Image { host: String, digest: hypervisor::Digest },
}

struct Inner {
    db: Database,
    clock: Clock,
    settings: Settings,
    seal: Seal,
    networks: Arc<Networks>,
    images: Arc<Images>,
    hosts: HashMap<String, Arc<dyn Hypervisor>>,
    unreachable: Mutex<HashSet<String>>,
    /// Held while `unreachable` and the database are updated.
    reachability_lock: tokio::sync::Mutex<()>,
    /// Stand-ins for hosts that the operator declared lost.
    evacuated: Mutex<HashMap<String, Arc<dyn Hypervisor>>>,
    /// Held while `evacuated` is reloaded.
    evacuated_lock: tokio::sync::Mutex<()>,
    machine_locks: Locks,
    transfer_locks: Locks<Transfer>,
    runner: OnceLock<RunnerHandle>,
    meter: OnceLock<Meter>,
    shutdown: watch::Sender<Shutdown>,
    /// Number of hosts whose capacity has not been read since the start. A create waits until it is 0.
    unknown_capacities: watch::Sender<usize>,
}

/// The Cloud Servers service. Clones share their state.
#[derive(Clone)]
pub struct Compute(Arc<Inner>);

impl Compute {
    /// Opens the service on its hosts, possibly none, and continues the jobs of an earlier process.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(
        location: &Location,
        clock: Clock,
        hosts: Vec<Arc<dyn Hypervisor>>,
        networks: Arc<Networks>,
        images: Arc<Images>,
        settings: Settings,
    ) -> Result<Self, Error> {
        let db = Database::open(location, "compute", store::MIGRATIONS).await?;
        if location.is_exclusive() {
            work::jobs::release_all(&db).await?;
        }
        let hosts: HashMap<_, _> = hosts.into_iter().map(|host| (host.host().to_owned(), host)).collect();
        let (unknown_capacities, _) = watch::channel(hosts.len());
        let (shutdown, _) = watch::channel(Shutdown::No);
        let inner = Arc::new(Inner {
            seal: Seal::new(&settings.secret),
            db: db.clone(),
            clock: clock.clone(),
            networks,
            images,
            hosts,
            unreachable: Mutex::default(),
            reachability_lock: tokio::sync::Mutex::default(),
            evacuated: Mutex::default(),
            evacuated_lock: tokio::sync::Mutex::default(),
            machine_locks: Locks::default(),
            transfer_locks: Locks::default(),
            runner: OnceLock::new(),
            meter: OnceLock::new(),
            shutdown,
            unknown_capacities,
            settings,
        });
        inner.mark_removed_hosts_down().await?;
        inner.reload_evacuated().await?;
        let runner = Runner { db, clock, concurrency: inner.settings.concurrency };
        let handle = runner.start(Arc::new(jobs::JobRunner(Arc::clone(&inner))));
        let _ = inner.runner.set(handle);
        for host in inner.hosts.values() {
            tokio::spawn(reconcile::watch(Arc::clone(&inner), Arc::clone(host)));
        }
        tokio::spawn(reconcile::sweep(Arc::clone(&inner)));
        Ok(Self(inner))
    }

    /// Stops the service. Running steps are dropped and continue at the next start.
    pub async fn stop(&self) {
        self.shut_down(Shutdown::Stop).await;
    }

    /// Stops the service as a crash would, without releasing any job. For tests of crash recovery.
    pub async fn crash(&self) {
        self.shut_down(Shutdown::Crash).await;
    }

    async fn shut_down(&self, how: Shutdown) {
        self.0.shutdown.send_replace(how);
        if let Some(runner) = self.0.runner.get() {
            runner.stop().await;
        }
    }

    /// The operator's settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The images service.
    #[must_use]
    pub fn images(&self) -> &Images {
        &self.0.images
    }

    /// The service's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Returns whether a host is unreachable, so that the state of its servers is unknown.
    #[must_use]
    pub fn is_unreachable(&self, host: &str) -> bool {
        self.0.is_unreachable(host)
    }

    /// Returns the host id that a tenant sees: unique per account, not globally (guide, List Servers).
    #[must_use]
    pub fn host_id(tenant: &str, host: &str) -> String {
        let text = format!("{tenant}\n{host}");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA224, text.as_bytes());
        hex::encode(digest.as_ref())
    }
}

impl Inner {
    fn is_unreachable(&self, host: &str) -> bool {
        let unreachable = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner).contains(host);
        // The state of an evacuated host is known: nothing is left on it.
        unreachable && !self.is_evacuated(host)
    }

    fn wake(&self) {
        if let Some(runner) = self.runner.get() {
            runner.wake();
        }
    }

    /// Returns the lock of a server's machine.
    fn machine_lock(&self, server: Uuid) -> locks::Lock<'_, Uuid> {
        self.machine_locks.get(server)
    }
}
