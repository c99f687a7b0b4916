//! The open connections of a process: limits in total and per address, and which connections are closed to make room for
//! new ones.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::load::Load;
use crate::metrics;

/// One of this many connections is closed when the limit is reached: those without a request that were idle longest.
const EVICTED_PART: usize = 16;
/// Minimum age of an unauthenticated request before its connection is closed to make room, in milliseconds.
const UNAUTHENTICATED_MS: u64 = 2000;
/// When memory is short, a response that its client has not read for this long is dropped, in milliseconds; that to an
/// unauthenticated client sooner.
const UNREAD_MS: u64 = 5000;
const UNTAKEN_BY_STRANGER_MS: u64 = 1000;
/// Minimum interval between two searches for connections to close because of memory, in milliseconds.
const RELIEF_INTERVAL_MS: u64 = 100;
/// Connections that hold fewer bytes are not closed because of memory.
const RELIEF_BYTES: u64 = 64 << 10;
/// A request that waits until others end looks again after this long.
const ROOM_INTERVAL: Duration = Duration::from_millis(RELIEF_INTERVAL_MS);
/// One connection may hold this fraction of all connections' memory; one from a proxy, half.
const MEMORY_PART: u64 = 16;
/// Bits of an IPv6 address that identify a site (RFC 6177).
const SITE_BITS: u32 = 56;
/// Default limit on the bytes that all connections hold.
const MEMORY: u64 = 128 << 20;

/// Limits on connections and on the memory that they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of connections in total.
    pub all: usize,
    /// Maximum from one address. An IPv6 /56 counts as one address.
    pub per_address: usize,
    /// Networks of proxies, which may open `all` connections; so may loopback.
    pub proxies: Vec<IpNet>,
    /// Bytes of requests and responses that all connections may hold together.
    pub memory: u64,
}

impl Limits {
    /// Returns the limits for a process that may open `files` files: three quarters for connections, the rest for data.
    #[must_use]
    pub fn for_files(files: u64) -> Self {
        let files = usize::try_from(files).unwrap_or(usize::MAX).min(1 << 20);
        let all = (files / 4 * 3).saturating_sub(32).max(16);
        Self { all, per_address: (all / 4).max(16), proxies: Vec::new(), memory: MEMORY }
    }
}

impl Limits {
    fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(&address))
    }
}

/// All connections of a process.
pub(crate) struct Connections {
    limits: Limits,
    state: Mutex<State>,
    /// Wakes tasks that wait for room, or for the last connection to end.
    count: watch::Sender<Count>,
    start: Instant,
    /// Bytes that all connections hold.
    pub(crate) memory: AtomicU64,
    /// Time of the last search for connections to close because of memory, in milliseconds since `start`.
    relieved_at: AtomicU64,
    /// Requests beyond the first of each connection. Each may hold a file descriptor, as each connection does.
    extra: AtomicUsize,
    /// Time of the last search for connections to close because there are too many such requests, in milliseconds.
    cleared_at: AtomicU64,
}

#[derive(Clone, Copy, Default)]
struct Count {
    /// All connections.
    slots: usize,
    /// Connections that only wait for their peers to close them.
    lingering: usize,
}

#[derive(Default)]
struct State {
    next: u64,
    lingering: usize,
    slots: HashMap<u64, Arc<Held>>,
    /// Connections that were not evicted, by address.
    by_address: HashMap<IpAddr, usize>,
    /// Connections that were not evicted.
    all: usize,
}

/// A connection's registration.
#[derive(Clone)]
pub(crate) struct Slot(Arc<Taken>);

struct Taken {
    connections: Arc<Connections>,
    held: Arc<Held>,
}

struct Held {
    id: u64,
    address: IpAddr,
    /// Requests in progress.
    requests: AtomicUsize,
    /// Requests in progress whose senders are authenticated.
    known: AtomicUsize,
    /// When the first request in progress began, in milliseconds since `Connections::start`.
    busy_since: AtomicU64,
    bytes_max: u64,
    load: Load,
    /// When the last request ended, in milliseconds since `Connections::start`.
    idle_since: AtomicU64,
    is_evicted: AtomicBool,
    evicted: Notify,
    is_lingering: AtomicBool,
}

