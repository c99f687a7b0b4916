//! Accounts for the memory that a connection holds and for the time that its client leaves responses unread.
//!
//! Bytes of responses count from when the listener passes them to hyper until hyper frees them, which is once the kernel
//! has accepted them or the client's flow-control window has admitted them. Bytes of request bodies count from receipt
//! until their handler has read them, and heads until their request ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

use crate::connections::Slot;

/// Time for a client to read a piece of a response; a second more per [`SLOWEST_BYTES`] of it.
pub(crate) const READ_WITHIN: Duration = Duration::from_secs(120);
/// Bytes for which a reader gets one second more than [`READ_WITHIN`].
const SLOWEST_BYTES: u64 = 4096;
/// Maximum of bytes counted as unread on one connection; hyper buffers no more. Frames other than DATA count too, until
/// the connection has no request.
const UNREAD_MAX: u64 = 1 << 20;
/// A connection with fewer unread bytes is read even when memory is short.
const UNREAD_FREE: u64 = 64 << 10;
/// Interval of retries while waiting for memory.
pub(crate) const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

impl Slot {
    fn add(&self, bytes: u64) {
        self.load().bytes.fetch_add(bytes, Relaxed);
        self.connections().memory.fetch_add(bytes, Relaxed);
    }

    fn remove(&self, bytes: u64) {
        self.load().bytes.fetch_sub(bytes, Relaxed);
        self.connections().memory.fetch_sub(bytes, Relaxed);
    }

    /// Records received bytes.
    pub(crate) fn received(&self, bytes: usize) {
        let mut counted = 0;
        let _ = self.load().unread.fetch_update(Relaxed, Relaxed, |unread| {
            counted = (bytes as u64).min(UNREAD_MAX.saturating_sub(unread));
            Some(unread + counted)
        });
        self.add(counted);
    }

    /// Records bytes of a body that its handler has read.
    fn read(&self, bytes: u64) {
        let mut counted = 0;
        let _ = self.load().unread.fetch_update(Relaxed, Relaxed, |unread| {
            counted = bytes.min(unread);
            Some(unread - counted)
        });
        self.remove(counted);
    }

    /// Records that no request is in progress, so that no received byte counts as unread.
    pub(crate) fn all_read(&self) {
        self.remove(self.load().unread.swap(0, Relaxed));
    }

    /// Returns whether reading from the connection must pause.
    pub(crate) fn is_full(&self) -> bool {
        self.load().unread.load(Relaxed) >= UNREAD_FREE && self.connections().is_short()
    }

    /// Starts the time limit for the client to read something of `bytes` bytes.
    fn offer(&self, bytes: u64, within: Duration) -> Offer {
        let now = self.connections().now();
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let until = now.saturating_add(within).saturating_add(bytes.saturating_mul(1000) / SLOWEST_BYTES);
        let mut waits = self.load().waits();
        let id = waits.next;
        waits.next += 1;
        waits.for_client.insert(id, (now, until));
        Offer { slot: self.clone(), id }
    }
}

/// Something that the client is to read; its time limit ends when this is dropped.
struct Offer {
    slot: Slot,
    id: u64,
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.slot.load().waits().for_client.remove(&self.id);
    }
}

/// A request in progress.
pub(crate) struct ActiveRequest {
    slot: Slot,
    /// No other request was in progress on the connection when it began.
    is_first: bool,
    /// It was admitted beside another one.
    has_room: AtomicBool,
    /// Whether its sender is authenticated.
    is_authenticated: AtomicBool,
    head: AtomicUsize,
}

tokio::task_local! {
    static REQUEST: Arc<ActiveRequest>;
}

/// Records that the sender of the request handled by the current task is authenticated. Connections with such requests are
/// not closed to make room for others. Has no effect outside a request's task.
pub fn mark_authenticated() {
    let _ = REQUEST.try_with(|busy| busy.known());
}

/// What a request in progress takes beside its head and its response, roughly.
const REQUEST_BYTES: usize = 16 << 10;

