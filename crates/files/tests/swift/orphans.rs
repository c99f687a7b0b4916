//! Bytes are stored once, however many names refer to them, and are removed with the last name.

use std::path::Path;
use std::time::Duration;

use blobs::PACKED_BYTES_MAX;
use database::on_each_engine;

use crate::harness::{Cloud, cloud};

/// Counts the single-blob files below a directory.
fn singles(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => singles(&entry.path()),
            Ok(_) => 1,
            // It was removed during the scan.
            Err(_) => 0,
        })
        .sum()
}

impl Cloud {
    /// Waits until that many single-blob files exist.
    async fn holds(&self, count: usize, when: &str) {
        let dir = self.dir.path().join("policy-0/single");
        let wait = async {
            while singles(&dir) != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
        assert!(waited.is_ok(), "{when}: {} blobs instead of {count}", singles(&dir));
    }

    async fn copy(&self, from: &str, to: &str) {
        let answer = self.owner("COPY", from, &[("destination", to)]).await;
        assert_eq!(answer.status, 201, "{from} to {to}: {}", answer.text());
    }
}

fn large(of: &str) -> String {
    of.repeat(PACKED_BYTES_MAX / of.len() + 1)
}

on_each_engine! {
    async fn bytes_are_removed_with_their_last_name(location: &Location) {
        let cloud = cloud(location).await;
        for container in ["c", "s", "v"] {
            cloud.owner("PUT", &format!("/v1/AUTH_1/{container}"), &[]).await;
        }
        cloud.owner("POST", "/v1/AUTH_1/v", &[("x-versions-enabled", "true")]).await;
        for (name, of) in [("1", "one"), ("2", "two")] {
            assert_eq!(cloud.put(&format!("/v1/AUTH_1/s/{name}"), &large(of)).await.status, 201);
        }
        cloud.copy("/v1/AUTH_1/s/1", "s/copy").await;
        cloud.copy("/v1/AUTH_1/s/2", "v/o").await;
        cloud.holds(2, "copies share bytes").await;

        assert_eq!(cloud.put("/v1/AUTH_1/v/o", &large("three")).await.status, 201);
        cloud.holds(3, "a version keeps its bytes").await;

        let manifest = r#"[{"path": "/s/1"}, {"path": "/s/2"}, {"path": "/s/copy"}]"#;
        let put = "/v1/AUTH_1/c/big?multipart-manifest=put";
        for sent in [manifest, r#"[{"path": "/s/1"}]"#, manifest] {
            assert_eq!(cloud.send("PUT", put, &[], sent).await.status, 201);
        }
        cloud.copy("/v1/AUTH_1/c/big?multipart-manifest=get", "c/twin").await;
        cloud.holds(3, "a manifest, overwritten and copied, has no bytes of its own").await;

        let deleted = cloud.owner("DELETE", "/v1/AUTH_1/c/big?multipart-manifest=delete", &[]).await;
        assert_eq!(deleted.text().lines().next(), Some("Number Deleted: 4"));
        cloud.holds(2, "the first segment had two names, the second has a version").await;

        assert_eq!(cloud.put("/v1/AUTH_1/s/1", &large("four")).await.status, 201);
        assert_eq!(cloud.put("/v1/AUTH_1/s/1", &large("five")).await.status, 201);
        cloud.holds(3, "overwritten bytes are removed").await;
        let wrong = cloud.send("PUT", "/v1/AUTH_1/s/2", &[("etag", "x")], &large("six")).await;
        assert_eq!(wrong.status, 422);
        cloud.holds(3, "a rejected upload leaves nothing").await;

        let versions = cloud.owner("GET", "/v1/AUTH_1/v?versions&format=json", &[]).await;
        let versions: Vec<serde_json::Value> = serde_json::from_str(versions.text()).unwrap();
        assert_eq!(versions.len(), 2);
        for version in versions {
            let path = format!("/v1/AUTH_1/v/o?version-id={}", version["version_id"].as_str().unwrap());
            assert_eq!(cloud.owner("DELETE", &path, &[]).await.status, 204);
        }
        assert_eq!(cloud.owner("DELETE", "/v1/AUTH_1/s/1", &[]).await.status, 204);
        cloud.holds(0, "nothing is referred to").await;
    }
}
