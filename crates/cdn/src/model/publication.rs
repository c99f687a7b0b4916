//! A container's publication and what may be changed of it.

use super::Hash;

/// Seconds that an edge may serve an object without asking the origin: 900 to 31,536,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ttl(u32);

impl Ttl {
    /// Fifteen minutes.
    pub const MIN: Self = Self(900);
    /// A year.
    pub const MAX: Self = Self(31_536_000);
    /// Three days.
    pub const DEFAULT: Self = Self(259_200);

    /// The nearest TTL to so many seconds (Cloud Files guide: values beyond the limits are adjusted, not refused).
    #[must_use]
    pub fn clamped(seconds: i128) -> Self {
        let clamped = seconds.clamp(i128::from(Self::MIN.0), i128::from(Self::MAX.0));
        Self(u32::try_from(clamped).unwrap_or(Self::DEFAULT.0))
    }

    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> u32 {
        self.0
    }
}

/// A container that is or was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// What its host names are derived from.
    pub hash: Hash,
    /// The tenant whose account the container is in.
    pub tenant: String,
    /// The container's name.
    pub container: String,
    /// Whether edges serve it.
    pub enabled: bool,
    /// How long edges may serve an object without asking the origin.
    pub ttl: Ttl,
    /// Whether accesses are logged into `.CDN_ACCESS_LOGS`.
    pub log_retention: bool,
    /// Whether its owner removed it from the list; its host names stay reserved.
    pub removed: bool,
    /// Counts purges of the container and its objects.
    pub generation: u64,
    /// The generation of the last purge of the whole container; 0 if there was none.
    pub purged: u64,
    /// The pattern that a request's `User-Agent` must match, if not empty.
    pub user_agents: String,
    /// The pattern that a request's `Referer` must match, if not empty.
    pub referrers: String,
}

impl Publication {
    /// A container that is published for the first time.
    #[must_use]
    pub fn new(hash: Hash, tenant: &str, container: &str) -> Self {
        Self {
            hash,
            tenant: tenant.to_owned(),
            container: container.to_owned(),
            enabled: true,
            ttl: Ttl::DEFAULT,
            log_retention: false,
            removed: false,
            generation: 0,
            purged: 0,
            user_agents: String::new(),
            referrers: String::new(),
        }
    }
}

/// What a request changes of a publication; `None` leaves a value as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Whether edges serve the container.
    pub enabled: Option<bool>,
    /// How long edges may serve an object without asking the origin.
    pub ttl: Option<Ttl>,
    /// Whether accesses are logged.
    pub log_retention: Option<bool>,
    /// The pattern for `User-Agent`; empty for none.
    pub user_agents: Option<String>,
    /// The pattern for `Referer`; empty for none.
    pub referrers: Option<String>,
}

impl Change {
    /// Applies the change.
    pub fn apply(&self, to: &mut Publication) {
        to.enabled = self.enabled.unwrap_or(to.enabled);
        to.ttl = self.ttl.unwrap_or(to.ttl);
        to.log_retention = self.log_retention.unwrap_or(to.log_retention);
        if let Some(pattern) = &self.user_agents {
            to.user_agents.clone_from(pattern);
        }
        if let Some(pattern) = &self.referrers {
            to.referrers.clone_from(pattern);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_adjusted_to_its_limits() {
        for (given, seconds) in [
            (900, 900),
            (899, 900),
            (0, 900),
            (-5, 900),
            (259_200, 259_200),
            (31_536_000, 31_536_000),
            (31_536_001, 31_536_000),
            (i128::MAX, 31_536_000),
            (i128::MIN, 900),
        ] {
            assert_eq!(Ttl::clamped(given).seconds(), seconds, "{given}");
        }
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let hash = Hash::of_container("1", "c", b"s");
        let mut publication = Publication::new(hash, "1", "c");
        Change { ttl: Some(Ttl::MIN), ..Change::default() }.apply(&mut publication);
        assert_eq!(
            (publication.enabled, publication.ttl, publication.log_retention),
            (true, Ttl::MIN, false)
        );
        Change { enabled: Some(false), log_retention: Some(true), ..Change::default() }
            .apply(&mut publication);
        assert_eq!(
            (publication.enabled, publication.ttl, publication.log_retention),
            (false, Ttl::MIN, true)
        );
    }
}
