//! The operator's settings of compute.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

/// Powers off a host before its servers may run elsewhere.
#[async_trait]
pub trait Fence: Send + Sync {
    /// Powers off a host. Returns once it is certain that the host is off.
    ///
    /// # Errors
    /// Why it is not certain.
    async fn power_off(&self, host: &str) -> Result<(), String>;
}

/// Which status codes and bodies v1.0 uses where the guide and Rackspace's live service differed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ResponseStyle {
    /// Those of the guide.
    #[default]
    Guide,
    /// Those of the live service, which some clients require.
    Live,
}

/// Time limits after which unfinished jobs fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Build, rebuild and resize, a first image transfer included.
    pub build: Duration,
    /// An image of a server.
    pub image: Duration,
    /// Everything else.
    pub short: Duration,
    /// When a resize is confirmed automatically (guide, Resize Server: 24 hours).
    pub auto_confirm: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Self { build: hours(1), image: hours(4), short: Duration::from_secs(600), auto_confirm: hours(24) }
    }
}

/// The operator's settings of compute.
#[derive(Clone)]
pub struct Settings {
    /// The region's name.
    pub region: String,
    /// Whether the guide's rate limits are enforced.
    pub rate_limits: bool,
    /// Which responses v1.0 uses.
    pub response_style: ResponseStyle,
    /// Whether a server's images are kept when it is deleted (the guide's roadmap) or deleted with it.
    pub keep_images: bool,
    /// Public URL of `/servers`, without a trailing slash.
    pub public_url: String,
    /// Key that encrypts passwords and files at rest; derived from the master key.
    pub secret: [u8; 32],
    /// Time limits of jobs.
    pub deadlines: Deadlines,
    /// Factor by which disk reservations may exceed a host's disk: guests' disks are sparse.
    pub disk_overcommit: i64,
    /// Maximum number of job steps at the same time. Each host has its own limit in addition.
    pub concurrency: usize,
    /// Powers off a host before it is evacuated, unless the operator has done so.
    pub fence: Option<Arc<dyn Fence>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            region: "DFW".into(),
            rate_limits: true,
            response_style: ResponseStyle::Guide,
            keep_images: false,
            public_url: "http://127.0.0.1:8080/servers".into(),
            secret: [0; 32],
            deadlines: Deadlines::default(),
            disk_overcommit: 16,
            concurrency: 512,
            fence: None,
        }
    }
}
