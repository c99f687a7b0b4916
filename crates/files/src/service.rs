//! The operations of Cloud Files. Each calls [`authorise`] first.

mod access;
mod accounts;
mod admission;
mod archive;
mod audit;
mod authorise;
mod budget;
mod compaction;
mod container_sync;
mod containers;
mod content;
mod copy;
mod encryption;
mod expiry;
mod found;
mod keeping;
mod keys;
mod large;
mod links;
mod logs;
mod manifests;
mod objects;
mod orphans;
mod pages;
mod pins;
mod quotas;
mod rates;
mod read;
mod scrub;
mod segments;
mod tenants;
mod upload;
mod versions;
mod write;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blobs::{Blobs, PolicyStores};
use database::{Database, Location};
use identity::{Caller, MasterKey};
use meter::Meter;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use work::{Clock, Time};

pub use crate::model::entry::Expected;
pub use accounts::AccountView;
pub use audit::{AuditOptions, AuditReport};
pub use budget::Usage;
pub use container_sync::{Remote, SyncItem};
pub(crate) use containers::OWNERS;
pub use containers::{ContainerPut, ContainerView};
pub use content::{Body, Content, Incoming};
pub use copy::CopyRequest;
pub use found::{Found, ReadOptions};
pub use keys::Signed;
pub use logs::{ContainerObserver, LOGS, wants_logs};
pub use manifests::{ManifestPut, Problem};
pub use objects::PostRequest;
pub use pages::{AccountLine, Page, VersionsPage};
pub use pins::Pinned;
pub use rates::{Pace, RateDecision};
pub use read::LINKS_MAX;
pub use scrub::{Damage, Scrub};
pub use segments::Segments;
pub use tenants::{TenantState, Tenants};
pub use upload::{PutRequest, Stored};
pub use versions::Deleted;

use budget::Budget;

use crate::model::cname::Lookup;
use crate::model::limits::Limits;
use crate::model::policy::Policies;
use crate::model::rates::Rates;
use crate::model::realms::Realms;
use crate::store;

/// The configuration of Cloud Files.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The limits.
    pub limits: Limits,
    /// The storage policies; each has its own blob store if [`Files::open_with`] is given several.
    pub policies: Policies,
    /// Whether users may read their expired objects (`X-Open-Expired`).
    pub allow_open_expired: bool,
    /// Whether only the operator may make changes.
    pub read_only: bool,
    /// How long an expired object stays in its container before it is removed.
    pub expired_stay: Duration,
    /// Domains under which accounts and containers are host names.
    pub storage_domains: Vec<String>,
    /// Whether new objects are encrypted, unless their policy says otherwise.
    pub encryption: bool,
    /// The master key, which seals the keys of encrypted objects. Existing encrypted objects cannot be read without it.
    pub master: Option<Arc<MasterKey>>,
    /// Limits on the rates of writes and listings.
    pub rates: Rates,
    /// How customers' own host names are looked up; `None` to disable it.
    pub cname: Option<Lookup>,
    /// Interval at which access logs are delivered.
    pub log_interval: Duration,
    /// The key that signs requests for the operators' part of `/info`.
    pub info_key: Option<String>,
    /// The clouds with which containers may be synchronised.
    pub realms: Realms,
    /// Rate and interval of the background check of everything that is stored.
    pub scrub: Scrub,
    /// How long after a start a shared database may still execute statements that an earlier process sent, so that rows for
    /// that process's blobs may still appear. None of those blobs is removed before.
    pub settling: Duration,
    /// When the database was created, in milliseconds since 1970; 0 if unknown. Older blobs are never deleted as orphans, since
    /// they may belong to another database.
    pub database_since: u64,
    /// Memory for the bodies of uploads in progress, in bytes. One tenant may use half of it.
    pub upload_memory: u64,
}

/// Default memory for uploads, in bytes.
const UPLOAD_MEMORY: u64 = 256 << 20;

/// Maximum number of bulk requests in progress, for all tenants together.
const BULK_REQUESTS_MAX: u64 = 32;

/// The interval of Swift's own expirer.
const EXPIRED_STAY: Duration = Duration::from_secs(300);

/// Twice the database's statement timeout.
const SETTLING: Duration = Duration::from_secs(120);
/// An upload that took longer is authorised again before it is stored.
const RECHECK_AFTER: Duration = Duration::from_secs(10);

