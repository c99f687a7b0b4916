use std::path::Path;
use std::sync::Arc;

use database::on_each_engine;
use files::Settings;
use files::model::policy::{Policies, Policy};
use identity::MasterKey;

use crate::harness::{Cloud, cloud_in, cloud_with};

fn key(digit: &str) -> Arc<MasterKey> {
    Arc::new(MasterKey::from_text(&digit.repeat(64)).unwrap())
}

fn policies() -> Policies {
    let policy = |name: &str, encryption| Policy { name: name.into(), encryption, ..Policy::default() };
    Policies(vec![policy("default", None), policy("open", Some(false)), policy("closed", Some(true))])
}

fn encrypted() -> Settings {
    Settings { encryption: true, master: Some(key("1")), policies: policies(), ..Settings::default() }
}

/// Returns whether any file below a directory contains this text.
fn holds(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, text);
        }
        // A file that was removed meanwhile does not contain it.
        std::fs::read(&path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
    })
}

impl Cloud {
    fn keeps(&self, policy: usize, text: &str) -> bool {
        holds(&self.dir.path().join(format!("policy-{policy}")), text)
    }
}

on_each_engine! {
    async fn stored_bytes_are_unreadable_and_nothing_else_changes(location: &Location) {
        let cloud = cloud_with(location, encrypted()).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let small = "a secret that is packed with others";
        let large: String = (0..300_000).map(|n| format!("{n:07}")).collect();
        for (name, text) in [("small", small), ("large", &large)] {
            let path = format!("/v1/AUTH_1/c/{name}");
            let stored = cloud.put(&path, text).await;
            let md5 = fast_md5::digest(text.as_bytes());
            assert_eq!((stored.status.as_u16(), stored.header("etag")), (201, hex::encode(md5).as_str()));
            let read = cloud.owner("GET", &path, &[]).await;
            assert_eq!(read.body, text.as_bytes(), "{name}");
            assert_eq!(read.header("content-length"), text.len().to_string());
        }
        assert!(!cloud.keeps(0, small) && !cloud.keeps(0, &large[700_000..700_040]));
        for (range, part) in [("bytes=1234567-1234601", 1_234_567..1_234_602), ("bytes=-5", 2_099_995..2_100_000), ("bytes=65535-65536", 65_535..65_537)] {
            let read = cloud.owner("GET", "/v1/AUTH_1/c/large", &[("range", range)]).await;
            assert_eq!((read.status.as_u16(), read.text()), (206, &large[part]), "{range}");
        }
        let listing = cloud.owner("GET", "/v1/AUTH_1/c?format=json", &[]).await;
        assert!(listing.text().contains("\"bytes\": 2100000"), "{}", listing.text());
        assert_eq!(cloud.owner("COPY", "/v1/AUTH_1/c/large", &[("destination", "c/copy")]).await.status, 201);
        cloud.owner("DELETE", "/v1/AUTH_1/c/large", &[]).await;
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/copy", &[]).await.body, large.as_bytes(), "a copy by reference");
        assert_eq!(cloud.put("/v1/AUTH_1/c/empty", "").await.status, 201);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/empty", &[]).await.text(), "");
    }
}

on_each_engine! {
    async fn each_policy_has_its_own_directory_and_encryption(location: &Location) {
        let cloud = cloud_with(location, Settings { encryption: false, ..encrypted() }).await;
        for policy in ["default", "open", "closed"] {
            cloud.owner("PUT", &format!("/v1/AUTH_1/{policy}"), &[("x-storage-policy", policy)]).await;
            cloud.put(&format!("/v1/AUTH_1/{policy}/o"), &format!("kept in {policy}")).await;
        }
        let kept = |text: &str| [0, 1, 2].map(|policy| cloud.keeps(policy, text));
        assert_eq!(kept("kept in default"), [true, false, false]);
        assert_eq!(kept("kept in open"), [false, true, false]);
        assert_eq!(kept("kept in closed"), [false, false, false]);
        // A copy into another policy has its own bytes, encrypted as that policy requires.
        for (to, expected) in [("open", [true, true, false]), ("closed", [true, true, false])] {
            let destination = format!("{to}/copy");
            let copied = cloud.owner("COPY", "/v1/AUTH_1/default/o", &[("destination", &destination)]).await;
            assert_eq!(copied.status, 201);
            let read = cloud.owner("GET", &format!("/v1/AUTH_1/{destination}"), &[]).await;
            assert_eq!(read.text(), "kept in default");
            assert_eq!(kept("kept in default"), expected, "{to}");
        }
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/closed/o", &[]).await.text(), "kept in closed");
        // A blob in a file of its own is stored in its policy's directory too, and removed from there.
        let large = "x".repeat(2 << 20);
        cloud.put("/v1/AUTH_1/open/large", &large).await;
        assert!(cloud.keeps(1, &large[..1000]));
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/open/large", &[]).await.body.len(), 2 << 20);
        cloud.owner("DELETE", "/v1/AUTH_1/open/large", &[]).await;
        while cloud.keeps(1, &large[..1000]) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

on_each_engine! {
    async fn keys_are_resealed_with_another_master_key(location: &Location) {
        let first = cloud_with(location, encrypted()).await;
        first.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        first.put("/v1/AUTH_1/c/o", "as it was").await;
        first.files.stop().await;
        let Cloud { dir, .. } = first;
        let settings = Settings { master: Some(key("2")), encryption: false, ..encrypted() };
        let second = cloud_in(location, settings, dir).await;
        assert_eq!(second.owner("GET", "/v1/AUTH_1/c/o", &[]).await.status, 500, "encrypted bytes are never served");
        assert!(second.files.reseal(&key("3")).await.is_err());
        assert_eq!(second.files.reseal(&key("1")).await.unwrap(), 1);
        assert_eq!(second.files.reseal(&key("1")).await.unwrap(), 0, "resealing can be repeated");
        assert_eq!(second.owner("GET", "/v1/AUTH_1/c/o", &[]).await.text(), "as it was");
    }
}

on_each_engine! {
    async fn info_shows_encryption_to_operators_with_the_key(location: &Location) {
        let cloud = cloud_with(location, Settings { info_key: Some("k".into()), ..encrypted() }).await;
        let sign = |method: &str, until: i64| {
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"k");
            let signature = aws_lc_rs::hmac::sign(&key, format!("{method}\n{until}\n/info").as_bytes());
            format!("/info?swiftinfo_sig={}&swiftinfo_expires={until}", hex::encode(signature))
        };
        let later = cloud.clock.now().seconds() + 60;
        let told = cloud.call("", "GET", &sign("GET", later), &[], "").await;
        let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!(told["admin"]["encryption"], serde_json::json!({"enabled": true}));
        for bad in [sign("GET", later - 120), sign("PUT", later), sign("GET", later).replace("_sig=", "_sig=00")] {
            assert_eq!(cloud.call("", "GET", &bad, &[], "").await.status, 401, "{bad}");
        }
        assert!(!cloud.call("", "GET", "/info", &[], "").await.text().contains("encryption"));
    }
}