impl ActiveRequest {
    /// Registers a request on this connection. It is in progress until the return value is dropped.
    pub(crate) fn begin(slot: &Slot) -> Arc<Self> {
        let is_first = slot.began();
        slot.add(REQUEST_BYTES as u64);
        let (is_authenticated, head) = (AtomicBool::new(false), AtomicUsize::new(REQUEST_BYTES));
        Arc::new(Self {
            slot: slot.clone(),
            is_first,
            has_room: AtomicBool::new(false),
            is_authenticated,
            head,
        })
    }

    /// Runs the request's handler, once there is room for it, such that [`mark_authenticated`] refers to this request.
    pub(crate) async fn handle<T>(self: &Arc<Self>, handler: impl Future<Output = T>) -> T {
        if !self.is_first {
            self.slot.take_room().await;
            self.has_room.store(true, Relaxed);
        }
        REQUEST.scope(Arc::clone(self), handler).await
    }

    fn known(&self) {
        if !self.is_authenticated.swap(true, Relaxed) {
            self.slot.known(true);
        }
    }

    /// Counts the request's head, of `bytes` bytes.
    pub(crate) fn head(&self, bytes: usize) {
        self.head.fetch_add(bytes, Relaxed);
        self.slot.add(bytes as u64);
    }

    /// Records bytes of the request's body that were read.
    pub(crate) fn read(&self, bytes: usize) {
        self.slot.read(bytes as u64);
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.slot.remove(self.head.load(Relaxed) as u64);
        if self.is_authenticated.load(Relaxed) {
            self.slot.known(false);
        }
        if self.has_room.load(Relaxed) {
            self.slot.give_room_back();
        }
        self.slot.ended();
    }
}

/// Bytes of a response that hyper holds. The request stays in progress until they are freed.
struct Piece {
    bytes: Bytes,
    busy: Arc<ActiveRequest>,
    _offer: Offer,
}

impl Piece {
    fn wrap(bytes: Bytes, busy: &Arc<ActiveRequest>) -> Bytes {
        let length = bytes.len() as u64;
        busy.slot.add(length);
        busy.slot.load().answers.fetch_add(length, Relaxed);
        let offer = busy.slot.offer(length, READ_WITHIN);
        Bytes::from_owner(Self { bytes, busy: Arc::clone(busy), _offer: offer })
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let slot = &self.busy.slot;
        slot.load().answers.fetch_sub(self.bytes.len() as u64, Relaxed);
        slot.remove(self.bytes.len() as u64);
        let waiting = std::mem::take(&mut slot.load().waits().for_room);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// A response's body. Its next piece is produced only while this connection and all connections together are below their
/// memory limits.
pub(crate) struct MeteredBody {
    body: Body,
    busy: Arc<ActiveRequest>,
    /// The time limit for the client to make room for the next piece.
    offer: Option<Offer>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl MeteredBody {
    pub(crate) fn new(body: Body, busy: Arc<ActiveRequest>) -> Self {
        let offer = (!http_body::Body::is_end_stream(&body)).then(|| busy.slot.offer(0, READ_WITHIN));
        Self { body, busy, offer, pause: None }
    }

    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let slot = &self.busy.slot;
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            if slot.connections().is_short() {
                self.pause = Some(Box::pin(tokio::time::sleep(SHORTAGE_PAUSE)));
                continue;
            }
            let has_room = || slot.load().answers.load(Relaxed) < slot.bytes_max();
            if has_room() {
                return Poll::Ready(());
            }
            slot.load().waits().for_room.push(context.waker().clone());
            // Memory that was freed before the waker was registered woke nobody, so check again.
            return if has_room() { Poll::Ready(()) } else { Poll::Pending };
        }
    }
}

impl http_body::Body for MeteredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        this.offer = None;
        ready!(this.poll_room(context));
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
        let mut length = 0;
        let frame = frame.map_data(|bytes| {
            length = bytes.len();
            if bytes.is_empty() { bytes } else { Piece::wrap(bytes, &this.busy) }
        });
        if !this.body.is_end_stream() {
            this.offer = Some(this.busy.slot.offer(length as u64, READ_WITHIN * 2));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
