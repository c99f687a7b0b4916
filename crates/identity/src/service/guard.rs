//! Guessing is slowed: failed attempts are counted per user and address together, per address and per user, whether
//! there is such a user or not.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use work::{Clock, Time};

use crate::service::error::Error;

/// Failures further apart than this are not added up.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Failures as one user from one address before it is locked out.
const PAIR_MAX: u32 = 10;
/// Failures from one address as anybody.
const ADDRESS_MAX: u32 = 100;
/// Failures as one user from anywhere. Addresses that signed in as that user lately are not locked out by it, so that
/// others cannot lock a user out.
const USER_MAX: u32 = 100;
/// The first lock-out lasts this long, each further one twice as long as the one before it.
const LOCK_FIRST: Duration = Duration::from_secs(30);
const LOCK_MAX: Duration = Duration::from_secs(15 * 60);
/// How long an address is known to be the user's.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Counters kept in memory.
const COUNTERS_MAX: usize = 100_000;

const _: () = assert!(PAIR_MAX < ADDRESS_MAX && PAIR_MAX < USER_MAX, "the narrowest counter must trip first");

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Pair(String, Option<IpAddr>),
    Address(IpAddr),
    User(String),
}

#[derive(Default)]
struct Counter {
    failures: u32,
    last: Time,
    locked_until: Time,
    known_until: Time,
}

/// The counters.
pub(crate) struct Guard {
    clock: Clock,
    counters: Cache<Key, Arc<Mutex<Counter>>>,
}

impl Guard {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, counters: Cache::new(COUNTERS_MAX) }
    }

    /// Whether an attempt may be made at all.
    pub(crate) fn admit(&self, user: &str, address: Option<IpAddr>) -> Result<(), Error> {
        let now = self.clock.now();
        let address = address.map(network_of);
        let pair = Key::Pair(user.to_owned(), address);
        let known = self.look(&pair).is_some_and(|c| lock(&c).known_until > now);
        let mut keys = vec![pair];
        keys.extend(address.map(Key::Address));
        if !known {
            keys.push(Key::User(user.to_owned()));
        }
        let until = keys.iter().filter_map(|key| self.look(key)).map(|c| lock(&c).locked_until).max();
        match until {
            // Rounded up: who waits as told gets through.
            Some(until) if until > now => {
                let wait = until.since(now);
                Err(Error::TooManyAttempts {
                    retry_after: Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
                })
            }
            _ => Ok(()),
        }
    }

    /// An attempt failed.
    pub(crate) fn failed(&self, user: &str, address: Option<IpAddr>) {
        let address = address.map(network_of);
        self.count(Key::Pair(user.to_owned(), address), PAIR_MAX);
        if let Some(address) = address {
            self.count(Key::Address(address), ADDRESS_MAX);
        }
        self.count(Key::User(user.to_owned()), USER_MAX);
    }

    /// An attempt succeeded.
    pub(crate) fn succeeded(&self, user: &str, address: Option<IpAddr>) {
        let key = Key::Pair(user.to_owned(), address.map(network_of));
        let counter = self.entry(key);
        let known_until = self.clock.now().after(KNOWN_FOR);
        *lock(&counter) = Counter { known_until, ..Counter::default() };
    }

    fn count(&self, key: Key, max: u32) {
        let now = self.clock.now();
        let counter = self.entry(key);
        let mut counter = lock(&counter);
        if now.since(counter.last) > WINDOW {
            counter.failures = 0;
        }
        counter.last = now;
        counter.failures = counter.failures.saturating_add(1);
        if let Some(over) = counter.failures.checked_sub(max) {
            let wait = LOCK_FIRST.saturating_mul(1 << over.min(10)).min(LOCK_MAX);
            counter.locked_until = now.after(wait);
        }
    }

    fn look(&self, key: &Key) -> Option<Arc<Mutex<Counter>>> {
        self.counters.get(key)
    }

    fn entry(&self, key: Key) -> Arc<Mutex<Counter>> {
        let made =
            self.counters.get_or_insert_with(&key, || Ok::<_, std::convert::Infallible>(Arc::default()));
        made.unwrap_or_else(|never| match never {})
    }
}

fn lock(counter: &Mutex<Counter>) -> std::sync::MutexGuard<'_, Counter> {
    counter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one subscriber has: an IPv4 address, or a whole /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn guard() -> (Guard, Clock) {
        let clock = Clock::frozen_at(Time::from_seconds(1_000_000));
        (Guard::new(clock.clone()), clock)
    }

    #[test]
    fn a_pair_is_locked_out_for_longer_and_longer() {
        let (guard, clock) = guard();
        for _ in 0..10 {
            guard.admit("jdoe", at("192.0.2.1")).unwrap();
            guard.failed("jdoe", at("192.0.2.1"));
        }
        let wait = |guard: &Guard| match guard.admit("jdoe", at("192.0.2.1")) {
            Err(Error::TooManyAttempts { retry_after }) => retry_after.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(&guard), 30);
        guard.admit("jdoe", at("192.0.2.2")).unwrap();
        guard.admit("other", at("192.0.2.1")).unwrap();
        clock.advance(Duration::from_secs(30));
        guard.admit("jdoe", at("192.0.2.1")).unwrap();
        guard.failed("jdoe", at("192.0.2.1"));
        assert_eq!(wait(&guard), 60);
        clock.advance(Duration::from_secs(60));
        guard.succeeded("jdoe", at("192.0.2.1"));
        for _ in 0..9 {
            guard.failed("jdoe", at("192.0.2.1"));
        }
        guard.admit("jdoe", at("192.0.2.1")).unwrap();
    }

    #[test]
    fn failures_are_forgotten_after_a_while() {
        let (guard, clock) = guard();
        for _ in 0..9 {
            guard.failed("jdoe", at("192.0.2.1"));
        }
        clock.advance(Duration::from_secs(15 * 60 + 1));
        for _ in 0..9 {
            guard.failed("jdoe", at("192.0.2.1"));
        }
        guard.admit("jdoe", at("192.0.2.1")).unwrap();
    }

    #[test]
    fn an_address_that_tries_many_users_is_locked_out_from_all() {
        let (guard, _) = guard();
        for n in 0..100 {
            guard.failed(&format!("user{n}"), at("2001:db8::1"));
        }
        assert!(guard.admit("jdoe", at("2001:db8::ffff")).is_err());
        guard.admit("jdoe", at("2001:db8:0:1::1")).unwrap();
    }

    #[test]
    fn many_addresses_cannot_lock_a_user_out_of_its_own() {
        let (guard, _) = guard();
        guard.succeeded("jdoe", at("192.0.2.1"));
        for n in 0..100 {
            guard.failed("jdoe", at(&format!("198.51.100.{n}")));
        }
        assert!(guard.admit("jdoe", at("203.0.113.1")).is_err());
        guard.admit("jdoe", at("192.0.2.1")).unwrap();
    }
}
