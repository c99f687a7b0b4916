//! Responses that are sent before their request's body was read. The sender may still be sending: closing the connection at
//! once would reset it, and the sender could lose the response (RFC 9112, 9.6).

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

use crate::counted::ActiveRequest;

/// Longest unread rest of a body that is read to keep the connection, in bytes.
const REST_BYTES_MAX: u64 = 64 * 1024;
/// Time limit for reading that rest.
const REST_WITHIN: Duration = Duration::from_millis(100);
/// Most bytes read and dropped after a response.
pub(crate) const DRAIN_BYTES_MAX: u64 = 256 << 20;
/// Time for a sender to notice the response.
pub(crate) const DRAIN_WITHIN: Duration = Duration::from_secs(30);
/// The connection is closed once a sender has sent nothing for this long after the response.
pub(crate) const DRAIN_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Receives a request's body if its handler drops it unread.
#[derive(Default)]
pub(crate) struct Rest(Arc<Mutex<Option<Incoming>>>);

/// What sending the response requires to know of its request.
pub(crate) struct Asked {
    version: Version,
    /// Whether the sender waits for `100 Continue` before sending the body.
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
    /// Returns the body to pass to the handler.
    pub(crate) fn watch(&self, incoming: Incoming, busy: Arc<ActiveRequest>) -> Body {
        Body::new(Watched { incoming: Some(incoming), rest: Arc::clone(&self.0), busy })
    }

    /// Makes sure that the sender gets the response with these headers although its body was not read.
    pub(crate) async fn settle(self, asked: &Asked, headers: &mut HeaderMap) {
        let Some(mut rest) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if asked.version >= Version::HTTP_2 {
            // Dropping the body at once would reset the stream before the sender has read the response.
            tokio::spawn(async move {
                let _ = tokio::time::timeout(DRAIN_WITHIN, drain(&mut rest, DRAIN_BYTES_MAX)).await;
            });
            return;
        }
        let is_short = http_body::Body::size_hint(&rest).upper().is_none_or(|rest| rest <= REST_BYTES_MAX);
        // Do not read if the sender waits: reading makes hyper send 100 Continue.
        if is_short && !asked.waits {
            let drained = tokio::time::timeout(REST_WITHIN, drain(&mut rest, REST_BYTES_MAX)).await;
            if drained == Ok(true) {
                return;
            }
        }
        // `linger` closes the connection in stages.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Reads and drops up to `limit` bytes of a body; returns whether it ended within them.
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
    busy: Arc<ActiveRequest>,
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
