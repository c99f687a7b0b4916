//! The way to one daemon: blocking calls on threads of their own with a deadline each, connections made anew when the
//! daemon was restarted, and what happens on the host as events.
//!
//! One connection listens, and tells whether the daemon is there. Calls are made on others, one call at a time on each:
//! libvirt's client before 10.0 leaves the record of a wait on the waiting thread's stack to be found by the next one
//! where two threads share a connection, and where a keep-alive message comes into a wait. Both end the process.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, broadcast};

use super::lifecycle;
use super::store::Store;
use super::sys::{Connection, Fault};
use super::trouble::{Outcome, Trouble, hint};
use super::uri::Address;
use crate::{Error, Event, Result};

/// For what a daemon does at once.
pub const QUICK: Duration = Duration::from_secs(60);
/// For what starts or ends a process on the host.
pub const PROCESS: Duration = Duration::from_secs(180);
/// For what moves a disk's bytes.
pub const COPY: Duration = Duration::from_secs(6 * 3600);

const CALLS_AT_ONCE: usize = 24;
/// Copies last long, so they do not count as calls.
const COPIES_AT_ONCE: usize = 8;
const EVENTS_KEPT: usize = 4096;
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How long a call waits for a daemon that was there a moment ago.
const RETURN_WITHIN: Duration = Duration::from_secs(10);
const KNOCK_EVERY: Duration = Duration::from_millis(200);
/// A connection that waited for so long may have had a keep-alive message come into a wait: it is not used again.
const WORN_AFTER: Duration = Duration::from_secs(4);

/// Lets time pass between two looks at a condition that the daemon tells only when asked. Steps are blocking calls on
/// threads of their own, where nothing else waits.
#[expect(clippy::disallowed_methods, reason = "the one place; always in a loop over a condition")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A live connection with what belongs to it.
pub struct Session {
    pub connection: Arc<Connection>,
    pub address: Arc<Address>,
    /// Set once the host has refused to weigh machines against each other.
    pub weightless: Arc<AtomicBool>,
    store: OnceLock<Store>,
    /// Something of it lives on after the call.
    apart: AtomicBool,
}

/// A connection lent to one call.
struct Lent<'a> {
    link: &'a Link,
    session: Option<Session>,
    since: Instant,
}

impl Deref for Lent<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session.as_ref().expect("taken at the end alone")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let worn = self.since.elapsed() >= WORN_AFTER || session.apart.load(Ordering::Relaxed);
        if !worn && session.connection.is_alive() {
            self.link.idle.lock().unwrap().push(session);
        }
    }
}

impl Session {
    /// No other call uses this connection: a stream of it is read on.
    pub fn keep_apart(&self) {
        self.apart.store(true, Ordering::Relaxed);
    }

