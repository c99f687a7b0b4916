//! Fills the cache: one request to the origin serves everyone who waits for the same object, and their number is limited.
//!
//! A fill runs in its own task, so that a visitor who disconnects does not end it for the others. A body is cached only after
//! all of it has arrived.

use std::collections::HashMap;
use std::hash::Hash as StdHash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::cache::{Key, Part, Value};
use super::growing::{End, Growing};
use super::head::{CHUNK, Fetched, Head, OBJECT_MAX};
use super::{Ask, Edge, OriginError};
use crate::model::{Hash, Site};

/// Maximum number of concurrent requests to the origin, in total and for one site.
const FILLS_MAX: usize = 256;
const SITE_FILLS_MAX: usize = 32;
/// Time limit for a fill to be admitted, and for the origin to begin its response.
const TURN_WITHIN: Duration = Duration::from_secs(10);
const RESPONSE_WITHIN: Duration = Duration::from_secs(20);
/// Time limit for the origin to send the next bytes of a body.
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// How long a stale copy is served after the origin failed, before the origin is asked again.
const HOLD_SECONDS: i64 = 5;

/// A head and the part of its body that is being fetched: a numbered piece, or the whole body if it is not stored in pieces.
#[derive(Clone)]
pub(super) struct Filled {
    pub(super) head: Arc<Head>,
    pub(super) growing: Option<(u32, Arc<Growing>)>,
}

impl Filled {
    fn of(head: Arc<Head>) -> Self {
        Self { head, growing: None }
    }

    /// Returns whether its body can still be read.
    fn may_be_joined(&self) -> bool {
        self.growing.as_ref().is_none_or(|(_, growing)| !growing.has_failed())
    }
}

type Outcome = Result<Filled, OriginError>;

/// A request to the origin that others may wait for.
struct Flight {
    /// Distinguishes it from other fills of the same key.
    number: u64,
    stamp: u64,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Flight {
    /// Returns whether a request may use this fill: it began after the last purge, has not failed, and its outcome is still
    /// fresh.
    fn may_be_joined(&self, site: &Site, now: i64) -> bool {
        self.stamp >= site.generation
            && match &*self.outcome.borrow() {
                None => true,
                Some(Ok(filled)) => filled.may_be_joined() && filled.head.is_fresh(now, site.ttl.seconds()),
                Some(Err(_)) => false,
            }
    }
}

/// The fills in progress.
pub(super) struct Fills {
    heads: Mutex<HashMap<Key, Flight>>,
    chunks: Mutex<HashMap<Key, Arc<Growing>>>,
    sites: Mutex<HashMap<Hash, Arc<Semaphore>>>,
    all: Arc<Semaphore>,
    next: AtomicU64,
}

impl Default for Fills {
    fn default() -> Self {
        let all = Arc::new(Semaphore::new(FILLS_MAX));
        Self {
            heads: Mutex::default(),
            chunks: Mutex::default(),
            sites: Mutex::default(),
            all,
            next: AtomicU64::new(0),
        }
    }
}

fn locked<K: StdHash + Eq, V>(map: &Mutex<HashMap<K, V>>) -> MutexGuard<'_, HashMap<K, V>> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fills {
    /// Waits for admission, first among the site's own fills, so that one site cannot use up the limit for all.
    async fn turn(&self, site: Hash) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), OriginError> {
        let own = {
            let mut sites = locked(&self.sites);
            // Every waiting and every admitted fill holds a reference to the semaphore.
            sites.retain(|_, own| Arc::strong_count(own) > 1);
            Arc::clone(sites.entry(site).or_insert_with(|| Arc::new(Semaphore::new(SITE_FILLS_MAX))))
        };
        let turn = async {
            let own = own.acquire_owned().await?;
            Ok::<_, tokio::sync::AcquireError>((own, Arc::clone(&self.all).acquire_owned().await?))
        };
        match timeout(TURN_WITHIN, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(OriginError("too many requests to the origin are waiting".into())),
        }
    }
}

/// Removes a fill from the list when dropped, whether it succeeded or not.
struct HeadListed(Arc<Edge>, Key, u64);

impl HeadListed {
    fn is_current(&self) -> bool {
        locked(&self.0.fills.heads).get(&self.1).is_some_and(|flight| flight.number == self.2)
    }
}

