//! A user with the role `creator` can create and change things and cannot delete anything by any route.

use std::time::Duration;

use axum::body::Body;
use database::on_each_engine;

use crate::harness::{Cloud, cloud};

const C: &str = "/v1/AUTH_1/c";

async fn creator(cloud: &Cloud, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
    let length = body.len().to_string();
    let all = [headers, &[("content-length", length.as_str())]].concat();
    cloud.call("creator", method, path, &all, Body::from(body.to_owned())).await.status.as_u16()
}

/// Builds an archive with one file of that name.
fn archive(name: &str) -> String {
    let mut header = [0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(b"00000000003");
    header[136..147].copy_from_slice(b"00000000000");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(b"new");
    archive.resize(2048, 0);
    String::from_utf8(archive).unwrap()
}

on_each_engine! {
    async fn a_caller_who_may_not_delete_cannot_grant_deletion(location: &Location) {
        let cloud = cloud(location).await;
        let put = async |path: &str, headers: &[(&str, &str)]| {
            assert!(cloud.owner("PUT", path, headers).await.status.is_success(), "{path}");
        };
        put(C, &[("x-container-read", "tenant1:someone"), ("x-container-meta-temp-url-key", "secret")]).await;
        put("/v1/AUTH_1/versioned", &[("x-versions-enabled", "true")]).await;
        cloud.put(&format!("{C}/o"), "old").await;
        cloud.put(&format!("{C}/segment"), "segment").await;
        cloud.put("/v1/AUTH_1/versioned/o", "first").await;
        let version = cloud.put("/v1/AUTH_1/versioned/o", "second").await;
        let version = version.header("x-object-version-id").to_owned();
        let manifest = r#"[{"path": "c/segment"}]"#;
        cloud.send("PUT", &format!("{C}/slo?multipart-manifest=put"), &[], manifest).await;
        let object = format!("{C}/o");

        // Direct deletion.
        for path in [
            object.clone(),
            format!("{C}/slo?multipart-manifest=delete"),
            format!("{C}/slo?multipart-manifest=delete&async=1"),
            format!("/v1/AUTH_1/versioned/o?version-id={version}"),
            "/v1/AUTH_1/versioned/o".to_owned(),
            C.to_owned(),
            "/v1/AUTH_1".to_owned(),
        ] {
            let answer = cloud.call("creator", "DELETE", &path, &[], Body::empty()).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(answer.status == 403 || text.contains("403 Forbidden"), "{path}: {} {text}", answer.status);
        }
        for (method, path) in [("POST", "/v1/AUTH_1?bulk-delete"), ("DELETE", "/v1/AUTH_1?bulk-delete")] {
            let headers = [("content-type", "text/plain"), ("accept", "application/json")];
            let length = [("content-length", "5")];
            let answer = cloud.call("creator", method, path, &[&headers[..], &length].concat(), "/c/o\n").await;
            assert!(answer.status == 403 || answer.text().contains("403 Forbidden"), "{}", answer.text());
        }
        // Settings that would let this or another user delete.
        for header in [
            "x-container-write",
            "x-container-read",
            "x-remove-container-read",
            "x-container-sync-key",
            "x-container-sync-to",
            "x-container-meta-temp-url-key",
            "x-container-meta-temp-url-key-2",
            "x-remove-container-meta-temp-url-key",
        ] {
            let headers = [(header, "tenant1:user1")];
            for method in ["POST", "PUT"] {
                assert_eq!(creator(&cloud, method, C, &headers, "").await, 403, "{method} {header}");
            }
            assert_eq!(creator(&cloud, "PUT", "/v1/AUTH_1/new", &headers, "").await, 403, "{header}");
        }
        for header in ["x-account-meta-temp-url-key", "x-account-access-control", "x-account-meta-x"] {
            assert_eq!(creator(&cloud, "POST", "/v1/AUTH_1", &[(header, "{}")], "").await, 403, "{header}");
        }
        let seen = cloud.call("creator", "HEAD", C, &[], Body::empty()).await;
        assert_eq!(seen.status, 204);
        for header in ["x-container-read", "x-container-write", "x-container-meta-temp-url-key"] {
            assert!(!seen.headers.contains_key(header), "{header}");
        }
        // An expiry for an existing object.
        let (path, after) = (object.as_str(), ("x-delete-after", "1"));
        assert_eq!(creator(&cloud, "POST", path, &[after], "").await, 403);
        assert_eq!(creator(&cloud, "POST", path, &[("x-delete-at", "1389453424")], "").await, 403);
        assert_eq!(creator(&cloud, "PUT", path, &[after], "new").await, 403);
        assert_eq!(creator(&cloud, "PUT", path, &[after, ("x-copy-from", "c/segment")], "").await, 403);
        assert_eq!(creator(&cloud, "COPY", path, &[after, ("destination", "c/o")], "").await, 403);
        let slo = format!("{C}/slo?multipart-manifest=put");
        assert_eq!(creator(&cloud, "PUT", &slo, &[after], manifest).await, 403);
        let tar = archive("o");
        let headers = [after, ("accept", "application/json"), ("content-length", "2048")];
        let answer = cloud.call("creator", "PUT", &format!("{C}?extract-archive=tar"), &headers, tar).await;
        assert!(answer.text().contains("403 Forbidden"), "{}", answer.text());
        cloud.clock.advance(Duration::from_secs(3600));
        for (path, body) in [
            (object.as_str(), "old"),
            (&format!("{C}/slo"), "segment"),
            ("/v1/AUTH_1/versioned/o", "second"),
        ] {
            let answer = cloud.owner("GET", path, &[]).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, body), "{path}");
        }
    }
}

on_each_engine! {
    async fn a_creator_can_create_and_change(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", C, &[]).await;
        cloud.put(&format!("{C}/o"), "old").await;
        assert_eq!(creator(&cloud, "PUT", "/v1/AUTH_1/made", &[("x-container-meta-a", "b")], "").await, 201);
        assert_eq!(creator(&cloud, "POST", C, &[("x-container-meta-a", "b")], "").await, 204);
        assert_eq!(creator(&cloud, "PUT", &format!("{C}/o"), &[], "overwritten").await, 201);
        assert_eq!(creator(&cloud, "POST", &format!("{C}/o"), &[("x-object-meta-a", "b")], "").await, 202);
        // Its own object may have an expiry, which may be extended or removed, but not brought forward.
        let (path, minute, hour) = (format!("{C}/temporary"), ("x-delete-after", "60"), ("x-delete-after", "3600"));
        assert_eq!(creator(&cloud, "PUT", &path, &[minute], "x").await, 201);
        assert_eq!(creator(&cloud, "POST", &path, &[hour], "").await, 202);
        assert_eq!(creator(&cloud, "POST", &path, &[minute], "").await, 403);
        assert_eq!(creator(&cloud, "PUT", &path, &[minute], "y").await, 403);
        assert_eq!(creator(&cloud, "PUT", &path, &[hour], "y").await, 201);
        assert_eq!(creator(&cloud, "POST", &path, &[], "").await, 202);
        assert_eq!(creator(&cloud, "POST", &path, &[hour], "").await, 403);
        // After an object has expired, its name can be used again.
        cloud.send("PUT", &format!("{C}/ended"), &[minute], "x").await;
        cloud.clock.advance(Duration::from_secs(61));
        assert_eq!(creator(&cloud, "PUT", &format!("{C}/ended"), &[minute], "x").await, 201);
    }
}
