//! Identity's settings, which also define what the catalog publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A service that can be deployed next to identity. Deployed services are in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Cloud Files.
    Files,
    /// Cloud Files' CDN management.
    Cdn,
    /// Cloud Servers, first generation.
    ServersV1,
    /// Cloud Servers, next generation.
    ServersV2,
    /// Cloud Feeds.
    Feeds,
    /// Images.
    Images,
    /// Block storage.
    Volumes,
    /// Networks.
    Networks,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Files,
        Self::Cdn,
        Self::ServersV1,
        Self::ServersV2,
        Self::Feeds,
        Self::Images,
        Self::Volumes,
        Self::Networks,
    ];
}

/// Identity's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// URL at which clients reach this cloud, such as `http://127.0.0.1:8080`, without a trailing slash.
    pub public_url: String,
    /// Services with a host name of their own, and the URL that replaces `public_url` for them.
    pub hosts: BTreeMap<Service, String>,
    /// The region's name in the catalog.
    pub region: String,
    /// The deployed services. Nothing else is published.
    pub services: BTreeSet<Service>,
    /// Lifetime of a token.
    pub token_lifetime: Duration,
    /// Signing in again returns the same token until this long before it expires.
    pub token_renewal: Duration,
    /// Maximum number of tokens of one user. Another one deletes the oldest.
    pub tokens_per_user: u32,
    /// Whether no other process changes this database, so that sessions may be cached.
    pub alone: bool,
    /// Argon2id's memory in KiB. Tests use less.
    pub password_memory_kib: u32,
    /// Maximum number of passwords hashed or verified at once. Each uses that memory and a processor.
    pub passwords_at_once: usize,
}

impl Settings {
    /// Returns the defaults for a cloud at `public_url`, with every service deployed.
    #[must_use]
    pub fn new(public_url: &str) -> Self {
        Self {
            public_url: public_url.trim_end_matches('/').to_owned(),
            hosts: BTreeMap::new(),
            region: "DFW".to_owned(),
            services: Service::ALL.into(),
            token_lifetime: Duration::from_secs(24 * 3600),
            token_renewal: Duration::from_secs(3600),
            tokens_per_user: 1000,
            alone: true,
            password_memory_kib: 19 * 1024,
            passwords_at_once: std::thread::available_parallelism().map_or(1, usize::from).min(3),
        }
    }

    /// Returns the URL of `service`, without a trailing slash.
    #[must_use]
    pub fn base_of(&self, service: Service) -> &str {
        self.hosts.get(&service).map_or(&self.public_url, |host| host.trim_end_matches('/'))
    }
}