impl Drop for HeadListed {
    fn drop(&mut self) {
        let mut heads = locked(&self.0.fills.heads);
        if heads.get(&self.1).is_some_and(|flight| flight.number == self.2) {
            heads.remove(&self.1);
        }
    }
}

struct ChunkListed(Arc<Edge>, Key, Arc<Growing>);

impl Drop for ChunkListed {
    fn drop(&mut self) {
        self.2.end(End::Failed);
        let mut chunks = locked(&self.0.fills.chunks);
        if chunks.get(&self.1).is_some_and(|growing| Arc::ptr_eq(growing, &self.2)) {
            chunks.remove(&self.1);
        }
    }
}

/// Fails a growing body when dropped, unless it was completed.
struct Unfinished(Arc<Growing>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.end(End::Failed);
    }
}

impl Edge {
    fn seconds(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// Returns the head to serve for a path: from the cache while it is fresh, otherwise from the origin. If the origin fails, a
    /// stale copy that was not purged is returned.
    pub(super) async fn head_of(
        self: &Arc<Self>,
        site: &Arc<Site>,
        path: &Arc<str>,
        first_byte: u64,
    ) -> Outcome {
        let key = Key { site: site.hash, path: Arc::clone(path), part: Part::Head };
        let cached = match self.cache.get(&key).await {
            Some(Value::Head(head)) => Some(head),
            _ => None,
        };
        let cached_is_valid =
            cached.as_ref().is_some_and(|head| head.stamp >= site.required(path, head.is_object()));
        if let Some(head) = cached.as_ref().filter(|_| cached_is_valid)
            && head.is_fresh(self.seconds(), site.ttl.seconds())
        {
            return Ok(Filled::of(Arc::clone(head)));
        }
        let asked = self.ask_for_head(site, key.clone(), cached.clone(), first_byte).await;
        let now = self.seconds();
        match (asked, cached) {
            (Err(error), Some(head))
                if cached_is_valid && head.expires.is_none_or(|expires| now < expires) =>
            {
                tracing::warn!(%error, site = %site.hash, "the origin cannot be asked; serving a stale copy");
                let held = Arc::new(Head { held_until: now + HOLD_SECONDS, ..(*head).clone() });
                self.cache.put(key, Value::Head(Arc::clone(&held)));
                Ok(Filled::of(held))
            }
            (asked, _) => asked,
        }
    }

    /// Asks the origin, or joins a request to it that began after the last purge.
    async fn ask_for_head(
        self: &Arc<Self>,
        site: &Arc<Site>,
        key: Key,
        cached: Option<Arc<Head>>,
        first_byte: u64,
    ) -> Outcome {
        let mut outcome = {
            let mut heads = locked(&self.fills.heads);
            match heads.get(&key) {
                Some(flight) if flight.may_be_joined(site, self.seconds()) => flight.outcome.clone(),
                _ => {
                    // A fill may have ended since the cache was read. Its result is cached before it leaves the list.
                    if let Some(Value::Head(head)) = self.cache.in_memory(&key)
                        && head.stamp >= site.required(&key.path, head.is_object())
                        && head.is_fresh(self.seconds(), site.ttl.seconds())
                    {
                        return Ok(Filled::of(head));
                    }
                    let (landed, outcome) = watch::channel(None);
                    let number = self.fills.next.fetch_add(1, Ordering::Relaxed);
                    let flight = Flight { number, stamp: site.generation, outcome: outcome.clone() };
                    heads.insert(key.clone(), flight);
                    let listed = HeadListed(Arc::clone(self), key, number);
                    let (edge, site) = (Arc::clone(self), Arc::clone(site));
                    tokio::spawn(
                        async move { edge.fill_head(&site, listed, cached, first_byte, &landed).await },
                    );
                    outcome
                }
            }
        };
        let landed = outcome.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone());
        landed.unwrap_or_else(|| Err(OriginError("a request to the origin was abandoned".into())))
    }

