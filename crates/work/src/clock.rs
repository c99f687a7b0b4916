//! An injectable clock: the system's, or one that moves only when a test or an operator's rehearsal advances it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// An instant in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub i64);

impl Time {
    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The instant `seconds` after 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// The instant `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The instant `duration` earlier.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time from `earlier` to this instant; zero if this one is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As a calendar timestamp. Instants outside its range become the latest timestamp.
    #[must_use]
    pub fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::MAX)
    }

    /// `2010-10-10T12:00:00Z`: seconds, in UTC.
    #[must_use]
    pub fn iso_seconds(self) -> String {
        self.timestamp().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// `2010-10-10T12:00:00.123Z`: milliseconds, in UTC (Cloud Identity v2.0).
    #[must_use]
    pub fn iso_millis(self) -> String {
        self.timestamp().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
    }

    /// `2010-10-10T12:00:00.123456Z`: microseconds, in UTC (Keystone).
    #[must_use]
    pub fn iso_micros(self) -> String {
        self.timestamp().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    }
}

#[derive(Debug)]
struct Inner {
    /// The frozen instant; `None` uses the system's clock.
    frozen: Option<i64>,
    offset: AtomicI64,
    moved: Notify,
}

/// A source of time. Clones share it.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

impl Clock {
    /// Returns the system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Inner { frozen: None, offset: AtomicI64::new(0), moved: Notify::new() }))
    }

    /// Returns a clock that stays at `start` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn frozen_at(start: Time) -> Self {
        Self(Arc::new(Inner { frozen: Some(start.0), offset: AtomicI64::new(0), moved: Notify::new() }))
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Time {
        let base = self.0.frozen.unwrap_or_else(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.map_or(0, |t| i64::try_from(t.as_micros()).unwrap_or(i64::MAX))
        });
        Time(base.saturating_add(self.0.offset.load(Ordering::Acquire)))
    }

    /// Moves the clock forward and wakes the tasks whose instant has been reached.
    pub fn advance(&self, by: Duration) {
        self.0.offset.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::AcqRel);
        self.0.moved.notify_waiters();
    }

    /// Waits until `instant` is reached.
    pub async fn until(&self, instant: Time) {
        loop {
            let moved = self.0.moved.notified();
            tokio::pin!(moved);
            // Register before reading the clock, so that an advance in between is not missed.
            moved.as_mut().enable();
            let now = self.now();
            if now >= instant {
                return;
            }
            if self.0.frozen.is_some() {
                moved.await;
            } else {
                tokio::select! { () = tokio::time::sleep(instant.since(now)) => {}, () = moved => {} }
            }
        }
    }

    /// Waits for `duration` of this clock's time.
    pub async fn sleep(&self, duration: Duration) {
        self.until(self.now().after(duration)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frozen_clock_moves_only_when_advanced() {
        let clock = Clock::frozen_at(Time::from_seconds(1000));
        let waiter = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_secs(86_400)).await;
                clock.now()
            }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        clock.advance(Duration::from_secs(86_399));
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        clock.advance(Duration::from_secs(1));
        assert_eq!(waiter.await.unwrap(), Time::from_seconds(87_400));
    }

    #[test]
    fn instants_are_formatted_as_each_api_needs() {
        let time = Time(1_286_712_000_123_456);
        assert_eq!(time.iso_seconds(), "2010-10-10T12:00:00Z");
        assert_eq!(time.iso_millis(), "2010-10-10T12:00:00.123Z");
        assert_eq!(time.iso_micros(), "2010-10-10T12:00:00.123456Z");
    }
}
