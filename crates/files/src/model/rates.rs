//! Limits on the rates of writes and listings (Swift, Rate limiting).

use std::time::Duration;

use serde::Deserialize;
use work::Time;

/// Rates by container size: (number of objects, requests per second), interpolated between two sizes.
pub type BySize = Vec<(u64, f64)>;

/// The rate limits of a deployment; none by default.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Containers created and deleted per second in one account; 0 for no limit.
    pub account_ratelimit: f64,
    /// A request that would have to wait longer is rejected.
    pub max_sleep_time_seconds: f64,
    /// Unused capacity of this period may be used later.
    pub rate_buffer_seconds: f64,
    /// Objects stored, changed and deleted per second in one container.
    pub container_ratelimits: BySize,
    /// Listings per second of one container.
    pub container_listing_ratelimits: BySize,
    /// Accounts without limits.
    pub account_whitelist: Vec<String>,
    /// Accounts whose requests are all rejected.
    pub account_blacklist: Vec<String>,
    /// Segments of large objects smaller than this many bytes are limited (Swift, SLO: `rate_limit_under_size`).
    pub rate_limit_under_size: u64,
    /// Number of such segments that are read without limit.
    pub rate_limit_after_segment: u64,
    /// Rate of further ones, in segments per second; 0 for no limit.
    pub rate_limit_segments_per_sec: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            account_ratelimit: 0.0,
            max_sleep_time_seconds: 60.0,
            rate_buffer_seconds: 5.0,
            container_ratelimits: Vec::new(),
            container_listing_ratelimits: Vec::new(),
            account_whitelist: Vec::new(),
            account_blacklist: Vec::new(),
            rate_limit_under_size: 1 << 20,
            rate_limit_after_segment: 10,
            rate_limit_segments_per_sec: 1.0,
        }
    }
}

/// The request would have to wait longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Rates {
    /// Returns whether anything is limited.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.account_ratelimit > 0.0
            || !self.container_ratelimits.is_empty()
            || !self.container_listing_ratelimits.is_empty()
            || !self.account_blacklist.is_empty()
    }

    /// Validates the configured values.
    ///
    /// # Errors
    /// The key and what is wrong with its value.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let plain = [
            ("account_ratelimit", self.account_ratelimit),
            ("max_sleep_time_seconds", self.max_sleep_time_seconds),
            ("rate_buffer_seconds", self.rate_buffer_seconds),
            ("rate_limit_segments_per_sec", self.rate_limit_segments_per_sec),
        ];
        for (key, value) in plain {
            if !(0.0..=1e9).contains(&value) {
                return Err((key, format!("{value}: expected 0 or more")));
            }
        }
        let tables = [
            ("container_ratelimits", &self.container_ratelimits),
            ("container_listing_ratelimits", &self.container_listing_ratelimits),
        ];
        for (key, table) in tables {
            if let Some((_, rate)) = table.iter().find(|(_, rate)| !(1e-3..=1e9).contains(rate)) {
                return Err((key, format!("{rate}: expected a rate above 0")));
            }
            if !table.is_sorted_by(|a, b| a.0 < b.0) {
                return Err((key, "expected sizes in ascending order".into()));
            }
        }
        Ok(())
    }

    /// Moves `running`, the instant up to which a rate is used up, by one request that arrives `now`, and returns how long the
    /// request must wait.
    ///
    /// # Errors
    /// [`TooLong`]; `running` is unchanged then.
    pub fn admit(&self, running: &mut Time, now: Time, rate: f64) -> Result<Duration, TooLong> {
        let each = Duration::from_secs_f64(1.0 / rate);
        let next = running.after(each);
        if now.since(next) > Duration::from_secs_f64(self.rate_buffer_seconds) {
            *running = now.after(each);
            return Ok(Duration::ZERO);
        }
        let wait = running.since(now);
        // Swift rejects a hundredth of a second early.
        if wait + Duration::from_millis(10) >= Duration::from_secs_f64(self.max_sleep_time_seconds) {
            return Err(TooLong);
        }
        *running = next;
        Ok(wait)
    }
}

/// Returns the rate for a container with `objects` objects, if that size is limited.
#[must_use]
pub fn rate_for(table: &[(u64, f64)], objects: u64) -> Option<f64> {
    let at = table.iter().rposition(|(size, _)| *size <= objects).filter(|_| objects > 0)?;
    let (size, rate) = table[at];
    let Some((next_size, next_rate)) = table.get(at + 1) else { return Some(rate) };
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact to the last bit")]
    let part = (objects - size) as f64 / (next_size - size) as f64;
    Some(rate + (next_rate - rate) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_depends_on_the_size() {
        let table = [(100, 100.0), (200, 50.0), (300, 10.0)];
        for (objects, expected) in [
            (0, None),
            (99, None),
            (100, Some(100.0)),
            (150, Some(75.0)),
            (250, Some(30.0)),
            (900, Some(10.0)),
        ] {
            assert_eq!(rate_for(&table, objects), expected, "{objects}");
        }
        assert_eq!(rate_for(&[(0, 5.0)], 0), None, "an empty container is never limited");
    }

    #[test]
    fn unused_capacity_is_limited_to_the_buffer() {
        let rates = Rates { max_sleep_time_seconds: 2.0, rate_buffer_seconds: 3.0, ..Rates::default() };
        let mut running = Time(0);
        let now = Time::from_seconds(1000);
        let waits: Vec<_> = (0..4).map(|_| rates.admit(&mut running, now, 1.0)).collect();
        let seconds = |n| Ok(Duration::from_secs(n));
        assert_eq!(waits, [seconds(0), seconds(1), Err(TooLong), Err(TooLong)]);
        let later = now.after(Duration::from_secs(4));
        let waits: Vec<_> = (0..5).map(|_| rates.admit(&mut running, later, 1.0)).collect();
        assert_eq!(waits, [seconds(0), seconds(0), seconds(0), seconds(1), Err(TooLong)]);
    }

    #[test]
    fn invalid_values_are_reported_by_key() {
        assert_eq!(Rates::default().check(), Ok(()));
        let bad = [
            (Rates { account_ratelimit: -1.0, ..Rates::default() }, "account_ratelimit"),
            (Rates { max_sleep_time_seconds: f64::NAN, ..Rates::default() }, "max_sleep_time_seconds"),
            (Rates { container_ratelimits: vec![(1, 0.0)], ..Rates::default() }, "container_ratelimits"),
            (
                Rates { container_listing_ratelimits: vec![(5, 1.0), (5, 2.0)], ..Rates::default() },
                "container_listing_ratelimits",
            ),
        ];
        for (rates, key) in bad {
            assert_eq!(rates.check().unwrap_err().0, key);
        }
    }
}