/// The connection limit is reached and no connection may be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All connections have requests in progress that are authenticated or recent.
    Everywhere,
    /// The same for the connections from this address.
    ForAddress,
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let (count, _) = watch::channel(Count::default());
        Arc::new(Self {
            limits,
            state: Mutex::default(),
            count,
            start: Instant::now(),
            memory: AtomicU64::new(0),
            relieved_at: AtomicU64::new(0),
            extra: AtomicUsize::new(0),
            cleared_at: AtomicU64::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: &State) {
        self.count.send_replace(Count { slots: state.slots.len(), lingering: state.lingering });
    }

    /// Returns the milliseconds since the process's `Connections` was created.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Registers a connection from this address, closing idle ones if the limit is reached.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn slot(self: &Arc<Self>, address: IpAddr) -> Result<Slot, Full> {
        let own = (self.limits.per_address, self.limits.memory / MEMORY_PART);
        let (address, (per_address, bytes_max)) = match address.to_canonical() {
            address if address.is_loopback() || self.limits.is_proxy(address) => {
                (address, (self.limits.all, self.limits.memory / 2))
            }
            IpAddr::V6(address) => {
                let network = u128::from(address) & !(u128::MAX >> SITE_BITS);
                (IpAddr::V6(network.into()), own)
            }
            address @ IpAddr::V4(_) => (address, own),
        };
        let now = self.now();
        let mut state = self.state();
        if state.by_address.get(&address).is_some_and(|count| *count >= per_address)
            && state.evict(per_address / EVICTED_PART + 1, Some(address), now) == 0
        {
            return Err(Full::ForAddress);
        }
        if state.all + self.extra.load(Relaxed) >= self.limits.all
            && state.evict(self.limits.all / EVICTED_PART + 1, None, now) == 0
        {
            return Err(Full::Everywhere);
        }
        let held = Arc::new(Held {
            id: state.next,
            address,
            requests: AtomicUsize::new(0),
            known: AtomicUsize::new(0),
            busy_since: AtomicU64::new(now),
            bytes_max,
            load: Load::default(),
            idle_since: AtomicU64::new(now),
            is_evicted: AtomicBool::new(false),
            evicted: Notify::new(),
            is_lingering: AtomicBool::new(false),
        });
        state.next += 1;
        state.all += 1;
        *state.by_address.entry(address).or_default() += 1;
        state.slots.insert(held.id, Arc::clone(&held));
        self.tell(&state);
        Ok(Slot(Arc::new(Taken { connections: Arc::clone(self), held })))
    }

    /// Closes some connections to make room and returns how many.
    pub(crate) fn evict(&self) -> usize {
        let now = self.now();
        let mut state = self.state();
        let count = state.all / EVICTED_PART + 1;
        state.evict(count, None, now)
    }

    /// Admits a request beyond the first of its connection, if there is room. If not, closes a connection to make room.
    fn admit_extra(&self) -> bool {
        let mut state = self.state();
        if state.all + self.extra.load(Relaxed) < self.limits.all {
            self.extra.fetch_add(1, Relaxed);
            return true;
        }
        let now = self.now();
        if now.saturating_sub(self.cleared_at.load(Relaxed)) >= RELIEF_INTERVAL_MS {
            self.cleared_at.store(now, Relaxed);
            if !state.evict_busiest(now) {
                state.evict(1, None, now);
            }
            metrics::shortage();
        }
        false
    }

    /// Returns whether connections hold more memory than allowed. If so, closes connections that are to blame, if any.
    pub(crate) fn is_short(&self) -> bool {
        if self.memory.load(Relaxed) < self.limits.memory {
            return false;
        }
        let now = self.now();
        let last = self.relieved_at.load(Relaxed);
        let is_due = now.saturating_sub(last) >= RELIEF_INTERVAL_MS;
        if is_due && self.relieved_at.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            let surplus = self.memory.load(Relaxed).saturating_sub(self.limits.memory / 2);
            let closed = self.state().relieve(surplus, now);
            metrics::memory_shortage();
            tracing::debug!(closed, "connections hold too much memory");
        }
        true
    }

    /// Waits until fewer connections are open than now.
    pub(crate) async fn wait_for_any_to_end(&self) {
        let mut count = self.count.subscribe();
        let now = count.borrow_and_update().slots;
        let _ = count.wait_for(|count| count.slots < now).await;
    }

    /// Waits until this side has closed every connection.
    pub(crate) async fn wait_for_all_to_end(&self) {
        let _ = self.count.subscribe().wait_for(|count| count.slots == count.lingering).await;
    }
}

