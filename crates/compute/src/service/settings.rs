//! What the operator decides about compute.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

/// Cuts a host's power before its servers may run elsewhere.
#[async_trait]
pub trait Fence: Send + Sync {
    /// Makes sure that a host is off, and returns only then.
    ///
    /// # Errors
    /// Why that is not sure.
    async fn power_off(&self, host: &str) -> Result<(), String>;
}

/// Which codes and bodies v1.0 answers where the guide and the service of its day differed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Answers {
    /// The guide's.
    #[default]
    Guide,
    /// The live service's, which some clients insist on.
    Live,
}

/// When a job that has not ended is failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Build, rebuild and resize, a first image transfer included.
    pub build: Duration,
    /// An image of a server.
    pub image: Duration,
    /// Everything else.
    pub short: Duration,
    /// When a resize is confirmed by itself (guide, Resize Server: 24 hours).
    pub auto_confirm: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Self { build: hours(1), image: hours(4), short: Duration::from_secs(600), auto_confirm: hours(24) }
    }
}

/// What the operator decides about compute.
#[derive(Clone)]
pub struct Settings {
    /// The region's name.
    pub region: String,
    /// Whether the guide's rate limits hold.
    pub rate_limits: bool,
    /// Which answers v1.0 gives.
    pub answers: Answers,
    /// Whether images outlive the server that v1.0 made them of (the guide's roadmap) or go with it.
    pub keep_images: bool,
    /// Where `/servers` is reached from outside, without a slash at its end.
    pub public_url: String,
    /// Seals passwords and files at rest; hangs on the master key.
    pub secret: [u8; 32],
    /// When jobs are given up.
    pub deadlines: Deadlines,
    /// How often a host's disk may be promised: guests' disks are sparse.
    pub disk_overcommit: i64,
    /// Job steps at once; each host bounds what is done on it.
    pub concurrency: usize,
    /// What powers off a host that is given up, where the operator does not do it.
    pub fence: Option<Arc<dyn Fence>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            region: "DFW".into(),
            rate_limits: true,
            answers: Answers::Guide,
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
