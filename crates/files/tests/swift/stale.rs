//! Uploads in progress while their container changes: the container's state at their end is what counts.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use database::on_each_engine;
use futures_util::stream;
use tokio::sync::mpsc;

use crate::harness::{Answer, Cloud, cloud};

impl Cloud {
    /// Uploads as `token`, and performs an action after the first bytes of the upload were read.
    async fn put_while(
        &self,
        token: &str,
        path: &str,
        headers: &[(&str, &str)],
        meanwhile: impl AsyncFnOnce(),
    ) -> Answer {
        let (sender, receiver) = mpsc::channel::<Bytes>(1);
        let pieces = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (Ok::<_, std::io::Error>(piece), receiver))
        });
        let all = [headers, &[("transfer-encoding", "chunked")]].concat();
        let upload = self.call(token, "PUT", path, &all, Body::from_stream(pieces));
        let feed = async move {
            sender.send(Bytes::from_static(b"first ")).await.unwrap();
            // This send completes once the first piece was read, and the next one once this was read.
            sender.send(Bytes::from_static(b"second ")).await.unwrap();
            let room = sender.reserve().await.unwrap();
            meanwhile().await;
            room.send(Bytes::from_static(b"third"));
        };
        tokio::join!(upload, feed).0
    }

    async fn change(&self, headers: &[(&str, &str)]) {
        let changed = self.owner("POST", "/v1/AUTH_1/c", headers).await;
        assert_eq!(changed.status, 204, "{headers:?}");
    }

    async fn objects(&self) -> String {
        self.owner("GET", "/v1/AUTH_1/c", &[]).await.text().to_owned()
    }
}

on_each_engine! {
    async fn versioning_enabled_during_an_upload_applies(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        assert_eq!(cloud.put("/v1/AUTH_1/c/o", "old").await.status, 201);
        let put = cloud.put_while("owner", "/v1/AUTH_1/c/o", &[], async || {
            cloud.change(&[("x-versions-enabled", "true")]).await;
        });
        assert_eq!(put.await.status, 201);
        let versions = cloud.owner("GET", "/v1/AUTH_1/c?versions&format=json", &[]).await;
        let versions: Vec<serde_json::Value> = serde_json::from_str(versions.text()).unwrap();
        let sizes: Vec<_> = versions.iter().map(|version| version["bytes"].as_u64().unwrap()).collect();
        assert_eq!(sizes, [18, 3], "{versions:?}");
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/o", &[]).await.text(), "first second third");
    }
}

on_each_engine! {
    async fn a_quota_set_during_an_upload_applies(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        for quota in [("x-container-meta-quota-bytes", "17"), ("x-container-meta-quota-count", "0")] {
            let put = cloud.put_while("owner", "/v1/AUTH_1/c/o", &[], async || cloud.change(&[quota]).await);
            assert_eq!(put.await.status, 413, "{quota:?}");
            cloud.change(&[(quota.0, "")]).await;
        }
        assert_eq!(cloud.objects().await, "");
        // Two uploads that fit singly do not fit together.
        cloud.change(&[("x-container-meta-quota-bytes", "18")]).await;
        let put = cloud.put_while("owner", "/v1/AUTH_1/c/o", &[], async || {
            assert_eq!(cloud.put("/v1/AUTH_1/c/other", "x").await.status, 201);
        });
        assert_eq!(put.await.status, 413);
        assert_eq!(cloud.objects().await, "other\n");
    }
}

on_each_engine! {
    async fn an_acl_revoked_during_an_upload_applies(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-container-write", "2")]).await;
        let put = cloud.put_while("stranger", "/v1/AUTH_1/c/o", &[], async || {});
        assert_eq!(put.await.status, 201);
        let put = cloud.put_while("stranger", "/v1/AUTH_1/c/o2", &[], async || {
            cloud.change(&[("x-container-write", "")]).await;
        });
        assert_eq!(put.await.status, 403);
        assert_eq!(cloud.objects().await, "o\n");
    }
}

on_each_engine! {
    async fn an_object_stored_during_an_upload_is_not_set_to_expire_without_the_right_to_delete(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let ends = [("x-delete-after", "60")];
        let put = cloud.put_while("creator", "/v1/AUTH_1/c/o", &ends, async || {
            assert_eq!(cloud.put("/v1/AUTH_1/c/o", "to stay").await.status, 201);
        });
        assert_eq!(put.await.status, 403);
        let kept = cloud.owner("GET", "/v1/AUTH_1/c/o", &[]).await;
        assert_eq!((kept.text(), kept.header("x-delete-at")), ("to stay", ""));
        let put = cloud.put_while("creator", "/v1/AUTH_1/c/new", &ends, async || {});
        assert_eq!(put.await.status, 201);
    }
}

on_each_engine! {
    async fn a_container_recreated_during_an_upload_is_another_one(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let put = cloud.put_while("owner", "/v1/AUTH_1/c/o", &[], async || {
            assert_eq!(cloud.owner("DELETE", "/v1/AUTH_1/c", &[]).await.status, 204);
            cloud.clock.advance(Duration::from_secs(1));
            assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await.status, 201);
        });
        assert_eq!(put.await.status, 404);
        assert_eq!(cloud.objects().await, "");
    }
}

on_each_engine! {
    async fn a_token_revoked_during_a_long_upload_is_rejected(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let put = cloud.put_while("creator", "/v1/AUTH_1/c/o", &[], async || {
            cloud.clock.advance(Duration::from_secs(3600));
        });
        assert_eq!(put.await.status, 201);
        let put = cloud.put_while("creator", "/v1/AUTH_1/c/o2", &[], async || {
            cloud.clock.advance(Duration::from_secs(3600));
            cloud.revoke("creator");
        });
        assert_eq!(put.await.status, 401);
        assert_eq!(cloud.objects().await, "o\n");
    }
}
