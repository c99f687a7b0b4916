//! No body is read before the caller is authorised, and no body is read beyond its limit.

use axum::body::Body;
use http::Request;
use tower::ServiceExt;
use web::listener::Peer;
use web::probe::Probe;

use crate::cloud::Cloud;

const PIECE: usize = 16 << 10;
/// Maximum body size on routes without a token.
const BODY_MAX: usize = 64 << 10;

#[tokio::test]
async fn no_route_reads_more_of_a_body_than_it_may() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let (mut walled, mut open) = (0, 0);
    for route in identity::routes() {
        let path = route.path.replace(['{', '}'], "");
        for (content_type, start) in
            [("application/json", "{\"auth\": \""), ("application/xml", "<auth>"), ("text/plain", "x")]
        {
            for stalls in [false, true] {
                let probe = Probe::default();
                let request = Request::builder().method(route.method.clone()).uri(&path);
                let request = request.header("content-type", content_type);
                let body: Body = probe.body(format!("{start}{}", "x".repeat(PIECE - start.len())), stalls);
                let mut request = request.body(body).unwrap();
                request.extensions_mut().insert(Peer("192.0.2.1:4711".parse().unwrap()));
                let answer = probe.watch(cloud.router.clone().oneshot(request)).await;
                let status = answer.map(|answer| answer.unwrap().status().as_u16());
                let what = format!("{} {path} {content_type}, stalled {stalls}: {status:?}", route.method);
                if status == Some(401) {
                    assert_eq!(probe.bytes(), 0, "{what}");
                    walled += 1;
                } else {
                    assert!(probe.bytes() <= BODY_MAX + PIECE, "{} bytes: {what}", probe.bytes());
                    open += usize::from(probe.bytes() > 0);
                }
            }
        }
    }
    assert!(walled > 500 && open > 20, "{walled} refused, {open} read");
}
