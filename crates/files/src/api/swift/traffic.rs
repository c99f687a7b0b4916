//! Counts the bytes of requests and responses for the meter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use meter::{Measure, Meter};
use web::Response;
use web::observed::{ByteObserver, observed};

use super::fault::Fault;

/// Wraps a request's body and counts the bytes read.
pub(super) fn counting(inner: Body) -> (Body, Arc<AtomicU64>) {
    let received = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&received);
    (observed(inner, Received(counted)), received)
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
        response.map(|inner| observed(inner, Sent { meter, tenant, bytes: 0 }))
    })
}

struct Received(Arc<AtomicU64>);

impl ByteObserver for Received {
    fn on_bytes(&mut self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

struct Sent {
    meter: Meter,
    tenant: String,
    bytes: u64,
}

impl ByteObserver for Sent {
    fn on_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.meter.count(&self.tenant, Measure::FilesBytesOut, self.bytes);
    }
}
