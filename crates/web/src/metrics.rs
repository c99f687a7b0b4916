//! Metrics in Prometheus' text format.

use std::time::Duration;

/// Renders the metrics.
pub use metrics_exporter_prometheus::PrometheusHandle as Handle;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

/// Installs the process's recorder and returns the handle that renders it.
///
/// # Panics
/// If called twice in one process.
#[must_use]
pub fn install() -> Handle {
    let buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &buckets)
        .and_then(PrometheusBuilder::install_recorder)
        .expect("one recorder a process")
}

/// Interval at which samples are merged into their buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Merges samples into their buckets periodically, forever. Without this each sample stays in memory until somebody reads
/// the metrics.
pub async fn upkeep_loop(metrics: Handle) {
    loop {
        tokio::time::sleep(UPKEEP_INTERVAL).await;
        metrics.run_upkeep();
    }
}

/// Counts one request that got its response.
pub(crate) fn request(
    service: &'static str,
    method: &http::Method,
    status: http::StatusCode,
    took: Duration,
) {
    let method = method_label(method);
    let class = class_label(status);
    metrics::counter!("nephos_requests_total", "service" => service, "method" => method, "status" => class)
        .increment(1);
    metrics::histogram!("nephos_request_seconds", "service" => service).record(took.as_secs_f64());
}

/// Counts an occasion when no connection could be accepted.
pub(crate) fn shortage() {
    metrics::counter!("nephos_connection_shortages_total").increment(1);
}

/// Counts a search for connections to close because all together hold too much memory.
pub(crate) fn memory_shortage() {
    metrics::counter!("nephos_connection_memory_shortages_total").increment(1);
}

/// Returns the method's label. Only standard methods become labels, so that clients cannot create time series.
fn method_label(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "COPY" => "COPY",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        _ => "other",
    }
}

fn class_label(status: http::StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
