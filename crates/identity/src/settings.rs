//! What an operator decides about identity and what the catalog publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A service that can be deployed beside identity, and is then in the catalog.
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
    /// Where clients reach this cloud, such as `http://127.0.0.1:8080`, without a slash at the end.
    pub public_url: String,
    /// Services with a host name of their own: what stands in place of `public_url` for them.
    pub hosts: BTreeMap<Service, String>,
    /// The region's name in the catalog.
    pub region: String,
    /// What is deployed: nothing else is published.
    pub services: BTreeSet<Service>,
    /// How long a token lives.
    pub token_lifetime: Duration,
    /// Re-authentication gives the same token until this long before its end.
    pub token_renewal: Duration,
    /// Tokens that one user has at most: a new one beyond that ends the oldest.
    pub tokens_per_user: u32,
    /// No other process changes this database, so what was read of tokens may be kept in memory.
    pub alone: bool,
    /// Argon2id's memory in KiB; tests take less.
    pub password_memory_kib: u32,
    /// Passwords hashed or checked at once; each takes that memory and a processor.
    pub passwords_at_once: usize,
}

impl Settings {
    /// The defaults for a cloud that is reached at `public_url`, with every service deployed.
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

    /// Where `service` is reached, without a slash at the end.
    #[must_use]
    pub fn base_of(&self, service: Service) -> &str {
        self.hosts.get(&service).map_or(&self.public_url, |host| host.trim_end_matches('/'))
    }
}
