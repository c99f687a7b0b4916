//! What compute can do: all rules live here.

mod actions;
mod config_drive;
mod context;
mod custom_images;
mod enqueue;
mod error;
mod groups;
mod host_book;
mod jobs;
mod limits;
mod machines;
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
pub use host_book::Host;
pub use metering::ServerUsage;
pub use servers::{Launched, Pollable};
pub use settings::{Answers, Deadlines, Fence, Settings};

use crate::store;
use machines::Machines;
use seal::Seal;

/// What a cloud without hypervisor says when a server is asked for.
const NO_HYPERVISOR: &str = "no hypervisor: install libvirt (libvirt-daemon-system, qemu-system-x86) and start it, \
                             or start nephos with --hypervisor simulated";

/// How the service is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Halt {
    /// It is not.
    No,
    /// Jobs are put back, to be taken up again.
    Stop,
    /// Nothing more is written, as if the process had died.
    Abandon,
}

/// What is brought to a host once, however many servers want it.
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
    lost: Mutex<HashSet<String>>,
    /// Held while that changes.
    noting: tokio::sync::Mutex<()>,
    /// What answers for the hosts that are given up.
    given_up: Mutex<HashMap<String, Arc<dyn Hypervisor>>>,
    /// Held while those are learnt.
    learning: tokio::sync::Mutex<()>,
    machines: Machines,
    transfers: Machines<Transfer>,
    runner: OnceLock<RunnerHandle>,
    meter: OnceLock<Meter>,
    halt: watch::Sender<Halt>,
    /// Hosts whose room is not known yet: a create waits for it.
    unsurveyed: watch::Sender<usize>,
}

/// Cloud Servers. Clones are the same service.
#[derive(Clone)]
pub struct Compute(Arc<Inner>);

impl Compute {
    /// Opens the service on its hosts, which may be none, and takes up the jobs that were left.
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
        let (unsurveyed, _) = watch::channel(hosts.len());
        let (halt, _) = watch::channel(Halt::No);
        let inner = Arc::new(Inner {
            seal: Seal::new(&settings.secret),
            db: db.clone(),
            clock: clock.clone(),
            networks,
            images,
            hosts,
            lost: Mutex::default(),
            noting: tokio::sync::Mutex::default(),
            given_up: Mutex::default(),
            learning: tokio::sync::Mutex::default(),
            machines: Machines::default(),
            transfers: Machines::default(),
            runner: OnceLock::new(),
            meter: OnceLock::new(),
            halt,
            unsurveyed,
            settings,
        });
        inner.close_hosts_that_left().await?;
        inner.learn_given_up().await?;
        let runner = Runner { db, clock, concurrency: inner.settings.concurrency };
        let handle = runner.start(Arc::new(jobs::JobRunner(Arc::clone(&inner))));
        let _ = inner.runner.set(handle);
        for host in inner.hosts.values() {
            tokio::spawn(reconcile::watch(Arc::clone(&inner), Arc::clone(host)));
        }
        tokio::spawn(reconcile::sweep(Arc::clone(&inner)));
        Ok(Self(inner))
    }

    /// Ends the service: steps under way are put back and go on at the next start.
    pub async fn stop(&self) {
        self.end(Halt::Stop).await;
    }

    /// Ends the service as a crash would, leaving every job where it is: for tests of what comes after.
    pub async fn abandon(&self) {
        self.end(Halt::Abandon).await;
    }

    async fn end(&self, how: Halt) {
        self.0.halt.send_replace(how);
        if let Some(runner) = self.0.runner.get() {
            runner.stop().await;
        }
    }

    /// What the operator decided.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The images that servers are made of.
    #[must_use]
    pub fn images(&self) -> &Images {
        &self.0.images
    }

    /// The service's time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Whether a host cannot be reached: what its servers do is not known.
    #[must_use]
    pub fn is_lost(&self, host: &str) -> bool {
        self.0.is_lost(host)
    }

    /// What a tenant sees of a host: unique per account, not globally (guide, List Servers).
    #[must_use]
    pub fn host_id(tenant: &str, host: &str) -> String {
        let text = format!("{tenant}\n{host}");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA224, text.as_bytes());
        hex::encode(digest.as_ref())
    }
}

impl Inner {
    fn is_lost(&self, host: &str) -> bool {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).contains(host);
        // Of one that is given up it is known that there is nothing.
        lost && !self.is_given_up(host)
    }

    fn wake(&self) {
        if let Some(runner) = self.runner.get() {
            runner.wake();
        }
    }

    /// The turns at a server's machine.
    fn turn(&self, server: Uuid) -> machines::Turns<'_, Uuid> {
        self.machines.of(server)
    }
}
