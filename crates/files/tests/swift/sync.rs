use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use database::{Location, on_each_engine};
use files::Settings;
use files::api::swift::Clouds;
use files::model::realms::{Endpoint, Realm, Realms, sign, signed_text};
use tokio::net::TcpListener;

use crate::harness::{Cloud, cloud_in, cloud_with};

const KEY: (&str, &str) = ("x-container-sync-key", "shared");

fn settings(port: u16) -> Settings {
    let endpoint = Endpoint::parse(&format!("http://127.0.0.1:{port}/v1/")).unwrap();
    let clusters = BTreeMap::from([("OTHER".to_owned(), endpoint)]);
    let realm = Realm { key: "realm key".into(), key2: Some("next key".into()), clusters };
    let realms = Realms {
        realms: BTreeMap::from([("TEST".to_owned(), realm)]),
        current: Some(("TEST".into(), "OTHER".into())),
        allowed_hosts: vec!["127.0.0.1".into()],
        interval: Duration::from_millis(20),
        ..Realms::default()
    };
    Settings { realms, ..Settings::default() }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Starts a cloud on `listener`, in a realm with the one at `port`.
async fn serving(location: &Location, listener: TcpListener, port: u16) -> Cloud {
    let cloud = cloud_with(location, settings(port)).await;
    let (router, clock) = (cloud.router.clone(), cloud.clock.clone());
    let refuse = files::api::swift::refuse;
    let limits = web::listener::Limits::for_files(1024);
    let options = web::listener::Options { tls: None, clock, refuse, limits };
    tokio::spawn(web::listener::serve(listener, router, options, std::future::pending()));
    cloud.files.carry(Arc::new(Clouds::default()));
    cloud
}

/// Starts two clouds that know each other; the second is on SQLite.
async fn pair(location: &Location) -> (Cloud, Cloud, tempfile::TempDir) {
    let ((first, first_port), (second, second_port)) = (listen().await, listen().await);
    let dir = tempfile::tempdir().unwrap();
    let here = serving(location, first, second_port).await;
    let there = serving(&Location::Sqlite(dir.path().to_owned()), second, first_port).await;
    (here, there, dir)
}

async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Cloud {
    async fn has(&self, path: &str, text: &str) {
        until(async || (self.owner("GET", path, &[]).await.body == text.as_bytes()).then_some(())).await;
    }

    async fn lacks(&self, path: &str) {
        until(async || (self.owner("HEAD", path, &[]).await.status == 404).then_some(())).await;
    }
}

const TO: (&str, &str) = ("x-container-sync-to", "//test/other/AUTH_1/c");

on_each_engine! {
    async fn existing_objects_and_changes_are_sent(location: &Location) {
        let (here, there, _dir) = pair(location).await;
        here.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        for n in 0..300 {
            here.put(&format!("/v1/AUTH_1/c/early-{n:03}"), "early").await;
        }
        here.send("PUT", "/v1/AUTH_1/c/a%20b", &[("x-object-meta-colour", "é"), ("content-encoding", "x"), ("content-type", "a/b")], "first").await;
        there.owner("PUT", "/v1/AUTH_1/c", &[KEY]).await;
        assert_eq!(here.owner("POST", "/v1/AUTH_1/c", &[TO, KEY]).await.status, 204);
        there.has("/v1/AUTH_1/c/early-299", "early").await;
        there.has("/v1/AUTH_1/c/a%20b", "first").await;
        let (mine, its) = (here.owner("HEAD", "/v1/AUTH_1/c/a%20b", &[]).await, there.owner("HEAD", "/v1/AUTH_1/c/a%20b", &[]).await);
        for name in ["etag", "x-timestamp", "last-modified", "content-type", "content-encoding", "content-length"] {
            assert_eq!(mine.header(name), its.header(name), "{name}");
        }
        assert_eq!(mine.headers.get("x-object-meta-colour"), its.headers.get("x-object-meta-colour"));
        until(async || (there.owner("HEAD", "/v1/AUTH_1/c", &[]).await.header("x-container-object-count") == "301").then_some(())).await;
        // Make changes of every kind.
        here.clock.advance(Duration::from_secs(10));
        here.put("/v1/AUTH_1/c/a%20b", "second").await;
        here.owner("POST", "/v1/AUTH_1/c/early-000", &[("x-object-meta-new", "yes")]).await;
        here.owner("DELETE", "/v1/AUTH_1/c/early-001", &[]).await;
        here.owner("COPY", "/v1/AUTH_1/c/early-002", &[("destination", "c/copy")]).await;
        here.send("PUT", "/v1/AUTH_1/c/ending", &[("x-delete-after", "1000")], "x").await;
        let large = "0123456789abcdef".repeat(200_000);
        here.put("/v1/AUTH_1/c/large", &large).await;
        there.has("/v1/AUTH_1/c/a%20b", "second").await;
        until(async || (there.owner("HEAD", "/v1/AUTH_1/c/early-000", &[]).await.header("x-object-meta-new") == "yes").then_some(())).await;
        there.lacks("/v1/AUTH_1/c/early-001").await;
        there.has("/v1/AUTH_1/c/copy", "early").await;
        there.has("/v1/AUTH_1/c/large", &large).await;
        until(async || (!there.owner("HEAD", "/v1/AUTH_1/c/ending", &[]).await.header("x-delete-at").is_empty()).then_some(())).await;
    }
}

on_each_engine! {
    async fn manifests_and_links_are_sent_as_such(location: &Location) {
        let (here, there, _dir) = pair(location).await;
        for cloud in [&here, &there] {
            cloud.owner("PUT", "/v1/AUTH_1/c", &[KEY]).await;
            cloud.owner("PUT", "/v1/AUTH_1/parts", &[]).await;
            cloud.put("/v1/AUTH_1/parts/p1", "one ").await;
            cloud.put("/v1/AUTH_1/parts/p2", "two").await;
        }
        here.owner("POST", "/v1/AUTH_1/c", &[TO]).await;
        let manifest = r#"[{"path": "/parts/p1"}, {"path": "/parts/p2", "range": "0-1"}]"#;
        let stored = here.send("PUT", "/v1/AUTH_1/c/static?multipart-manifest=put", &[], manifest).await;
        assert_eq!(stored.status, 201);
        here.send("PUT", "/v1/AUTH_1/c/dynamic", &[("x-object-manifest", "parts/p")], "").await;
        here.owner("PUT", "/v1/AUTH_1/c/soft", &[("x-symlink-target", "parts/p1")]).await;
        let etag = here.owner("HEAD", "/v1/AUTH_1/parts/p2", &[]).await.header("etag").to_owned();
        here.owner("PUT", "/v1/AUTH_1/c/hard", &[("x-symlink-target", "parts/p2"), ("x-symlink-target-etag", &etag)]).await;
        for (name, text) in [("static", "one tw"), ("dynamic", "one two"), ("soft", "one "), ("hard", "two")] {
            there.has(&format!("/v1/AUTH_1/c/{name}"), text).await;
        }
        let head = there.owner("HEAD", "/v1/AUTH_1/c/static", &[]).await;
        assert_eq!((head.header("x-static-large-object"), head.header("etag")), ("True", stored.header("etag")));
        let head = there.owner("HEAD", "/v1/AUTH_1/c/hard?symlink=get", &[]).await;
        assert_eq!((head.header("x-symlink-target"), head.header("x-symlink-target-etag")), ("parts/p2", etag.as_str()));
    }
}

on_each_engine! {
    async fn the_newer_change_wins_in_both_directions_without_loops(location: &Location) {
        let (here, there, _dir) = pair(location).await;
        for cloud in [&here, &there] {
            assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c", &[KEY, TO]).await.status, 201);
        }
        here.put("/v1/AUTH_1/c/o", "older").await;
        there.clock.advance(Duration::from_secs(60));
        there.put("/v1/AUTH_1/c/o", "newer").await;
        here.put("/v1/AUTH_1/c/mine", "mine").await;
        here.has("/v1/AUTH_1/c/o", "newer").await;
        there.has("/v1/AUTH_1/c/mine", "mine").await;
        assert_eq!(there.owner("GET", "/v1/AUTH_1/c/o", &[]).await.text(), "newer");
        there.owner("DELETE", "/v1/AUTH_1/c/mine", &[]).await;
        here.lacks("/v1/AUTH_1/c/mine").await;
        here.clock.advance(Duration::from_secs(120));
        here.owner("DELETE", "/v1/AUTH_1/c/o", &[]).await;
        there.lacks("/v1/AUTH_1/c/o").await;
        here.put("/v1/AUTH_1/c/last", "last").await;
        there.has("/v1/AUTH_1/c/last", "last").await;
        let stamps = [&here, &there].map(|cloud| cloud.owner("HEAD", "/v1/AUTH_1/c/last", &[]));
        let [mine, its] = stamps;
        assert_eq!(mine.await.header("x-timestamp"), its.await.header("x-timestamp"));
    }
}

on_each_engine! {
    async fn changes_that_cannot_be_sent_are_retried_after_a_restart(location: &Location) {
        let (listener, port) = listen().await;
        let settings = settings(port);
        let here = cloud_with(location, settings.clone()).await;
        here.files.carry(Arc::new(Clouds::default()));
        here.owner("PUT", "/v1/AUTH_1/c", &[KEY, ("x-container-sync-to", &format!("http://127.0.0.1:{port}/v1/AUTH_1/c"))]).await;
        here.put("/v1/AUTH_1/c/o", "kept").await;
        here.put("/v1/AUTH_1/c/gone", "x").await;
        here.owner("DELETE", "/v1/AUTH_1/c/gone", &[]).await;
        here.files.stop().await;
        let dir = tempfile::tempdir().unwrap();
        let there = serving(&Location::Sqlite(dir.path().to_owned()), listener, port).await;
        there.owner("PUT", "/v1/AUTH_1/c", &[KEY]).await;
        there.clock.advance(Duration::from_secs(60));
        there.put("/v1/AUTH_1/c/gone", "x").await;
        let clock = here.clock.clone();
        let Cloud { dir: bytes, .. } = here;
        let again = cloud_in(location, settings, bytes).await;
        again.files.carry(Arc::new(Clouds::default()));
        until(async || {
            // Later than its next attempt, whenever that is.
            again.clock.advance(Duration::from_secs(700));
            clock.advance(Duration::from_secs(700));
            (there.owner("GET", "/v1/AUTH_1/c/o", &[]).await.body == b"kept").then_some(())
        }).await;
        assert_eq!(there.owner("HEAD", "/v1/AUTH_1/c/gone", &[]).await.status, 200, "it is newer than the deletion");
    }
}

on_each_engine! {
    async fn both_keys_are_required_for_synchronising(location: &Location) {
        let cloud = cloud_with(location, settings(1)).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[KEY]).await;
        cloud.owner("PUT", "/v1/AUTH_1/closed", &[]).await;
        cloud.put("/v1/AUTH_1/c/o", "mine").await;
        let at = "1389453424.00000";
        let auth = |method: &str, path: &str, realm_key: &str, key: &str| {
            let text = signed_text(method, path, at, "nonce", key);
            format!("test nonce {}", sign(realm_key, &text))
        };
        let path = "/v1/AUTH_1/c/a%20b";
        let put = async |path: &str, auth: &str, at: &str| {
            let headers = [("x-container-sync-auth", auth), ("x-timestamp", at), ("content-length", "1")];
            cloud.call("", "PUT", path, &headers, "x").await
        };
        let good = auth("PUT", path, "realm key", "shared");
        for (path, auth, at) in [
            (path, auth("PUT", path, "other", "shared"), at),
            (path, auth("PUT", path, "realm key", "other"), at),
            (path, auth("DELETE", path, "realm key", "shared"), at),
            (path, good.clone(), "1389453425.00000"),
            (path, good.replace("nonce", "other"), at),
            (path, good.replace("test", "unknown"), at),
            (path, "test nonce".into(), at),
            ("/v1/AUTH_1/c/other", good.clone(), at),
            ("/v1/AUTH_1/closed/o", auth("PUT", "/v1/AUTH_1/closed/o", "realm key", ""), at),
            ("/v1/AUTH_1/none/o", auth("PUT", "/v1/AUTH_1/none/o", "realm key", ""), at),
            ("/v1/AUTH_1/c", auth("PUT", "/v1/AUTH_1/c", "realm key", "shared"), at),
        ] {
            let refused = put(path, &auth, at).await;
            let text = "X-Container-Sync-Auth header not valid; contact cluster operator for support.";
            assert_eq!((refused.status.as_u16(), refused.text()), (401, text), "{path} {auth} {at}");
            assert_eq!(refused.header("www-authenticate"), "SwiftContainerSync realm=\"AUTH_1\"");
        }
        assert_eq!(put(path, &good, at).await.status, 201);
        assert_eq!(put(path, &auth("PUT", path, "next key", "shared"), at).await.status, 202, "it is already stored");
        let kept = cloud.owner("HEAD", path, &[]).await;
        assert_eq!(kept.header("x-timestamp"), at);
        // Only the container's key and the time, as clouds without a realm send them.
        let plain = |key: &'static str| cloud.call("", "DELETE", path, Box::leak(Box::new([("x-container-sync-key", key), ("x-timestamp", "1389453425.00000")])), "");
        assert_eq!(plain("wrong").await.status, 401);
        assert_eq!(plain("shared").await.status, 204);
        let untimed = cloud.call("", "DELETE", "/v1/AUTH_1/c/o", &[KEY], "").await;
        assert_eq!(untimed.status, 401);
        let read = cloud.call("", "GET", "/v1/AUTH_1/c/o", &[KEY, ("x-timestamp", at)], "").await;
        assert_eq!(read.status, 401, "a sync key does not permit reading");
    }
}