impl State {
    /// Closes up to `count` connections, of one address or of all: idle ones, idle longest first; if there are none, the one
    /// with the oldest unauthenticated request.
    fn evict(&mut self, count: usize, address: Option<IpAddr>, now: u64) -> usize {
        let fits = |held: &&Arc<Held>| {
            !held.is_evicted.load(Relaxed) && address.is_none_or(|address| address == held.address)
        };
        let is_idle = |held: &&Arc<Held>| held.requests.load(Relaxed) == 0;
        let mut chosen: Vec<_> = self.slots.values().filter(fits).filter(is_idle).cloned().collect();
        if chosen.len() > count {
            chosen.select_nth_unstable_by_key(count, |held| (held.idle_since.load(Relaxed), held.id));
            chosen.truncate(count);
        }
        if chosen.is_empty() {
            let is_stranger = |held: &&Arc<Held>| {
                held.known.load(Relaxed) == 0
                    && now.saturating_sub(held.busy_since.load(Relaxed)) >= UNAUTHENTICATED_MS
            };
            let strangers = self.slots.values().filter(fits).filter(is_stranger);
            chosen.extend(strangers.min_by_key(|held| (held.busy_since.load(Relaxed), held.id)).cloned());
        }
        for held in &chosen {
            self.close(held);
        }
        chosen.len()
    }

    /// Closes connections until they hold `surplus` bytes less: first those without a request, then unauthenticated ones, then
    /// those whose clients do not read; within each group the oldest first.
    fn relieve(&mut self, surplus: u64, now: u64) -> usize {
        let mut chosen: Vec<_> = self
            .slots
            .values()
            .filter(|held| !held.is_evicted.load(Relaxed) && held.load.bytes() >= RELIEF_BYTES)
            .filter_map(|held| {
                let is_for = |since: u64, least: u64| now.saturating_sub(since) >= least;
                // A client that reads its response is not disconnected, however slowly it reads.
                let offered = held.load.unread_since();
                let order = if held.requests.load(Relaxed) == 0 {
                    (0, held.idle_since.load(Relaxed))
                } else if held.known.load(Relaxed) == 0 {
                    let since = offered.unwrap_or(held.busy_since.load(Relaxed));
                    (1, Some(since).filter(|since| is_for(*since, UNTAKEN_BY_STRANGER_MS))?)
                } else {
                    (2, offered.filter(|since| is_for(*since, UNREAD_MS))?)
                };
                Some((order, Arc::clone(held)))
            })
            .collect();
        chosen.sort_unstable_by_key(|(order, held)| (*order, held.id));
        let (mut freed, mut closed) = (0, 0);
        for (_, held) in &chosen {
            if freed >= surplus {
                break;
            }
            freed += held.load.bytes();
            closed += 1;
            self.close(held);
        }
        closed
    }

    /// Closes the unauthenticated connection with the most requests, if it has more than one and has been busy for a while.
    fn evict_busiest(&mut self, now: u64) -> bool {
        let is_stranger = |held: &&Arc<Held>| {
            !held.is_evicted.load(Relaxed)
                && held.known.load(Relaxed) == 0
                && held.requests.load(Relaxed) > 1
                && now.saturating_sub(held.busy_since.load(Relaxed)) >= UNAUTHENTICATED_MS
        };
        let strangers = self.slots.values().filter(is_stranger);
        let busiest = strangers.max_by_key(|held| held.requests.load(Relaxed)).cloned();
        if let Some(held) = &busiest {
            self.close(held);
        }
        busiest.is_some()
    }

    fn close(&mut self, held: &Held) {
        if !held.is_evicted.swap(true, Relaxed) {
            held.evicted.notify_waiters();
            held.evicted.notify_one();
            self.uncount(held.address);
        }
    }

