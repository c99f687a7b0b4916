//! Slows down password guessing. Attempts are counted per pair of user and address, per address and per user, whether or not
//! the user exists.
//!
//! An attempt counts from its admission until its verdict, so a hundred concurrent guesses get no further than ten
//! sequential ones. Attempts above a limit wait for the verdicts of earlier ones, and are rejected if those fail.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::Notify;
use work::{Clock, Time};

use crate::service::error::Error;
use crate::service::passwords::Rank;

/// Failures further apart than this do not add up.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Failures as one user from one address before that pair is locked out.
const PAIR_MAX: u32 = 10;
/// Failures from one address as any user. Users who recently signed in from there are not locked out by it, so that others
/// behind the same proxy cannot lock them out.
const ADDRESS_MAX: u32 = 100;
/// Failures as one user from any address. Addresses that recently signed in as that user are not locked out by it, so that
/// others cannot lock a user out.
const USER_MAX: u32 = 100;
/// Duration of the first lock-out. Each further one lasts twice as long as the one before.
const LOCK_FIRST: Duration = Duration::from_secs(30);
const LOCK_MAX: Duration = Duration::from_secs(15 * 60);
/// How long an address is remembered as one of the user's.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// A success makes an address known for longer in the database if that adds at least this to it.
const KNOWN_STEP: Duration = Duration::from_secs(24 * 3600);
/// Addresses that are known of one user at most.
pub(crate) const KNOWN_ADDRESSES_MAX: i64 = 100;
/// Maximum number of counters in memory.
const COUNTERS_MAX: usize = 100_000;
/// Names longer than this, in bytes, are counted under their digest.
const NAME_BYTES_MAX: usize = 64;
/// Maximum number of attempts that wait for the verdicts of others. Further ones are told to retry later.
const WAITING_MAX: usize = 512;

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
    /// Attempts without a verdict.
    in_flight: u32,
    last: Time,
    locked_until: Time,
    known_until: Time,
}

impl Counter {
    /// Whether another attempt may begin. After a lock-out, one at a time may, until one succeeds.
    fn has_room(&self, max: u32) -> bool {
        self.in_flight < max.saturating_sub(self.failures).max(1)
    }
}

/// The counters.
pub(crate) struct Guard {
    clock: Clock,
    counters: Cache<Key, Arc<Mutex<Counter>>>,
    /// Makes admission to several counters atomic.
    admission: Mutex<()>,
    verdicts: Notify,
    waiting: tokio::sync::Semaphore,
}

/// An admitted attempt. If it is dropped without a verdict, for example because its client disconnects, it counts as failed.
pub(crate) struct Attempt<'g> {
    guard: &'g Guard,
    user: String,
    address: Option<IpAddr>,
    counters: Vec<(Arc<Mutex<Counter>>, u32)>,
    is_known: bool,
}

/// An address from which a user just signed in, to be kept in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The address, or its network, as [`place_of`] has it.
    pub(crate) address: String,
    /// Until when it is known.
    pub(crate) until: Time,
}

enum Admission<'g> {
    Admitted(Attempt<'g>),
    Full,
    Locked(Duration),
}