    async fn fill_head(
        self: &Arc<Self>,
        site: &Arc<Site>,
        listed: HeadListed,
        cached: Option<Arc<Head>>,
        first_byte: u64,
        landed: &watch::Sender<Option<Outcome>>,
    ) {
        let outcome = async {
            let turn = self.fills.turn(site.hash).await?;
            let fetched = self.fetch_head(site, &listed.1.path, cached.as_deref(), first_byte).await?;
            Ok((turn, fetched))
        };
        let (_turn, (fetched, body)) = match outcome.await {
            Ok(fetched) => fetched,
            Err(error) => return drop(landed.send_replace(Some(Err(error)))),
        };
        let put = |head: Arc<Head>| {
            if listed.is_current() {
                self.cache.put(listed.1.clone(), Value::Head(head));
            }
        };
        let (head, sent) = match (fetched, cached) {
            (Fetched::New(head, sent), _) => (head, sent),
            (Fetched::Unchanged { headers, expires }, Some(cached)) => {
                let head = cached.confirmed(headers, expires, site.generation, self.seconds());
                let confirmed = head.map(Arc::new).inspect(|head| put(Arc::clone(head))).map(Filled::of);
                let other =
                    || OriginError("the origin confirmed another entity tag than it was asked for".into());
                return drop(landed.send_replace(Some(confirmed.ok_or_else(other))));
            }
            (Fetched::Unchanged { .. } | Fetched::Beyond(_), _) => {
                let error = OriginError("the origin answered what it was not asked".into());
                return drop(landed.send_replace(Some(Err(error))));
            }
        };
        if head.body.is_some() || head.length == 0 {
            let head = Arc::new(Head { body: Some(head.body.clone().unwrap_or_default()), ..head });
            put(Arc::clone(&head));
            return drop(landed.send_replace(Some(Ok(Filled::of(head)))));
        }
        let growing = Growing::new();
        let _unfinished = Unfinished(Arc::clone(&growing));
        let number =
            if head.is_chunked() { u32::try_from(sent.start / CHUNK).unwrap_or(u32::MAX) } else { 0 };
        let head = Arc::new(head);
        // Let other requests for this piece join.
        let _listed_chunk = head.is_chunked().then(|| {
            let key = chunk_key(site, &listed.1.path, &head, number);
            locked(&self.fills.chunks).insert(key.clone(), Arc::clone(&growing));
            ChunkListed(Arc::clone(self), key, Arc::clone(&growing))
        });
        landed.send_replace(Some(Ok(Filled {
            head: Arc::clone(&head),
            growing: Some((number, Arc::clone(&growing))),
        })));
        if head.is_chunked() {
            put(Arc::clone(&head));
        }
        let Some(last) = pump(body, sent.end - sent.start, &growing).await else {
            tracing::warn!(site = %site.hash, "the origin broke off within a body");
            return;
        };
        if head.is_chunked() {
            self.put_chunk(site, &listed.1.path, &head, number, growing.joined(&last));
        } else {
            put(Arc::new(Head { body: Some(growing.joined(&last)), ..(*head).clone() }));
        }
        growing.complete(last);
    }

    async fn fetch_head(
        &self,
        site: &Site,
        path: &Arc<str>,
        cached: Option<&Head>,
        first_byte: u64,
    ) -> Result<(Fetched, Body), OriginError> {
        let start = first_byte / CHUNK * CHUNK;
        let tag = cached.filter(|head| head.is_object()).and_then(Head::etag).map(str::to_owned);
        let mut ask = Ask {
            path: Arc::clone(path),
            range: Some(start..start + CHUNK),
            if_none_match: tag,
            if_match: None,
        };
        // Up to three requests: for the wanted range, for the first range, and, if the object is empty, without a range.
        for _ in 0..3 {
            let now = self.seconds();
            let response = self.fetch(site, &ask).await?;
            let start = ask.range.as_ref().map_or(0, |range| range.start);
            match Head::read(&response, site.generation, now, start).map_err(OriginError)? {
                Fetched::Beyond(total) => {
                    ask.range = (total > 0 && start > 0).then_some(0..CHUNK);
                }
                Fetched::New(head, _) if head.length > OBJECT_MAX => {
                    return Ok((Fetched::New(Head::too_large(site.generation, now), 0..0), Body::empty()));
                }
                Fetched::New(head, sent) => {
                    let expected = if head.is_chunked() {
                        sent.start..(sent.start + CHUNK).min(head.length)
                    } else {
                        0..head.length
                    };
                    let is_own_page = head.body.is_some();
                    if sent != expected && !is_own_page {
                        return Err(OriginError(
                            "the origin sent another range than it was asked for".into(),
                        ));
                    }
                    return Ok((Fetched::New(head, sent), response.into_body()));
                }
                unchanged @ Fetched::Unchanged { .. } => return Ok((unchanged, Body::empty())),
            }
        }
        Err(OriginError("the origin refuses every range of an object".into()))
    }

