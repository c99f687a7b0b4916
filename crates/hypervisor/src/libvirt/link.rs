//! The way to one daemon: blocking calls on threads of their own with a deadline each, a connection made anew when
//! the daemon was restarted, and what happens on the host as events.

use std::sync::atomic::AtomicBool;
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
}

impl Session {
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
    current: Mutex<Option<Arc<Session>>>,
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
            let session = link.session()?;
            match step(&session) {
                Err(Trouble::Fault(_)) if !session.connection.is_alive() => step(&*link.session_again()?),
                answer => answer,
            }
            .map_err(|trouble| link.explain(trouble, operation))
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
            step(&*link.session()?).map_err(|trouble| link.explain(trouble, operation))
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

    fn explain(&self, trouble: Trouble, operation: &'static str) -> Error {
        match trouble {
            Trouble::Fault(fault) if !self.is_connected() => self.unreachable(&fault),
            trouble => trouble.into_error(operation),
        }
    }

    fn unreachable(&self, fault: &Fault) -> Error {
        let uri = self.address.uri.clone();
        Error::Unreachable { uri, reason: fault.message.clone(), hint: hint(fault).to_owned() }
    }

    fn is_connected(&self) -> bool {
        self.live().is_some()
    }

    fn live(&self) -> Option<Arc<Session>> {
        let current = self.current.lock().unwrap();
        current.as_ref().filter(|session| session.connection.is_alive()).cloned()
    }

    /// The live connection, or a new one.
    fn session(&self) -> Result<Arc<Session>> {
        if let Some(session) = self.live() {
            return Ok(session);
        }
        let _one_at_a_time = self.connecting.lock().unwrap();
        if let Some(session) = self.live() {
            return Ok(session);
        }
        let events = self.events.clone();
        let listener = move |happened| {
            if let Some(event) = lifecycle::event(&happened) {
                let _ = events.send(event);
            }
        };
        let opened = Connection::open(&self.address.uri, listener);
        let connection = Arc::new(opened.map_err(|fault| self.unreachable(&fault))?);
        let (address, weightless) = (Arc::clone(&self.address), Arc::clone(&self.weightless));
        let session = Arc::new(Session { connection, address, weightless, store: OnceLock::new() });
        let dead = self.current.lock().unwrap().replace(Arc::clone(&session));
        drop(dead);
        Ok(session)
    }

    fn session_again(&self) -> Result<Arc<Session>> {
        let begin = Instant::now();
        loop {
            match self.session() {
                Err(_) if begin.elapsed() < RETURN_WITHIN => pause(KNOCK_EVERY),
                answer => return answer,
            }
        }
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
    Some(tokio::task::spawn_blocking(move || link.session().is_ok()).await.unwrap_or(false))
}