    fn uncount(&mut self, address: IpAddr) {
        self.all -= 1;
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Slot {
    pub(crate) fn connections(&self) -> &Connections {
        &self.0.connections
    }

    pub(crate) fn load(&self) -> &Load {
        &self.0.held.load
    }

    /// Returns the bytes that the connection may hold before its responses must wait.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.0.held.bytes_max
    }

    /// Records that a request began. Returns whether it is the only one on the connection.
    pub(crate) fn began(&self) -> bool {
        let is_first = self.0.held.requests.fetch_add(1, Relaxed) == 0;
        if is_first {
            self.0.held.busy_since.store(self.0.connections.now(), Relaxed);
        }
        is_first
    }

    /// Waits until there is room for a request beyond the first of this connection, and takes it.
    pub(crate) async fn take_room(&self) {
        while !self.0.connections.admit_extra() {
            tokio::time::sleep(ROOM_INTERVAL).await;
        }
    }

    /// Gives back what [`Slot::take_room`] took.
    pub(crate) fn give_room_back(&self) {
        self.0.connections.extra.fetch_sub(1, Relaxed);
    }

    /// Records that a request ended: the last byte of its response was sent.
    pub(crate) fn ended(&self) {
        let held = &self.0.held;
        held.idle_since.store(self.0.connections.now(), Relaxed);
        if held.requests.fetch_sub(1, Relaxed) == 1 {
            self.all_read();
        }
    }

    /// Records that a request's sender was authenticated (true), or that such a request ended (false).
    pub(crate) fn known(&self, is_authenticated: bool) {
        let known = &self.0.held.known;
        if is_authenticated {
            known.fetch_add(1, Relaxed)
        } else {
            known.fetch_sub(1, Relaxed)
        };
    }

    /// Evicts the connection if its client did not read a response in time; returns whether it did so.
    pub(crate) fn close_if_unread(&self) -> bool {
        let is_overdue = self.0.held.load.is_overdue(self.0.connections.now());
        if is_overdue {
            self.0.connections.state().close(&self.0.held);
        }
        is_overdue
    }

    /// Returns for how long no request has been in progress; `None` while one is.
    pub(crate) fn idle(&self) -> Option<Duration> {
        if self.0.held.requests.load(Relaxed) > 0 {
            return None;
        }
        let since = self.0.held.idle_since.load(Relaxed);
        Some(Duration::from_millis(self.0.connections.now().saturating_sub(since)))
    }

    /// Records that the connection now only waits for its peer to close it.
    pub(crate) fn linger(&self) {
        if !self.0.held.is_lingering.swap(true, Relaxed) {
            let mut state = self.0.connections.state();
            state.lingering += 1;
            self.0.connections.tell(&state);
        }
    }

    /// Returns whether the connection was evicted.
    pub(crate) fn is_evicted(&self) -> bool {
        self.0.held.is_evicted.load(Relaxed)
    }

    /// Waits until the connection is evicted.
    pub(crate) async fn evicted(&self) {
        while !self.is_evicted() {
            self.0.held.evicted.notified().await;
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        if state.slots.remove(&self.held.id).is_some() && !self.held.is_evicted.load(Relaxed) {
            state.uncount(self.held.address);
        }
        state.lingering -= usize::from(self.held.is_lingering.load(Relaxed));
        self.connections.memory.fetch_sub(self.held.load.bytes(), Relaxed);
        self.connections.tell(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counted::{ActiveRequest, mark_authenticated};

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_are_evicted_and_busy_ones_are_not() {
        let connections =
            Connections::new(Limits { all: 4, per_address: 2, proxies: Vec::new(), memory: MEMORY });
        let first = connections.slot(address(1)).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = connections.slot(address(1)).unwrap();
        let busy = ActiveRequest::begin(&second);
        busy.handle(async { mark_authenticated() }).await;
        assert_eq!((first.idle(), second.idle()), (Some(Duration::from_secs(1)), None));
        let third = connections.slot(address(1)).unwrap();
        first.evicted().await;
        assert!(!second.is_evicted() && !third.is_evicted());
        let also_busy = ActiveRequest::begin(&third);
        assert_eq!(connections.slot(address(1)).err(), Some(Full::ForAddress));
        let others: Vec<_> = (2..4).map(|last| connections.slot(address(last)).unwrap()).collect();
        let at_work: Vec<_> = others.iter().map(ActiveRequest::begin).collect();
        assert_eq!(connections.slot(address(9)).err(), Some(Full::Everywhere));
        drop((busy, at_work));
        let room = connections.slot(address(9)).unwrap();
        assert!(second.is_evicted() && !third.is_evicted());
        drop((first, second, third, also_busy, others, room));
        connections.wait_for_all_to_end().await;
        let state = connections.state();
        assert_eq!((state.all, state.by_address.len()), (0, 0));
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address_and_loopback_is_unlimited() {
        let proxies = vec!["192.0.2.0/24".parse().unwrap()];
        let connections = Connections::new(Limits { all: 9, per_address: 1, proxies, memory: MEMORY });
        let mut slots = Vec::new();
        for text in [
            "192.0.2.1",
            "192.0.2.1",
            "2001:db8::1",
            "2001:db8:0:100::1",
            "127.0.0.1",
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
        ] {
            let slot = connections.slot(text.parse().unwrap()).unwrap();
            slots.push((ActiveRequest::begin(&slot), slot));
        }
        assert_eq!(connections.slot("2001:db8:0:ff::2".parse().unwrap()).err(), Some(Full::ForAddress));
    }
}
