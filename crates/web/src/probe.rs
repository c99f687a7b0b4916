//! A request body for tests that counts how much of it a handler reads.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use tokio::sync::Notify;

/// Counts what was read of a body.
#[derive(Clone, Debug, Default)]
pub struct Probe(Arc<Taken>);

#[derive(Debug, Default)]
struct Taken {
    bytes: AtomicUsize,
    is_stalled: AtomicBool,
    stalled: Notify,
}

impl Probe {
    /// Returns a body that repeats `piece` forever or, if `stalls`, sends it once and then nothing.
    pub fn body(&self, piece: impl Into<Bytes>, stalls: bool) -> Body {
        Body::new(Pieces { piece: piece.into(), stalls, taken: Arc::clone(&self.0) })
    }

    /// Returns the bytes read so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Relaxed)
    }

    /// Returns whether the handler waits for more of a stalled body.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.0.is_stalled.load(Relaxed)
    }

    /// Runs a request until it completes, or returns `None` once it waits for more of a stalled body.
    pub async fn watch<T>(&self, request: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            answer = request => Some(answer),
            () = self.0.stalled.notified() => None,
        }
    }
}

struct Pieces {
    piece: Bytes,
    stalls: bool,
    taken: Arc<Taken>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.stalls && self.taken.bytes.load(Relaxed) > 0 {
            self.taken.is_stalled.store(true, Relaxed);
            self.taken.stalled.notify_one();
            return Poll::Pending;
        }
        self.taken.bytes.fetch_add(self.piece.len(), Relaxed);
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }
}
