//! Answers that are given before their request's body was read. The sender may still be sending: if the connection were
//! simply closed, the answer could be lost to a reset (RFC 9112, 9.6).

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderMap, HeaderValue, Version};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::counted::Busy;

/// The rest of a body may be this long, in bytes, for a connection to be kept by reading it.
const REST_BYTES_MAX: u64 = 64 * 1024;
/// The rest of such a body is waited for as long as this.
const REST_WITHIN: Duration = Duration::from_millis(100);
/// Bytes that are read and dropped after an answer at most.
pub(crate) const DRAIN_BYTES_MAX: u64 = 256 << 20;
/// A sender has this long after an answer to notice it.
pub(crate) const DRAIN_WITHIN: Duration = Duration::from_secs(30);
/// A sender who sends nothing for this long after an answer is done with.
pub(crate) const DRAIN_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Where a request's body is put if its handler drops it unread.
#[derive(Default)]
pub(crate) struct Rest(Arc<Mutex<Option<Incoming>>>);

/// What the answer's sender must know of its request.
pub(crate) struct Asked {
    version: Version,
    /// The sender waits for `100 Continue` before it sends the body.
    waits: bool,
}

impl Asked {
    pub(crate) fn of<B>(request: &http::Request<B>) -> Self {
        let expected = request.headers().get(EXPECT);
        let waits = expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self { version: request.version(), waits }
    }
}

impl Rest {
    /// The body as its handler gets it.
    pub(crate) fn watch(&self, incoming: Incoming, busy: Arc<Busy>) -> Body {
        Body::new(Watched { incoming: Some(incoming), rest: Arc::clone(&self.0), busy })
    }

    /// Sees to it that the sender learns the answer to come, whose headers these are, though its body was not read.
    pub(crate) async fn settle(self, asked: &Asked, headers: &mut HeaderMap) {
        let Some(mut rest) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if asked.version >= Version::HTTP_2 {
            // Dropped at once, it would be reset before the sender has read the answer.
            tokio::spawn(async move {
                let _ = tokio::time::timeout(DRAIN_WITHIN, drain(&mut rest, DRAIN_BYTES_MAX)).await;
            });
            return;
        }
        let is_short = http_body::Body::size_hint(&rest).upper().is_none_or(|rest| rest <= REST_BYTES_MAX);
        // Reading would tell a sender that waits to go on.
        if is_short && !asked.waits {
            let drained = tokio::time::timeout(REST_WITHIN, drain(&mut rest, REST_BYTES_MAX)).await;
            if drained == Ok(true) {
                return;
            }
        }
        // The stream is closed in stages (`linger`).
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Reads and drops a body up to `limit` bytes; whether it ended within.
async fn drain(body: &mut Incoming, limit: u64) -> bool {
    let mut left = limit;
    loop {
        let Ok(frame) = tokio::time::timeout(DRAIN_PAUSE_MAX, body.frame()).await else { return false };
        match frame {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(rest) = left.checked_sub(length) else { return false };
                left = rest;
            }
        }
    }
}

struct Watched {
    incoming: Option<Incoming>,
    rest: Arc<Mutex<Option<Incoming>>>,
    busy: Arc<Busy>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(incoming).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => self.busy.read(frame.data_ref().map_or(0, Bytes::len)),
            _ => self.incoming = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(incoming) =
            self.incoming.take().filter(|incoming| !http_body::Body::is_end_stream(incoming))
        {
            *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(incoming);
        }
    }
}