/// Log objects are named after an hour.
const LOG_INTERVAL: Duration = Duration::from_secs(3600);

/// How long [`Files::stop`] waits for background work to end.
const STOP_WITHIN: Duration = Duration::from_secs(10);

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            policies: Policies::default(),
            allow_open_expired: true,
            read_only: false,
            expired_stay: EXPIRED_STAY,
            storage_domains: Vec::new(),
            encryption: false,
            master: None,
            rates: Rates::default(),
            cname: None,
            log_interval: LOG_INTERVAL,
            info_key: None,
            realms: Realms::default(),
            scrub: Scrub::default(),
            settling: SETTLING,
            database_since: 0,
            upload_memory: UPLOAD_MEMORY,
        }
    }
}

/// Who makes a request, and with which rights.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The caller, if there was a valid token.
    pub caller: Option<Arc<Caller>>,
    /// The service that acts for the caller, if there was a valid service token.
    pub service: Option<Arc<Caller>>,
    /// The `Referer` header, for referrer ACLs.
    pub referrer: Option<String>,
    /// The access that a signature grants in place of a caller.
    pub pass: Option<Pass>,
    /// For a container that a CDN reads for a visitor: the path that the visitor requested there.
    pub published: Option<Arc<str>>,
    /// Whether to show expired objects to their owners.
    pub open_expired: bool,
    /// Records whether the container wants the request logged.
    pub watch: Option<Arc<ContainerObserver>>,
    /// For a change replicated from another cloud: when it was made there.
    pub carried: Option<Time>,
    /// Whether the cloud itself acts, not a request; it may access accounts whose tenant no longer exists.
    pub internal: bool,
    /// Looks up the caller again after a long upload.
    pub recheck: Option<Arc<dyn Recheck>>,
}

/// A token that can be validated again.
#[async_trait::async_trait]
pub trait Recheck: std::fmt::Debug + Send + Sync {
    /// Returns the caller; `None` if the token was revoked or has expired.
    async fn caller(&self) -> Option<Arc<Caller>>;
}

impl Context {
    /// Whether a signature stands in place of a caller.
    pub(crate) fn is_signed(&self) -> bool {
        self.pass.is_some() && self.published.is_none()
    }

    /// What the segments of a static large object are read with. Its writer could read them when it was stored, and each
    /// must still have the ETag that it had. So a published large object may have them in other containers of its account;
    /// nothing there can be listed.
    fn for_segments(&self) -> Self {
        match (&self.published, &self.pass) {
            (Some(_), Some(pass)) => {
                Self { pass: Some(Pass { container: None, ..pass.clone() }), ..self.clone() }
            }
            _ => self.clone(),
        }
    }
}

/// The access granted by a signature with a key of an account or container: the objects in that account or container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The account.
    pub account: String,
    /// The container, if it was the container's key.
    pub container: Option<String>,
}

impl Pass {
    fn covers(&self, account: &str, container: Option<&str>) -> bool {
        self.account == account && (self.container.is_none() || self.container.as_deref() == container)
    }
}

struct Inner {
    db: Database,
    blobs: PolicyStores,
    clock: Clock,
    meter: Meter,
    settings: Settings,
    running: rates::Running,
    /// Memory for uploads.
    uploads: Arc<Budget>,
    /// Manifests, archives and bulk deletions in progress.
    bulk: Arc<Budget>,
    tenants: std::sync::OnceLock<Arc<dyn Tenants>>,
    logs: logs::Logs,
    inherited: compaction::EarlierVolumes,
    /// Volumes with blobs that the disk fails to read.
    unreadable: std::sync::Mutex<std::collections::BTreeSet<i64>>,
    /// Locations of dead bytes that the database could not count yet.
    uncounted: std::sync::Mutex<Vec<blobs::Location>>,
    /// Damaged blobs that this process has recorded.
    noted: std::sync::Mutex<std::collections::HashSet<blobs::BlobId>>,
    damaged: Notify,
    garbage: Notify,
    expiring: Notify,
    container_sync: Notify,
    stop: tokio::sync::watch::Sender<bool>,
    /// What [`Files::start`] started.
    background: Mutex<JoinSet<()>>,
}

/// The service. Clones share their state.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

