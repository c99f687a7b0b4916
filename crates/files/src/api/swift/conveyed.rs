//! Bytes that went in and out, counted for the meter.

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

/// A request's body that counts what is read of it.
pub(super) fn counting(inner: Body) -> (Body, Arc<AtomicU64>) {
    let received = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&received);
    (Body::new(Counted { inner, report: Report::Received(counted), bytes: 0 }), received)
}

/// Counts a finished request, and its answer's bytes once they have gone.
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
        response.map(|inner| Body::new(Counted { inner, report: Report::Sent(meter, tenant), bytes: 0 }))
    })
}

enum Report {
    Received(Arc<AtomicU64>),
    Sent(Meter, String),
}

struct Counted {
    inner: Body,
    report: Report,
    bytes: u64,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let poll = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &poll {
            let bytes = frame.data_ref().map_or(0, Buf::remaining) as u64;
            self.bytes += bytes;
            if let Report::Received(received) = &self.report {
                received.fetch_add(bytes, Ordering::Relaxed);
            }
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

impl Drop for Counted {
    fn drop(&mut self) {
        if let Report::Sent(meter, tenant) = &self.report {
            meter.count(tenant, Measure::FilesBytesOut, self.bytes);
        }
    }
}
