//! Connections to one libvirt daemon: runs blocking calls on their own threads with deadlines, reconnects after a
//! restart of the daemon, and forwards the host's events.
//!
//! One connection receives events and detects whether the daemon is reachable. Calls use other connections, one call
//! at a time on each. The reason is a bug in libvirt's client before 10.0: if two threads share a connection, or if a
//! keep-alive message arrives during a wait, it accesses a record on the stack of a thread that has stopped waiting,
//! which crashes the process.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, broadcast};

use super::error::{LibvirtError, Outcome, hint};
use super::lifecycle;
use super::store::Store;
use super::sys::{Connection, Fault};
use super::uri::Address;
use crate::{Error, Event, Result};

/// Deadline of calls that the daemon completes at once.
pub const QUICK: Duration = Duration::from_secs(60);
/// Deadline of calls that start or stop a process on the host.
pub const PROCESS: Duration = Duration::from_secs(180);
/// Deadline of calls that copy a disk.
pub const COPY: Duration = Duration::from_secs(6 * 3600);

const CALLS_AT_ONCE: usize = 24;
/// Copies take long, so they have a limit of their own.
const COPIES_AT_ONCE: usize = 8;
const EVENTS_KEPT: usize = 4096;
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Time that a call waits for a daemon whose connection has just broken.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RECONNECT_INTERVAL: Duration = Duration::from_millis(200);
/// A connection whose call took longer than this may have received a keep-alive message during a wait, so it is not used again.
const REUSE_LIMIT: Duration = Duration::from_secs(4);

/// Sleeps between two polls of a condition for which the daemon has no event. Steps run on their own threads, so this
/// blocks nothing else.
#[expect(clippy::disallowed_methods, reason = "the only place; always in a loop over a condition")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A connection with its storage pool.
pub struct Session {
    pub connection: Arc<Connection>,
    pub address: Arc<Address>,
    /// Set once the host was found unable to apply CPU shares.
    pub without_cpu_shares: Arc<AtomicBool>,
    store: OnceLock<Store>,
    /// Whether a stream uses the connection after the call.
    is_in_use: AtomicBool,
}

/// A session used by one call. On drop it is returned to the idle ones if it can be reused.
struct BorrowedSession<'a> {
    link: &'a Link,
    session: Option<Session>,
    since: Instant,
}

impl Deref for BorrowedSession<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session.as_ref().expect("taken only on drop")
    }
}

impl Drop for BorrowedSession<'_> {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let reusable = self.since.elapsed() < REUSE_LIMIT && !session.is_in_use.load(Ordering::Relaxed);
        if reusable && session.connection.is_alive() {
            self.link.idle.lock().unwrap().push(session);
        }
    }
}

impl Session {
    /// Prevents other calls from using this connection, because a stream still uses it.
    pub fn keep_exclusive(&self) {
        self.is_in_use.store(true, Ordering::Relaxed);
    }

    /// Returns Nephos' storage pool; creates and starts it if need be.
    pub fn store(&self) -> Outcome<&Store> {
        if self.store.get().is_none() {
            let store = Store::ensure(&self.connection, &self.address.pool_path)?;
            let _ = self.store.set(store);
        }
        Ok(self.store.get().expect("set above"))
    }
}

pub struct Link {
    pub address: Arc<Address>,
    /// The connection that receives events.
    current: Mutex<Option<Arc<Connection>>>,
    /// Sessions that no call uses.
    idle: Mutex<Vec<Session>>,
    /// Held while connecting, which may take long. `current` is never locked for long.
    connecting: Mutex<()>,
    without_cpu_shares: Arc<AtomicBool>,
    calls: Arc<Semaphore>,
    copies: Arc<Semaphore>,
    events: broadcast::Sender<Event>,
    watching: OnceLock<()>,
}

