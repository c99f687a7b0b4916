//! Bodies of unauthorised requests are not read.

use http::Request;
use web::probe::Probe;

use crate::bed::{TENANT, TestBed};

const PIECE: usize = 16 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_route_reads_the_body_of_an_unauthorised_request() {
    let bed = TestBed::hostless().await;
    let mut rejected = 0;
    for entry in compute::api::v1::routes().entries() {
        let path = entry.path.replace("{tenant}", TENANT).replace("{id}", "1").replace(['{', '}'], "");
        for token in ["", "unknown"] {
            for content_type in ["application/json", "application/xml"] {
                for (coding, stalls) in [("identity", false), ("gzip", false), ("gzip", true)] {
                    let probe = Probe::default();
                    let request = Request::builder().method(entry.method.clone()).uri(&path);
                    let request =
                        request.header("content-type", content_type).header("content-encoding", coding);
                    let request = request.header("x-auth-token", token);
                    let body = probe.body(vec![b'{'; PIECE], stalls);
                    let answer = probe.watch(bed.send(request.body(body).unwrap())).await;
                    let status = answer.map(|answer| answer.status);
                    let what = format!("{} {path} as {token:?}: {status:?}", entry.method);
                    assert_eq!(probe.bytes(), 0, "{what}");
                    rejected += usize::from(status.is_some_and(|status| status == 401));
                }
            }
        }
    }
    assert!(rejected > 200, "only {rejected} requests were rejected");
}