impl Guard {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            counters: Cache::new(COUNTERS_MAX),
            admission: Mutex::new(()),
            verdicts: Notify::new(),
            waiting: tokio::sync::Semaphore::new(WAITING_MAX),
        }
    }

    /// Counts an attempt, once the number of attempts without a verdict allows it. `known_until` is read from the database for
    /// this user and address.
    pub(crate) async fn admit(
        &self,
        user: &str,
        address: Option<IpAddr>,
        known_until: Option<Time>,
    ) -> Result<Attempt<'_>, Error> {
        let user = &bounded(user);
        if let Some(until) = known_until.filter(|until| *until > self.clock.now()) {
            let pair = self.entry(Key::Pair(user.clone(), address.map(subscriber_of)));
            let mut pair = lock(&pair);
            pair.known_until = pair.known_until.max(until);
        }
        let mut place = None;
        loop {
            let verdict = self.verdicts.notified();
            match self.try_admit(user, address) {
                Admission::Admitted(attempt) => return Ok(attempt),
                // Rounded up, so that a client that waits this long gets through.
                Admission::Locked(wait) => {
                    return Err(Error::TooManyAttempts {
                        retry_after: Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
                    });
                }
                Admission::Full if place.is_none() => {
                    place = Some(self.waiting.try_acquire().map_err(|_| Error::Busy)?);
                }
                Admission::Full => {}
            }
            verdict.await;
        }
    }

    fn try_admit(&self, user: &str, address: Option<IpAddr>) -> Admission<'_> {
        let now = self.clock.now();
        let pair = Key::Pair(user.to_owned(), address.map(subscriber_of));
        let _admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counted = vec![(self.entry(pair), PAIR_MAX)];
        let known = lock(&counted[0].0).known_until > now;
        if let Some(address) = address {
            counted.push((self.entry(Key::Address(site_of(address))), ADDRESS_MAX));
        }
        counted.push((self.entry(Key::User(user.to_owned())), USER_MAX));
        // A known pair counts for the address and the user as well, but only its own counter can hold it back.
        let asked = if known { &counted[..1] } else { &counted[..] };
        let mut full = false;
        for (counter, max) in asked {
            let mut counter = lock(counter);
            if now.since(counter.last) > WINDOW {
                counter.failures = 0;
            }
            if counter.locked_until > now {
                return Admission::Locked(counter.locked_until.since(now));
            }
            full |= !counter.has_room(*max);
        }
        if full {
            return Admission::Full;
        }
        for (counter, _) in &counted {
            lock(counter).in_flight += 1;
        }
        let user = user.to_owned();
        Admission::Admitted(Attempt { guard: self, user, address, counters: counted, is_known: known })
    }

    /// Notes that the user signed in from the address by a secret that nobody guesses, and so without an attempt.
    pub(crate) fn signed_in(&self, user: &str, address: Option<IpAddr>) -> Option<Known> {
        self.know(&bounded(user), address)
    }

    fn know(&self, user: &str, address: Option<IpAddr>) -> Option<Known> {
        let now = self.clock.now();
        let until = now.after(KNOWN_FOR);
        // The pair's counter may have left the cache since.
        let pair = self.entry(Key::Pair(user.to_owned(), address.map(subscriber_of)));
        let before = std::mem::replace(&mut lock(&pair).known_until, until);
        (until.since(before) >= KNOWN_STEP)
            .then(|| address.map(|address| Known { address: place_of(address), until }))
            .flatten()
    }

    fn entry(&self, key: Key) -> Arc<Mutex<Counter>> {
        let made =
            self.counters.get_or_insert_with(&key, || Ok::<_, std::convert::Infallible>(Arc::default()));
        made.unwrap_or_else(|never| match never {})
    }
}

impl Attempt<'_> {
    /// Returns the attempt's priority in the queue for password hashing.
    pub(crate) fn rank(&self) -> Rank {
        if self.is_known { Rank::Known } else { Rank::Unknown }
    }

    /// Records success: the attempt does not count, and the address is remembered as the user's. Returns the address if it must
    /// be written to the database.
    pub(crate) fn succeeded(mut self) -> Option<Known> {
        let known = self.guard.know(&self.user, self.address);
        for (index, (counter, _)) in std::mem::take(&mut self.counters).into_iter().enumerate() {
            let mut counter = lock(&counter);
            counter.in_flight = counter.in_flight.saturating_sub(1);
            if index == 0 {
                counter.failures = 0;
                counter.locked_until = Time::default();
            }
        }
        known
    }

    /// Withdraws an attempt whose outcome is unknown: it does not count.
    pub(crate) fn withdraw(mut self) {
        for (counter, _) in std::mem::take(&mut self.counters) {
            let mut counter = lock(&counter);
            counter.in_flight = counter.in_flight.saturating_sub(1);
        }
    }

    /// Records failure.
    pub(crate) fn failed(self) {
        drop(self);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let now = self.guard.clock.now();
        for (counter, max) in std::mem::take(&mut self.counters) {
            let mut counter = lock(&counter);
            counter.in_flight = counter.in_flight.saturating_sub(1);
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
        self.guard.verdicts.notify_waiters();
    }
}