impl Link {
    pub fn new(address: Address) -> Arc<Self> {
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        Arc::new(Self {
            address: Arc::new(address),
            current: Mutex::default(),
            idle: Mutex::default(),
            connecting: Mutex::default(),
            without_cpu_shares: Arc::default(),
            calls: Arc::new(Semaphore::new(CALLS_AT_ONCE)),
            copies: Arc::new(Semaphore::new(COPIES_AT_ONCE)),
            events,
            watching: OnceLock::new(),
        })
    }

    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Runs an idempotent step. If the connection breaks during it, reconnects and runs it once more.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        operation: &'static str,
        deadline: Duration,
        step: impl Fn(&Session) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking(operation, deadline, move |link| {
            let mut session = link.session()?;
            let mut result = step(&session);
            if matches!(result, Err(LibvirtError::Fault(_))) && !session.connection.is_alive() {
                session = link.reconnect()?;
                result = step(&session);
            }
            result.map_err(|error| link.convert(error, &session, operation))
        })
        .await
    }

    /// Runs a step that is not idempotent.
    pub async fn run_once<T: Send + 'static>(
        self: &Arc<Self>,
        operation: &'static str,
        deadline: Duration,
        step: impl FnOnce(&Session) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking(operation, deadline, move |link| {
            let session = link.session()?;
            step(&session).map_err(|error| link.convert(error, &session, operation))
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        operation: &'static str,
        deadline: Duration,
        work: impl FnOnce(&Arc<Self>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.watch();
        let link = Arc::clone(self);
        let call = async move {
            let limit = if deadline == COPY { &link.copies } else { &link.calls };
            let permit = Arc::clone(limit).acquire_owned().await.expect("never closed");
            let work = move || {
                let _permit = permit;
                work(&link)
            };
            let panicked =
                |error: tokio::task::JoinError| Error::Failed { operation, reason: error.to_string() };
            tokio::task::spawn_blocking(work).await.map_err(panicked)?
        };
        let timed_out = Error::Timeout { operation, after: deadline };
        tokio::time::timeout(deadline, call).await.unwrap_or(Err(timed_out))
    }

    fn convert(&self, error: LibvirtError, session: &Session, operation: &'static str) -> Error {
        match error {
            LibvirtError::Fault(fault) if !session.connection.is_alive() => self.unreachable(&fault),
            error => error.into_error(operation),
        }
    }

    fn unreachable(&self, fault: &Fault) -> Error {
        let uri = self.address.uri.clone();
        Error::Unreachable { uri, reason: fault.message.clone(), hint: hint(fault).to_owned() }
    }

    /// Returns whether the connection that receives events is alive.
    fn is_connected(&self) -> bool {
        self.current.lock().unwrap().as_ref().is_some_and(|connection| connection.is_alive())
    }

    /// Opens the connection that receives events unless it is alive.
    fn listen(&self) -> Result<()> {
        if self.is_connected() {
            return Ok(());
        }
        let _guard = self.connecting.lock().unwrap();
        if self.is_connected() {
            return Ok(());
        }
        let events = self.events.clone();
        let listener = move |happened| {
            if let Some(event) = lifecycle::event(&happened) {
                let _ = events.send(event);
            }
        };
        let opened = Connection::listen(&self.address.uri, listener);
        let connection = Arc::new(opened.map_err(|fault| self.unreachable(&fault))?);
        let dead = self.current.lock().unwrap().replace(connection);
        drop(dead);
        self.close_idle();
        Ok(())
    }

    /// Returns an idle session or opens a new one.
    fn session(&self) -> Result<BorrowedSession<'_>> {
        self.listen()?;
        let borrow = |session| BorrowedSession { link: self, session: Some(session), since: Instant::now() };
        loop {
            let idle = self.idle.lock().unwrap().pop();
            match idle {
                Some(session) if session.connection.is_alive() => return Ok(borrow(session)),
                Some(dead) => drop(dead),
                None => break,
            }
        }
        let opened = Connection::open(&self.address.uri).map_err(|fault| self.unreachable(&fault))?;
        Ok(borrow(Session {
            connection: Arc::new(opened),
            address: Arc::clone(&self.address),
            without_cpu_shares: Arc::clone(&self.without_cpu_shares),
            store: OnceLock::new(),
            is_in_use: AtomicBool::new(false),
        }))
    }

    /// Reconnects after a connection broke. Closes the idle ones: they are broken as well.
    fn reconnect(&self) -> Result<BorrowedSession<'_>> {
        self.close_idle();
        let begin = Instant::now();
        loop {
            match self.session() {
                Err(_) if begin.elapsed() < RECONNECT_TIMEOUT => pause(RECONNECT_INTERVAL),
                result => return result,
            }
        }
    }

    fn close_idle(&self) {
        let old = std::mem::take(&mut *self.idle.lock().unwrap());
        drop(old);
    }

    /// Keeps the connection open while the link exists, and sends an event when the host becomes unreachable or reachable.
    fn watch(self: &Arc<Self>) {
        let link = Arc::downgrade(self);
        self.watching.get_or_init(|| {
            tokio::spawn(async move {
                let mut before = None;
                while let Some(now) = check_connection(&link).await {
                    if let Some(link) = link.upgrade() {
                        match (before, now) {
                            (Some(true), false) => drop(link.events.send(Event::HostLost)),
                            (Some(false), true) => drop(link.events.send(Event::HostBack)),
                            _ => {}
                        }
                    }
                    before = Some(now);
                    tokio::time::sleep(WATCH_INTERVAL).await;
                }
            });
        });
    }
}

/// Returns whether the host is reachable, after trying to connect; `None` once the link was dropped.
async fn check_connection(link: &Weak<Link>) -> Option<bool> {
    let link = link.upgrade()?;
    if link.is_connected() {
        return Some(true);
    }
    let dead = link.current.lock().unwrap().take();
    if let Some(dead) = dead {
        let _ = tokio::task::spawn_blocking(move || drop(dead)).await;
        return Some(false);
    }
    Some(tokio::task::spawn_blocking(move || link.listen().is_ok()).await.unwrap_or(false))
}
