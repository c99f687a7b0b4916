//! Writes whose commit gets no response: whatever happened to them, no object loses its bytes.

use blobs::PACKED_BYTES_MAX;
use database::testing::{Cut, Proxy, TestLocation};

use crate::harness::{Cloud, cloud};

/// A statement in the transaction that stores an object.
const STORES: &str = "INSERT INTO objects";

fn large(of: &str) -> String {
    of.repeat(PACKED_BYTES_MAX / of.len() + 1)
}

impl Cloud {
    async fn reads(&self, path: &str) -> (u16, String) {
        let answer = self.owner("GET", path, &[]).await;
        (answer.status.as_u16(), answer.text().chars().take(40).collect())
    }

    /// Returns a container's counters and the sums over its listing.
    async fn counts(&self, container: &str) -> [(u64, u64); 2] {
        let head = self.owner("HEAD", container, &[]).await;
        let number = |name: &str| head.header(name).parse::<u64>().unwrap();
        let listed = self.owner("GET", &format!("{container}?format=json"), &[]).await;
        let listed: Vec<serde_json::Value> = serde_json::from_str(listed.text()).unwrap();
        let bytes = listed.iter().map(|entry| entry["bytes"].as_u64().unwrap()).sum();
        let counted = (number("x-container-object-count"), number("x-container-bytes-used"));
        [counted, (listed.len() as u64, bytes)]
    }
}

async fn cut_cloud() -> (TestLocation, Proxy, Cloud) {
    let scratch = TestLocation::postgres();
    let proxy = Proxy::before(&scratch.location).await;
    let cloud = cloud(&proxy.location).await;
    assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await.status, 201);
    (scratch, proxy, cloud)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_whose_commit_got_no_response_keeps_its_bytes() {
    let (_scratch, proxy, cloud) = cut_cloud().await;
    for (size, old, new) in [("large", large("old "), large("new ")), ("small", "old ".into(), "new ".into())]
    {
        for cut in [Cut::BeforeCommit, Cut::AfterCommit] {
            let path = &format!("/v1/AUTH_1/c/{size}-{cut:?}");
            let case = format!("{size}, {cut:?}");
            assert_eq!(cloud.put(path, &old).await.status, 201);
            // Overwrite an object.
            proxy.cut(cut, STORES);
            assert_eq!(cloud.put(path, &new).await.status, 503, "{case}");
            let expected = if cut == Cut::AfterCommit { &new } else { &old };
            assert_eq!(cloud.reads(path).await, (200, expected.chars().take(40).collect()), "{case}");
            // Copy onto another object.
            let copy = &format!("{path}-copy");
            proxy.cut(cut, STORES);
            let destination = copy.trim_start_matches("/v1/AUTH_1/");
            let copied = cloud.owner("COPY", path, &[("destination", destination)]).await;
            assert_eq!(copied.status, 503, "{case}");
            let expected = if cut == Cut::AfterCommit {
                (200, expected.chars().take(40).collect())
            } else {
                (404, cloud.reads(copy).await.1)
            };
            assert_eq!(cloud.reads(copy).await, expected, "{case}");
            let [counted, listed] = cloud.counts("/v1/AUTH_1/c").await;
            assert_eq!(counted, listed, "{case}");
        }
    }
    assert_eq!(proxy.cuts(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_do_not_notice_a_connection_lost_before_the_commit() {
    let (_scratch, proxy, cloud) = cut_cloud().await;
    proxy.cut(Cut::Statement, STORES);
    assert_eq!(cloud.put("/v1/AUTH_1/c/o", "content").await.status, 201);
    assert_eq!((cloud.reads("/v1/AUTH_1/c/o").await, proxy.cuts()), ((200, "content".into()), 1));
}