    async fn fetch(&self, site: &Site, ask: &Ask) -> Result<Response<Body>, OriginError> {
        let fetched = timeout(RESPONSE_WITHIN, self.origin.fetch(site, ask)).await;
        fetched.unwrap_or_else(|_| Err(OriginError("the origin does not respond".into())))
    }

    /// Returns a piece of a large object that is being fetched, and fetches it if nobody does.
    pub(super) fn fill_chunk(
        self: &Arc<Self>,
        site: &Arc<Site>,
        path: &Arc<str>,
        head: &Arc<Head>,
        number: u32,
    ) -> Arc<Growing> {
        let key = chunk_key(site, path, head, number);
        let mut chunks = locked(&self.fills.chunks);
        if let Some(growing) = chunks.get(&key).filter(|growing| !growing.has_failed()) {
            return Arc::clone(growing);
        }
        let growing = Growing::new();
        // A fill may have ended since the cache was read.
        if let Some(Value::Chunk(chunk)) = self.cache.in_memory(&key) {
            growing.complete(chunk);
            return growing;
        }
        chunks.insert(key.clone(), Arc::clone(&growing));
        let listed = ChunkListed(Arc::clone(self), key, Arc::clone(&growing));
        let (edge, site, path, head) =
            (Arc::clone(self), Arc::clone(site), Arc::clone(path), Arc::clone(head));
        tokio::spawn(async move {
            if let Err(error) = edge.fetch_chunk(&site, &path, &head, number, &listed.2).await {
                tracing::warn!(%error, site = %site.hash, "a piece of an object cannot be fetched");
            }
            drop(listed);
        });
        growing
    }

    async fn fetch_chunk(
        &self,
        site: &Site,
        path: &Arc<str>,
        head: &Head,
        number: u32,
        growing: &Growing,
    ) -> Result<(), OriginError> {
        let _turn = self.fills.turn(site.hash).await?;
        let start = u64::from(number) * CHUNK;
        let range = start..(start + CHUNK).min(head.length);
        let if_match = head.etag().map(str::to_owned);
        let ask = Ask { path: Arc::clone(path), range: Some(range.clone()), if_none_match: None, if_match };
        let response = self.fetch(site, &ask).await?;
        match Head::read(&response, head.stamp, head.fetched, start).map_err(OriginError)? {
            Fetched::New(now, sent)
                if response.status() == StatusCode::PARTIAL_CONTENT
                    && sent == range
                    && now.etag() == head.etag()
                    && now.length == head.length =>
            {
                let Some(last) = pump(response.into_body(), range.end - range.start, growing).await else {
                    return Err(OriginError("the origin broke off within a body".into()));
                };
                self.put_chunk(site, path, head, number, growing.joined(&last));
                growing.complete(last);
                Ok(())
            }
            _ => {
                // The object was replaced. The next request will find the new one.
                let key = Key { site: site.hash, path: Arc::clone(path), part: Part::Head };
                self.cache.remove(&key);
                Err(OriginError("the object was replaced".into()))
            }
        }
    }

    fn put_chunk(&self, site: &Site, path: &Arc<str>, head: &Head, number: u32, bytes: Bytes) {
        self.cache.put(chunk_key(site, path, head, number), Value::Chunk(bytes));
    }
}

/// Returns the cache key of a piece of this representation of an object.
pub(super) fn chunk_key(site: &Site, path: &Arc<str>, head: &Head, number: u32) -> Key {
    let tag = head.etag().unwrap_or_default().into();
    Key { site: site.hash, path: Arc::clone(path), part: Part::Chunk(number, tag) }
}

/// Passes a body on as it arrives, except its last piece, which is returned: no reader gets a whole body before it is complete
/// and cached. Returns `None` if the body is shorter or longer than announced.
async fn pump(mut body: Body, expected: u64, growing: &Growing) -> Option<Bytes> {
    let mut received = 0;
    let mut last = Bytes::new();
    loop {
        match timeout(PAUSE_MAX, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                let Ok(piece) = frame.into_data() else { continue };
                received += piece.len() as u64;
                if received > expected {
                    return None;
                }
                if !piece.is_empty() {
                    let before = std::mem::replace(&mut last, piece);
                    if !before.is_empty() {
                        growing.push(before);
                    }
                }
            }
            Ok(None) => return (received == expected).then_some(last),
            Ok(Some(Err(_))) | Err(_) => return None,
        }
    }
}
