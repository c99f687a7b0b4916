//! Counts the bytes of requests and responses for the meter.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use meter::{Measure, Meter};
use web::Response;

use super::fault::Fault;

/// Wraps a request's body and counts the bytes read.
pub(super) fn counting(inner: Body) -> (Body, Arc<AtomicU64>) {
    let received = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&received);
    (reporting(inner, Received(counted)), received)
}

/// Counts a finished request at once, and its response's bytes once they were sent.
pub(super) fn meter(
    meter: Meter,
    tenant: String,
    received: Arc<AtomicU64>,
    costs: bool,
    outcome: Result<Response, Fault>,
) -> Result<Response, Fault> {
    let succeeded = outcome.as_ref().is_ok_and(|response| response.status().is_success());
    let measure =
        if costs && succeeded { Measure::FilesCostOperations } else { Measure::FilesFreeOperations };
    meter.count(&tenant, measure, 1);
    meter.count(&tenant, Measure::FilesBytesIn, received.load(Ordering::Relaxed));
    outcome.map(|response| {
        if http_body::Body::is_end_stream(response.body()) {
            return response;
        }
        response.map(|inner| reporting(inner, Sent { meter, tenant, bytes: 0 }))
    })
}

/// Observer of a body's bytes. Dropped after the last byte was sent or the reader went away.
pub(super) trait Report: Send + Unpin + 'static {
    /// Called with the number of bytes that were sent.
    fn conveyed(&mut self, bytes: u64);
}

/// Wraps a body such that `report` observes its bytes.
pub(super) fn reporting(inner: Body, report: impl Report) -> Body {
    Body::new(Reporting { inner, report })
}

struct Received(Arc<AtomicU64>);

impl Report for Received {
    fn conveyed(&mut self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

struct Sent {
    meter: Meter,
    tenant: String,
    bytes: u64,
}

impl Report for Sent {
    fn conveyed(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.meter.count(&self.tenant, Measure::FilesBytesOut, self.bytes);
    }
}

struct Reporting<R> {
    inner: Body,
    report: R,
}

impl<R: Report> http_body::Body for Reporting<R> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let poll = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &poll {
            self.report.conveyed(frame.data_ref().map_or(0, Buf::remaining) as u64);
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