    /// Our storage pool, made and started if need be.
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
    /// The connection that listens.
    current: Mutex<Option<Arc<Connection>>>,
    /// Connections that no call uses.
    idle: Mutex<Vec<Session>>,
    /// Held while connecting, which may take long; `current` is only ever held for a moment.
    connecting: Mutex<()>,
    weightless: Arc<AtomicBool>,
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
            weightless: Arc::default(),
            calls: Arc::new(Semaphore::new(CALLS_AT_ONCE)),
            copies: Arc::new(Semaphore::new(COPIES_AT_ONCE)),
            events,
            watching: OnceLock::new(),
        })
    }

    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Does a step that may be repeated; once more if the daemon went away under it and came back.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        operation: &'static str,
        deadline: Duration,
        step: impl Fn(&Session) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking(operation, deadline, move |link| {
            let mut session = link.session()?;
            let mut answer = step(&session);
            if matches!(answer, Err(Trouble::Fault(_))) && !session.connection.is_alive() {
                session = link.session_again()?;
                answer = step(&session);
            }
            answer.map_err(|trouble| link.explain(trouble, &session, operation))
        })
        .await
    }

    /// Does a step that cannot be repeated.
    pub async fn run_once<T: Send + 'static>(
        self: &Arc<Self>,
        operation: &'static str,
        deadline: Duration,
        step: impl FnOnce(&Session) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking(operation, deadline, move |link| {
            let session = link.session()?;
            step(&session).map_err(|trouble| link.explain(trouble, &session, operation))
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
            let turns = if deadline == COPY { &link.copies } else { &link.calls };
            let permit = Arc::clone(turns).acquire_owned().await.expect("never closed");
            let work = move || {
                let _permit = permit;
                work(&link)
            };
            let ended =
                |error: tokio::task::JoinError| Error::Failed { operation, reason: error.to_string() };
            tokio::task::spawn_blocking(work).await.map_err(ended)?
        };
        let late = Error::Timeout { operation, after: deadline };
        tokio::time::timeout(deadline, call).await.unwrap_or(Err(late))
    }

    fn explain(&self, trouble: Trouble, session: &Session, operation: &'static str) -> Error {
        match trouble {
            Trouble::Fault(fault) if !session.connection.is_alive() => self.unreachable(&fault),
            trouble => trouble.into_error(operation),
        }
    }

    fn unreachable(&self, fault: &Fault) -> Error {
        let uri = self.address.uri.clone();
        Error::Unreachable { uri, reason: fault.message.clone(), hint: hint(fault).to_owned() }
    }

    /// Whether the daemon is there, as far as the connection that listens knows.
    fn is_connected(&self) -> bool {
        self.current.lock().unwrap().as_ref().is_some_and(|connection| connection.is_alive())
    }

    /// Has the connection that listens, or makes it.
    fn listen(&self) -> Result<()> {
        if self.is_connected() {
            return Ok(());
        }
        let _one_at_a_time = self.connecting.lock().unwrap();
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
        self.forget_idle();
        Ok(())
    }

    /// A connection for one call: one that was used before, or a new one.
    fn session(&self) -> Result<Lent<'_>> {
        self.listen()?;
        let lend = |session| Lent { link: self, session: Some(session), since: Instant::now() };
        loop {
            let idle = self.idle.lock().unwrap().pop();
            match idle {
                Some(session) if session.connection.is_alive() => return Ok(lend(session)),
                Some(dead) => drop(dead),
                None => break,
            }
        }
        let opened = Connection::open(&self.address.uri).map_err(|fault| self.unreachable(&fault))?;
        Ok(lend(Session {
            connection: Arc::new(opened),
            address: Arc::clone(&self.address),
            weightless: Arc::clone(&self.weightless),
            store: OnceLock::new(),
            apart: AtomicBool::new(false),
        }))
    }

    /// A connection after one was found dead: the others are as old.
    fn session_again(&self) -> Result<Lent<'_>> {
        self.forget_idle();
        let begin = Instant::now();
        loop {
            match self.session() {
                Err(_) if begin.elapsed() < RETURN_WITHIN => pause(KNOCK_EVERY),
                answer => return answer,
            }
        }
    }

    fn forget_idle(&self) {
        let old = std::mem::take(&mut *self.idle.lock().unwrap());
        drop(old);
    }

    /// Keeps the connection up while anyone holds the link, and tells when the host is lost and back.
    fn watch(self: &Arc<Self>) {
        let link = Arc::downgrade(self);
        self.watching.get_or_init(|| {
            tokio::spawn(async move {
                let mut seen = None;
                while let Some(now) = look(&link).await {
                    if let Some(link) = link.upgrade() {
                        match (seen, now) {
                            (Some(true), false) => drop(link.events.send(Event::HostLost)),
                            (Some(false), true) => drop(link.events.send(Event::HostBack)),
                            _ => {}
                        }
                    }
                    seen = Some(now);
                    tokio::time::sleep(WATCH_EVERY).await;
                }
            });
        });
    }
}

/// Whether the host answers, after trying to connect; nothing once the link is gone.
async fn look(link: &Weak<Link>) -> Option<bool> {
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