/// Returns the name under which attempts are counted. Clients can send names of any length, and the counters are bounded
/// only in number.
fn bounded(user: &str) -> String {
    if user.len() <= NAME_BYTES_MAX {
        return user.to_owned();
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, user.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock(counter: &Mutex<Counter>) -> std::sync::MutexGuard<'_, Counter> {
    counter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns an address in the form that the database holds.
pub(crate) fn place_of(address: IpAddr) -> String {
    subscriber_of(address).to_string()
}

/// Returns what one subscriber typically has: an IPv4 address, or a whole /64.
fn subscriber_of(address: IpAddr) -> IpAddr {
    network_of(address, 64)
}

/// Returns what one site may have: an IPv4 address, or a whole /56 (RFC 6177).
fn site_of(address: IpAddr) -> IpAddr {
    network_of(address, 56)
}

fn network_of(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !(u128::MAX >> bits)).into()),
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

    async fn fail(guard: &Guard, user: &str, address: &str) {
        guard.admit(user, at(address), None).await.unwrap().failed();
    }

    async fn wait(guard: &Guard, user: &str, address: &str) -> u64 {
        match guard.admit(user, at(address), None).await {
            Err(Error::TooManyAttempts { retry_after }) => retry_after.as_secs(),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("the attempt was admitted"),
        }
    }

    #[tokio::test]
    async fn each_lock_out_of_a_pair_is_longer() {
        let (guard, clock) = guard();
        for _ in 0..10 {
            fail(&guard, "jdoe", "192.0.2.1").await;
        }
        assert_eq!(wait(&guard, "jdoe", "192.0.2.1").await, 30);
        guard.admit("jdoe", at("192.0.2.2"), None).await.unwrap().withdraw();
        guard.admit("other", at("192.0.2.1"), None).await.unwrap().withdraw();
        clock.advance(Duration::from_secs(30));
        fail(&guard, "jdoe", "192.0.2.1").await;
        assert_eq!(wait(&guard, "jdoe", "192.0.2.1").await, 60);
        clock.advance(Duration::from_secs(60));
        guard.admit("jdoe", at("192.0.2.1"), None).await.unwrap().succeeded();
        for _ in 0..9 {
            fail(&guard, "jdoe", "192.0.2.1").await;
        }
        guard.admit("jdoe", at("192.0.2.1"), None).await.unwrap().withdraw();
    }

    #[tokio::test]
    async fn failures_expire() {
        let (guard, clock) = guard();
        for _ in 0..9 {
            fail(&guard, "jdoe", "192.0.2.1").await;
        }
        clock.advance(Duration::from_secs(15 * 60 + 1));
        for _ in 0..9 {
            fail(&guard, "jdoe", "192.0.2.1").await;
        }
        guard.admit("jdoe", at("192.0.2.1"), None).await.unwrap().withdraw();
    }

    #[tokio::test]
    async fn an_address_that_tries_many_users_is_locked_out_from_all_but_those_it_knows() {
        let (guard, _) = guard();
        guard.admit("regular", at("2001:db8::5"), None).await.unwrap().succeeded();
        for n in 0..100 {
            fail(&guard, &format!("user{n}"), "2001:db8::1").await;
        }
        assert_eq!(wait(&guard, "jdoe", "2001:db8::ffff").await, 30);
        guard.admit("jdoe", at("2001:db8:0:100::1"), None).await.unwrap().withdraw();
        guard.admit("regular", at("2001:db8::5"), None).await.unwrap().succeeded();
    }

    #[tokio::test]
    async fn many_addresses_cannot_lock_a_user_out_of_its_own() {
        let (guard, _) = guard();
        guard.admit("jdoe", at("192.0.2.1"), None).await.unwrap().succeeded();
        for n in 0..100 {
            fail(&guard, "jdoe", &format!("198.51.100.{n}")).await;
        }
        assert_eq!(wait(&guard, "jdoe", "203.0.113.1").await, 30);
        guard.admit("jdoe", at("192.0.2.1"), None).await.unwrap().withdraw();
    }

    /// Of concurrent attempts ten are admitted and the others wait. As those fail, the others are rejected.
    #[tokio::test]
    async fn concurrent_attempts_get_no_further_than_sequential_ones() {
        let (guard, _) = guard();
        let guard = Arc::new(guard);
        let admitted = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let (verdict, _) = tokio::sync::broadcast::channel::<()>(1);
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let (guard, admitted, mut verdict) =
                (Arc::clone(&guard), Arc::clone(&admitted), verdict.subscribe());
            running.spawn(async move {
                let attempt = guard.admit("jdoe", at("192.0.2.1"), None).await.ok()?;
                admitted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let _ = verdict.recv().await;
                attempt.failed();
                Some(())
            });
        }
        while guard.waiting.available_permits() > WAITING_MAX - 190 {
            tokio::task::yield_now().await;
        }
        verdict.send(()).unwrap();
        let mut failed = 0;
        while let Some(done) = running.join_next().await {
            failed += u32::from(done.unwrap().is_some());
        }
        assert_eq!((failed, admitted.load(std::sync::atomic::Ordering::SeqCst)), (10, 10));
    }

    /// Many clients of one user sign in at once. All succeed, ten at a time.
    #[tokio::test]
    async fn concurrent_successes_are_all_admitted() {
        let (guard, _) = guard();
        let guard = Arc::new(guard);
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..300 {
            let guard = Arc::clone(&guard);
            running.spawn(async move {
                let attempt = guard.admit("jdoe", at("192.0.2.1"), None).await.unwrap();
                tokio::task::yield_now().await;
                attempt.succeeded();
            });
        }
        while let Some(done) = running.join_next().await {
            done.unwrap();
        }
        fail(&guard, "jdoe", "192.0.2.1").await;
    }

    /// Names as long as a body takes are told apart, and what is kept of them has a bound.
    #[tokio::test]
    async fn long_names_are_counted_apart_and_take_little() {
        let (guard, _) = guard();
        let long = |last: &str| "x".repeat(60_000) + last;
        for _ in 0..10 {
            fail(&guard, &long("a"), "192.0.2.1").await;
        }
        assert_eq!(wait(&guard, &long("a"), "192.0.2.1").await, 30);
        guard.admit(&long("b"), at("192.0.2.1"), None).await.unwrap().withdraw();
        let longest = guard.counters.iter().map(|(key, _)| match key {
            Key::Pair(name, _) | Key::User(name) => name.len(),
            Key::Address(_) => 0,
        });
        assert_eq!(longest.max(), Some(64));
    }

    #[tokio::test]
    async fn an_address_is_kept_once_a_day() {
        let (guard, clock) = guard();
        let known = guard.admit("jdoe", at("2001:db8::5"), None).await.unwrap().succeeded().unwrap();
        assert_eq!((known.address.as_str(), known.until), ("2001:db8::", clock.now().after(KNOWN_FOR)));
        clock.advance(Duration::from_secs(3600));
        assert_eq!(guard.admit("jdoe", at("2001:db8::6"), None).await.unwrap().succeeded(), None);
        clock.advance(Duration::from_secs(24 * 3600));
        assert!(guard.admit("jdoe", at("2001:db8::6"), None).await.unwrap().succeeded().is_some());
    }

    #[tokio::test]
    async fn an_abandoned_attempt_counts_as_failed() {
        let (guard, _) = guard();
        for _ in 0..10 {
            drop(guard.admit("jdoe", at("192.0.2.1"), None).await.unwrap());
        }
        assert_eq!(wait(&guard, "jdoe", "192.0.2.1").await, 30);
    }
}
