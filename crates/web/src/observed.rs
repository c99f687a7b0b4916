//! Bodies whose bytes are counted while they are read.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};

/// Observer of a body's bytes. Dropped after the last byte was read or the reader went away.
pub trait ByteObserver: Send + Unpin + 'static {
    /// Called with the number of bytes that were read.
    fn on_bytes(&mut self, bytes: u64);
}

/// Wraps a body such that `observer` sees its bytes.
pub fn observed(inner: Body, observer: impl ByteObserver) -> Body {
    Body::new(Observed { inner, observer })
}

struct Observed<O> {
    inner: Body,
    observer: O,
}

impl<O: ByteObserver> http_body::Body for Observed<O> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let poll = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &poll {
            self.observer.on_bytes(frame.data_ref().map_or(0, Buf::remaining) as u64);
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
