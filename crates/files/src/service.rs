//! What Cloud Files can do. Every operation asks [`authorise`] first.

mod access;
mod accounts;
mod admission;
mod archive;
mod audit;
mod authorise;
mod budget;
mod carrying;
mod compaction;
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

use std::sync::Arc;
use std::time::Duration;

use blobs::{Blobs, PolicyStores};
use database::{Database, Location};
use identity::{Caller, MasterKey};
use meter::Meter;
use tokio::sync::Notify;
use work::{Clock, Time};

pub use crate::model::entry::Expected;
pub use accounts::AccountView;
pub use audit::{AuditOptions, AuditReport};
pub use budget::Usage;
pub use carrying::{Parcel, Remote};
pub(crate) use containers::OWNERS;
pub use containers::{ContainerPut, ContainerView};
pub use content::{Body, Content, Incoming};
pub use copy::CopyRequest;
pub use found::{Found, Look};
pub use keys::Signed;
pub use logs::{LOGS, Watch, wants_logs};
pub use manifests::{ManifestPut, Problem};
pub use objects::PostRequest;
pub use pages::{AccountLine, Page, VersionsPage};
pub use pins::Pinned;
pub use rates::{Pace, Paced};
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

/// How a deployment of Cloud Files is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The limits.
    pub limits: Limits,
    /// The storage policies; each keeps its bytes in a store of its own where [`Files::open_with`] is given several.
    pub policies: Policies,
    /// Whether users may look at their objects that are past their time (`X-Open-Expired`).
    pub allow_open_expired: bool,
    /// Nothing is changed by anyone but the operator.
    pub read_only: bool,
    /// How long an object stays in its container behind its time.
    pub expired_stay: Duration,
    /// Domains below which accounts and containers are host names.
    pub storage_domains: Vec<String>,
    /// Whether new objects' bytes are encrypted, unless their policy says otherwise.
    pub encryption: bool,
    /// What the keys of encrypted objects are sealed with; needed also to read what was encrypted once.
    pub master: Option<Arc<MasterKey>>,
    /// How often things may be written and listed.
    pub rates: Rates,
    /// How customers' own host names are looked up, if they are.
    pub cname: Option<Lookup>,
    /// How often access logs are delivered.
    pub log_interval: Duration,
    /// What a signed `/info` is signed with.
    pub info_key: Option<String>,
    /// The clouds that containers are kept alike with.
    pub realms: Realms,
    /// How fast and how often everything that is stored is checked in the background.
    pub scrub: Scrub,
    /// How long after a start a database that others share may still carry out what an earlier process sent to it, so that rows
    /// may appear which name what that process stored. Nothing of it is removed before.
    pub settling: Duration,
    /// When the database was created, in milliseconds since 1970; 0 if that is not known. Bytes that are older than it are never
    /// deleted as orphans: they may be another database's.
    pub database_since: u64,
    /// Memory for bodies of uploads that are under way, in bytes. One tenant has at most half of it.
    pub upload_memory: u64,
}

/// Memory for uploads unless it is said.
const UPLOAD_MEMORY: u64 = 256 << 20;

/// Requests under way whose bodies name or hold many objects, in all tenants together.
const BULK_REQUESTS_MAX: u64 = 32;

/// As often as Swift's own expirer looks.
const EXPIRED_STAY: Duration = Duration::from_secs(300);

/// Twice as long as the database lets a statement take.
const SETTLING: Duration = Duration::from_secs(120);
/// An upload that took longer is authorised again before it is stored.
const RECHECK_AFTER: Duration = Duration::from_secs(10);

/// The hour that log objects are named after.
const LOG_INTERVAL: Duration = Duration::from_secs(3600);

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

/// Who asks, and with what in hand.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The caller, if a valid token came along.
    pub caller: Option<Arc<Caller>>,
    /// The service that asks for the caller, if its token came along, too.
    pub service: Option<Arc<Caller>>,
    /// The `Referer` header, for referrer ACLs.
    pub referrer: Option<String>,
    /// What a signature opens, in place of a caller.
    pub pass: Option<Pass>,
    /// Objects past their time are shown, to whoever owns them.
    pub open_expired: bool,
    /// Who notices whether the request is to be logged.
    pub watch: Option<Arc<Watch>>,
    /// What is done is carried here from another cloud, where it was done at this time.
    pub carried: Option<Time>,
    /// The cloud itself asks, for no request: it reaches accounts whose tenant is gone.
    pub internal: bool,
    /// Looks the caller up again, after an upload that took long.
    pub recheck: Option<Arc<dyn Recheck>>,
}