on_each_engine! {
    async fn destinations_are_validated_and_realms_are_shown(location: &Location) {
        let cloud = cloud_with(location, settings(1)).await;
        for (to, why) in [
            ("//test/other/c", "Invalid X-Container-Sync-To format '//test/other/c'"),
            ("//else/other/a/c", "No realm key for 'else'"),
            ("//test/else/a/c", "No cluster endpoint for 'test' 'else'"),
            ("http://192.0.2.1/v1/a/c", "Invalid host '192.0.2.1' in X-Container-Sync-To"),
            ("gopher://x/y", "Invalid scheme 'gopher' in X-Container-Sync-To, must be \"//\", \"http\", or \"https\"."),
        ] {
            let refused = cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-container-sync-to", to)]).await;
            assert_eq!((refused.status.as_u16(), refused.text()), (400, why));
        }
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/c", &[]).await.status, 404, "nothing was created");
        let info = cloud.call("", "GET", "/info", &[], "").await;
        let info: serde_json::Value = serde_json::from_slice(&info.body).unwrap();
        assert_eq!(info["container_sync"], serde_json::json!({"realms": {"TEST": {"clusters": {"OTHER": {"current": true}}}}}));
    }
}

on_each_engine! {
    /// A manifest from another cloud is validated: with a reversed range, the length announced would differ from that sent.
    /// Nested manifests send exactly the announced length.
    async fn manifests_from_other_clouds_send_the_announced_length(location: &Location) {
        let cloud = cloud_with(location, settings(1)).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[KEY]).await;
        let stored = cloud.put("/v1/AUTH_1/c/part", "0123456789").await;
        let hash = stored.header("etag").to_owned();
        let send = async |name: &str, manifest: String| {
            let (path, at) = (format!("/v1/AUTH_1/c/{name}"), "1389453424.00000");
            let text = signed_text("PUT", &path, at, "nonce", "shared");
            let auth = format!("test nonce {}", sign("realm key", &text));
            let length = manifest.len().to_string();
            let headers = [("x-container-sync-auth", auth.as_str()), ("x-timestamp", at),
                ("x-static-large-object", "True"), ("content-length", &length)];
            cloud.call("", "PUT", &path, &headers, manifest).await.status.as_u16()
        };
        let one = |path: &str, hash: &str, bytes: u64, range: &str, nested: bool| format!(
            r#"{{"name": "{path}", "bytes": {bytes}, "hash": "{hash}", "content_type": "t",
                "last_modified": "2014-01-11T15:17:03.000000", "range": {range}, "sub_slo": {nested}}}"#);
        for (range, status) in [(r#""4-2""#, 400), (r#""20-30""#, 400), (r#""0-1,2-3""#, 400), (r#""x""#, 400)] {
            assert_eq!(send("bad", format!("[{}]", one("/c/part", &hash, 10, range, false))).await, status, "{range}");
        }
        for (name, range, expected) in [
            ("first", r#""0-3""#, "0123"), ("last", r#""-3""#, "789"), ("rest", r#""7-""#, "789"),
            ("beyond", r#""8-20""#, "89"), ("whole", "null", "0123456789"),
        ] {
            let segment = one("/c/part", &hash, 10, range, false);
            assert_eq!(send(name, format!("[{segment}, {segment}]")).await, 201, "{name}");
            let inner = cloud.owner("GET", &format!("/v1/AUTH_1/c/{name}"), &[]).await;
            let text = expected.repeat(2);
            assert_eq!((inner.text(), inner.header("content-length")), (text.as_str(), &*text.len().to_string()));
            let etag = inner.header("etag").trim_matches('"').to_owned();
            // Nested, and with a part that begins in one segment and ends in the other.
            let size = text.len() as u64;
            let nested = one(&format!("/c/{name}"), &etag, size, r#""1-""#, true);
            assert_eq!(send("outer", format!("[{nested}]")).await, 201);
            let outer = cloud.owner("GET", "/v1/AUTH_1/c/outer", &[]).await;
            assert_eq!((outer.text(), outer.header("content-length")), (&text[1..], &*(size - 1).to_string()), "{name}");
            let part = cloud.owner("GET", "/v1/AUTH_1/c/outer", &[("range", "bytes=1-2")]).await;
            assert_eq!(part.text(), &text[2..4]);
            cloud.owner("DELETE", "/v1/AUTH_1/c/outer", &[]).await;
        }
    }
}