impl Files {
    /// Creates the tables if necessary. Nothing runs in the background, and nothing is deleted, before [`Files::start`].
    ///
    /// # Errors
    /// The database's.
    pub async fn open(
        location: &Location,
        blobs: Arc<dyn Blobs>,
        clock: Clock,
        meter: Meter,
        settings: Settings,
    ) -> std::result::Result<Self, database::Error> {
        Self::open_with(location, vec![blobs], clock, meter, settings).await
    }

    /// As [`Files::open`], with one blob store per storage policy, in their order. Policies without a store use the first
    /// one.
    ///
    /// # Errors
    /// The database's.
    pub async fn open_with(
        location: &Location,
        stores: Vec<Arc<dyn Blobs>>,
        clock: Clock,
        meter: Meter,
        settings: Settings,
    ) -> std::result::Result<Self, database::Error> {
        let db = Database::open(location, "files", store::MIGRATIONS).await?;
        let stop = tokio::sync::watch::Sender::new(false);
        let blobs = PolicyStores::new(stores);
        let settling = if location.is_shared() { settings.settling } else { Duration::ZERO };
        let volumes = blobs.volumes().iter().map(|volume| volume.number).collect();
        let files = Self(Arc::new(Inner {
            db,
            blobs,
            inherited: compaction::EarlierVolumes { volumes, since: tokio::time::Instant::now(), settling },
            clock,
            meter,
            uploads: Budget::of(settings.upload_memory),
            bulk: Budget::of(BULK_REQUESTS_MAX),
            settings,
            running: rates::Running::default(),
            tenants: std::sync::OnceLock::new(),
            logs: logs::Logs::default(),
            unreadable: std::sync::Mutex::default(),
            uncounted: std::sync::Mutex::default(),
            noted: std::sync::Mutex::default(),
            damaged: Notify::new(),
            garbage: Notify::new(),
            expiring: Notify::new(),
            container_sync: Notify::new(),
            stop,
            background: Mutex::new(JoinSet::new()),
        }));
        Ok(files)
    }

    /// Starts the background tasks, which delete what no row refers to. Call it once, when it is certain that the database and
    /// the blob stores belong together.
    pub fn start(&self) {
        let mut tasks = self.0.background.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(self.clone().sweep());
        tasks.spawn(self.clone().scrub());
        tasks.spawn(self.clone().watch_damage());
        tasks.spawn(self.clone().sweep_expired());
        tasks.spawn(self.clone().deliver_logs_periodically());
    }

    /// Stops background work, waits until it has ended, and delivers the pending access logs.
    ///
    /// A task that is still busy after [`STOP_WITHIN`] is cancelled. It is then interrupted as by a crash, which loses nothing.
    pub async fn stop(&self) {
        self.0.stop.send_replace(true);
        let mut tasks =
            std::mem::take(&mut *self.0.background.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_WITHIN, ended).await.is_err() {
            tracing::warn!("background work of Cloud Files did not end in time; cancelling it");
        }
        self.deliver_logs().await;
    }

    /// Returns the limits, as `/info` publishes them.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.settings.limits
    }

    /// Returns the configuration.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Time {
        // Swift's timestamps have five decimals. Truncate, so that the time shown is the time stored.
        Time(self.0.clock.now().0 / 10 * 10)
    }

    /// Returns the memory that uploads use now, in bytes.
    #[must_use]
    pub fn upload_memory(&self) -> Usage {
        self.0.uploads.usage()
    }

    /// Waits until a bulk request may read its body. It may do so until the return value is dropped.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] if the caller's tenant has too many bulk requests in progress for a minute.
    pub async fn bulk_share(&self, context: &Context, account: &str) -> crate::Result<BulkShare> {
        Ok(BulkShare(self.0.bulk.take(&context.tenant_for(account), 1).await?))
    }

    /// Returns the meter that counts traffic.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.0.meter
    }
}

/// Permission to read the body of a bulk request.
pub struct BulkShare(#[expect(dead_code, reason = "held for its drop")] budget::Share);

/// Returns an id to try for a new row: ordered by time, with a thousand values per microsecond. It may be taken: see `free_id`
/// of the stores.
fn new_row_id(now: Time) -> i64 {
    let mut random = [0u8; 2];
    // Rows that processes create in one microsecond rarely try the same id.
    let _ = aws_lc_rs::rand::fill(&mut random);
    (now.0 << 10) | i64::from(u16::from_le_bytes(random) & 0x3ff)
}