/// A token, as it counts at this moment.
#[async_trait::async_trait]
pub trait Recheck: std::fmt::Debug + Send + Sync {
    /// Whom it stands for; `None` once it was revoked or ran out.
    async fn caller(&self) -> Option<Arc<Caller>>;
}

/// What a signature made with a key of an account or a container opens: that account's or container's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The account.
    pub account: String,
    /// The container, if it was its key.
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
    /// Memory of uploads.
    uploads: Arc<Budget>,
    /// Manifests, archives and bulk deletions.
    bulk: Arc<Budget>,
    tenants: std::sync::OnceLock<Arc<dyn Tenants>>,
    logs: logs::Logs,
    inherited: compaction::Inherited,
    /// Volumes that hold bytes which the disk does not give.
    unreadable: std::sync::Mutex<std::collections::BTreeSet<i64>>,
    /// Places of dead bytes that the database did not take yet.
    uncounted: std::sync::Mutex<Vec<blobs::Location>>,
    /// Damaged blobs that were noted by this process.
    noted: std::sync::Mutex<std::collections::HashSet<blobs::BlobId>>,
    damaged: Notify,
    garbage: Notify,
    expiring: Notify,
    carrying: Notify,
    stop: tokio::sync::watch::Sender<bool>,
}

/// The service. Clones are one.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

impl Files {
    /// Opens the tables. Nothing is done in the background, and nothing deleted, before [`Files::start`].
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

    /// As [`Files::open`], with a store of bytes for each storage policy, in their order; policies beyond the last store
    /// use the first.
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
            inherited: compaction::Inherited { volumes, since: tokio::time::Instant::now(), settling },
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
            carrying: Notify::new(),
            stop,
        }));
        Ok(files)
    }

    /// Starts work in the background, which deletes what nothing names any more. To be called once, when it is certain that
    /// the database and the stores belong together.
    pub fn start(&self) {
        tokio::spawn(self.clone().sweep());
        tokio::spawn(self.clone().scrub());
        tokio::spawn(self.clone().watch_damage());
        tokio::spawn(self.clone().sweep_expired());
        tokio::spawn(self.clone().deliver_by_and_by());
    }

    /// Ends background work, and delivers the access logs that wait.
    pub async fn stop(&self) {
        self.0.stop.send_replace(true);
        self.deliver_logs().await;
    }

    /// The limits, as published.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.settings.limits
    }

    /// How this deployment is set up.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Time {
        // Swift's timestamps have five decimals; what is shown must be what is kept.
        Time(self.0.clock.now().0 / 10 * 10)
    }

    /// The memory that uploads have now, in bytes.
    #[must_use]
    pub fn upload_memory(&self) -> Usage {
        self.0.uploads.usage()
    }

    /// Waits until a request may read a body that names or holds many objects; it may until what this returns is dropped.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] where the caller's tenant has too many such requests under way for a minute.
    pub async fn bulk_share(&self, context: &Context, account: &str) -> crate::Result<BulkShare> {
        Ok(BulkShare(self.0.bulk.take(&context.tenant_for(account), 1).await?))
    }

    /// The meter that traffic is counted in.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.0.meter
    }
}

/// The right to read a body that names or holds many objects.
pub struct BulkShare(#[expect(dead_code, reason = "held for its drop")] budget::Share);

/// A key for a new row: ordered by time, with room for a thousand in one microsecond.
fn fresh_id(now: Time) -> i64 {
    let mut random = [0u8; 2];
    // Without randomness two rows of one microsecond meet and the second unit fails, to be asked for again.
    let _ = aws_lc_rs::rand::fill(&mut random);
    (now.0 << 10) | i64::from(u16::from_le_bytes(random) & 0x3ff)
}
