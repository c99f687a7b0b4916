//! The open connections of a process: how many there may be, together and from one address, and which are closed to make
//! room for others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// When room is short, this part of the connections is closed at once, those without a request that were idle longest.
const EVICTED_PART: usize = 16;

/// How many connections there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Together.
    pub all: usize,
    /// From one address, an IPv6 network of 64 bits counting as one.
    pub per_address: usize,
    /// Networks of proxies, whose addresses may have `all`; loopback may, too.
    pub proxies: Vec<IpNet>,
}

impl Limits {
    /// What suits a process that may have so many files open: three quarters of them for connections, the others for data.
    #[must_use]
    pub fn for_files(files: u64) -> Self {
        let files = usize::try_from(files).unwrap_or(usize::MAX).min(1 << 20);
        let all = (files / 4 * 3).saturating_sub(32).max(16);
        Self { all, per_address: (all / 4).max(16), proxies: Vec::new() }
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
    /// Tells whoever waits for room, or for the last connection to end.
    count: watch::Sender<Count>,
    start: Instant,
}

#[derive(Clone, Copy, Default)]
struct Count {
    /// All connections.
    seats: usize,
    /// Those that are only waited for to be closed by their peers.
    lingering: usize,
}

#[derive(Default)]
struct State {
    next: u64,
    lingering: usize,
    seats: HashMap<u64, Arc<Held>>,
    /// Those of each address that were not evicted.
    by_address: HashMap<IpAddr, usize>,
    /// Those that were not evicted.
    all: usize,
}

/// A connection's place among all.
#[derive(Clone)]
pub(crate) struct Seat(Arc<Taken>);

struct Taken {
    connections: Arc<Connections>,
    held: Arc<Held>,
}

struct Held {
    id: u64,
    address: IpAddr,
    /// Requests under way.
    requests: AtomicUsize,
    /// Milliseconds from `Connections::start` to when the last one ended.
    idle_since: AtomicU64,
    is_evicted: AtomicBool,
    evicted: Notify,
    is_lingering: AtomicBool,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All connections have requests under way.
    Everywhere,
    /// Those from this address have.
    ForAddress,
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let (count, _) = watch::channel(Count::default());
        Arc::new(Self { limits, state: Mutex::default(), count, start: Instant::now() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: &State) {
        self.count.send_replace(Count { seats: state.seats.len(), lingering: state.lingering });
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes a place for a connection from this address, closing others that are idle where there is none.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn seat(self: &Arc<Self>, address: IpAddr) -> Result<Seat, Full> {
        let (address, per_address) = match address.to_canonical() {
            address if address.is_loopback() || self.limits.is_proxy(address) => (address, self.limits.all),
            IpAddr::V6(address) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                (IpAddr::V6(network.into()), self.limits.per_address)
            }
            address @ IpAddr::V4(_) => (address, self.limits.per_address),
        };
        let mut state = self.state();
        if state.by_address.get(&address).is_some_and(|count| *count >= per_address)
            && state.evict(per_address / EVICTED_PART + 1, Some(address)) == 0
        {
            return Err(Full::ForAddress);
        }
        if state.all >= self.limits.all && state.evict(self.limits.all / EVICTED_PART + 1, None) == 0 {
            return Err(Full::Everywhere);
        }
        let held = Arc::new(Held {
            id: state.next,
            address,
            requests: AtomicUsize::new(0),
            idle_since: AtomicU64::new(self.now()),
            is_evicted: AtomicBool::new(false),
            evicted: Notify::new(),
            is_lingering: AtomicBool::new(false),
        });
        state.next += 1;
        state.all += 1;
        *state.by_address.entry(address).or_default() += 1;
        state.seats.insert(held.id, Arc::clone(&held));
        self.tell(&state);
        Ok(Seat(Arc::new(Taken { connections: Arc::clone(self), held })))
    }

    /// Closes some idle connections; how many.
    pub(crate) fn evict(&self) -> usize {
        let mut state = self.state();
        let count = state.all / EVICTED_PART + 1;
        state.evict(count, None)
    }

    /// Waits until fewer connections are open than now.
    pub(crate) async fn one_ends(&self) {
        let mut count = self.count.subscribe();
        let now = count.borrow_and_update().seats;
        let _ = count.wait_for(|count| count.seats < now).await;
    }

    /// Waits until every connection is closed on this side.
    pub(crate) async fn all_end(&self) {
        let _ = self.count.subscribe().wait_for(|count| count.seats == count.lingering).await;
    }
}

impl State {
    /// Closes up to `count` idle connections, those that were idle longest, of one address or of all.
    fn evict(&mut self, count: usize, address: Option<IpAddr>) -> usize {
        let fits = |held: &&Arc<Held>| {
            held.requests.load(Relaxed) == 0
                && !held.is_evicted.load(Relaxed)
                && address.is_none_or(|address| address == held.address)
        };
        let mut idle: Vec<_> = self.seats.values().filter(fits).cloned().collect();
        if idle.len() > count {
            idle.select_nth_unstable_by_key(count, |held| (held.idle_since.load(Relaxed), held.id));
            idle.truncate(count);
        }
        for held in &idle {
            held.is_evicted.store(true, Relaxed);
            held.evicted.notify_waiters();
            held.evicted.notify_one();
            self.uncount(held.address);
        }
        idle.len()
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

impl Seat {
    /// A request is under way until what this returns is dropped.
    pub(crate) fn request(&self) -> Busy {
        self.0.held.requests.fetch_add(1, Relaxed);
        Busy(self.clone())
    }

    /// For how long no request was under way; nothing while one is.
    pub(crate) fn idle(&self) -> Option<Duration> {
        if self.0.held.requests.load(Relaxed) > 0 {
            return None;
        }
        let since = self.0.held.idle_since.load(Relaxed);
        Some(Duration::from_millis(self.0.connections.now().saturating_sub(since)))
    }

    /// Its peer is only waited for to close it from now on.
    pub(crate) fn linger(&self) {
        if !self.0.held.is_lingering.swap(true, Relaxed) {
            let mut state = self.0.connections.state();
            state.lingering += 1;
            self.0.connections.tell(&state);
        }
    }

    /// Whether it must go at once.
    pub(crate) fn is_evicted(&self) -> bool {
        self.0.held.is_evicted.load(Relaxed)
    }

    /// Waits until it must go at once.
    pub(crate) async fn evicted(&self) {
        while !self.is_evicted() {
            self.0.held.evicted.notified().await;
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        if state.seats.remove(&self.held.id).is_some() && !self.held.is_evicted.load(Relaxed) {
            state.uncount(self.held.address);
        }
        state.lingering -= usize::from(self.held.is_lingering.load(Relaxed));
        self.connections.tell(&state);
    }
}

/// A request under way.
pub(crate) struct Busy(Seat);

impl Drop for Busy {
    fn drop(&mut self) {
        let Seat(taken) = &self.0;
        taken.held.idle_since.store(taken.connections.now(), Relaxed);
        taken.held.requests.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_make_room_and_busy_ones_do_not() {
        let connections = Connections::new(Limits { all: 4, per_address: 2, proxies: Vec::new() });
        let first = connections.seat(address(1)).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = connections.seat(address(1)).unwrap();
        let busy = second.request();
        assert_eq!((first.idle(), second.idle()), (Some(Duration::from_secs(1)), None));
        let third = connections.seat(address(1)).unwrap();
        first.evicted().await;
        assert!(!second.is_evicted() && !third.is_evicted());
        let also_busy = third.request();
        assert_eq!(connections.seat(address(1)).err(), Some(Full::ForAddress));
        let others: Vec<_> = (2..4).map(|last| connections.seat(address(last)).unwrap()).collect();
        let at_work: Vec<_> = others.iter().map(Seat::request).collect();
        assert_eq!(connections.seat(address(9)).err(), Some(Full::Everywhere));
        drop((busy, at_work));
        let room = connections.seat(address(9)).unwrap();
        assert!(second.is_evicted() && !third.is_evicted());
        drop((first, second, third, also_busy, others, room));
        connections.all_end().await;
        let state = connections.state();
        assert_eq!((state.all, state.by_address.len()), (0, 0));
    }

    #[test]
    fn networks_count_as_one_address_and_loopback_as_all() {
        let proxies = vec!["192.0.2.0/24".parse().unwrap()];
        let connections = Connections::new(Limits { all: 9, per_address: 1, proxies });
        let mut seats = Vec::new();
        for text in [
            "192.0.2.1",
            "192.0.2.1",
            "2001:db8::1",
            "2001:db8:0:1::1",
            "127.0.0.1",
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
        ] {
            let seat = connections.seat(text.parse().unwrap()).unwrap();
            seats.push((seat.request(), seat));
        }
        assert_eq!(connections.seat("2001:db8::2".parse().unwrap()).err(), Some(Full::ForAddress));
    }
}
