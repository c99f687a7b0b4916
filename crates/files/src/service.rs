//! What Cloud Files can do. Every operation asks [`authorise`] first.

mod accounts;
mod authorise;
mod containers;
mod copy;
mod objects;
mod pages;
mod pins;
mod sweep;
mod upload;

use std::sync::Arc;

use blobs::Blobs;
use database::{Database, Location};
use identity::Caller;
use meter::Meter;
use tokio::sync::Notify;
use work::{Clock, Time};

pub use accounts::AccountView;
pub use containers::{ContainerPut, ContainerView};
pub use copy::CopyRequest;
pub use objects::{Content, Found};
pub use pages::{AccountLine, Page};
pub use pins::Pinned;
pub use upload::{Body, PutRequest, Stored};

use crate::model::limits::Limits;
use crate::store;

/// How a deployment of Cloud Files is set up.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The limits.
    pub limits: Limits,
}

/// Who asks, and with what in hand.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The caller, if a valid token came along.
    pub caller: Option<Arc<Caller>>,
    /// The `Referer` header, for referrer ACLs.
    pub referrer: Option<String>,
}

struct Inner {
    db: Database,
    blobs: Arc<dyn Blobs>,
    clock: Clock,
    meter: Meter,
    settings: Settings,
    garbage: Notify,
    stop: tokio::sync::watch::Sender<bool>,
}

/// The service. Clones are one.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

impl Files {
    /// Opens the tables and starts the sweep of what nothing names any more.
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
        let db = Database::open(location, "files", store::MIGRATIONS).await?;
        let stop = tokio::sync::watch::Sender::new(false);
        let files = Self(Arc::new(Inner { db, blobs, clock, meter, settings, garbage: Notify::new(), stop }));
        tokio::spawn(files.clone().sweep());
        Ok(files)
    }

    /// Ends background work.
    pub fn stop(&self) {
        self.0.stop.send_replace(true);
    }

    /// The limits, as published.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.settings.limits
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Time {
        // Swift's timestamps have five decimals; what is shown must be what is kept.
        Time(self.0.clock.now().0 / 10 * 10)
    }

    /// The meter that traffic is counted in.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.0.meter
    }
}

/// A key for a new row: ordered by time, with room for a thousand in one microsecond.
fn fresh_id(now: Time) -> i64 {
    let mut random = [0u8; 2];
    // Without randomness two rows of one microsecond meet and the second unit fails, to be asked for again.
    let _ = aws_lc_rs::rand::fill(&mut random);
    (now.0 << 10) | i64::from(u16::from_le_bytes(random) & 0x3ff)
}
