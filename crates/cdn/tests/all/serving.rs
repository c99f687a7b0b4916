//! Published containers as visitors see them, over the storage itself.

use std::time::Duration;

use database::on_each_engine;

use crate::cloud::cloud;
use crate::edge::host;

/// Method, host, path and headers; the status, and how long others may keep it.
type Case<'t> = (&'t str, &'t str, &'t str, &'t [(&'t str, &'t str)], u16, &'t str);

/// Cloud Files guide and the original's origin server: each case with its status and how long others may keep it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_has_its_status_and_its_lasting() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = cloud(&scratch.location).await;
    cloud
        .store(
            "/c/o",
            &[("content-type", "text/plain"), ("cache-control", "private"), ("expires", "0")],
            b"hello",
        )
        .await;
    let own = cloud.publish("c", &[("x-ttl", "1000")]).await;
    let (token, rest) = own.split_once('-').unwrap();
    let etag = "\"5d41402abc4b2a76b9719d911017c592\"";
    let day = "max-age=86400, public";
    let brief = "max-age=30, public";
    let ttl = "max-age=1000, public";
    let no_hash = format!("{}.r1.cdn.test", "a".repeat(32));
    let not_hex = format!("{token}-{}", rest.replacen(&rest[..1], "g", 1));
    let unknown = format!("{}-{rest}", "0".repeat(20));
    let cases: [Case<'_>; 24] = [
        ("GET", &own, "/o", &[], 200, ttl),
        ("HEAD", &own, "/o", &[], 200, ttl),
        ("GET", &own, "/o?a=b", &[], 200, ttl),
        ("GET", &own, "/o", &[("range", "bytes=1-2")], 206, ttl),
        ("GET", &own, "/o", &[("range", "bytes=9-")], 416, brief),
        ("GET", &own, "/o", &[("if-none-match", etag)], 304, ttl),
        ("GET", &own, "/o", &[("if-match", "\"other\"")], 412, brief),
        ("GET", &own, "/none", &[], 404, brief),
        ("GET", &own, "/", &[], 404, brief),
        ("GET", &own, "/%ff", &[], 412, brief),
        ("PUT", &own, "/o", &[], 405, day),
        ("POST", &own, "/o", &[], 405, day),
        ("DELETE", &own, "/o", &[], 405, day),
        ("COPY", &own, "/o", &[], 405, day),
        ("PROPFIND", "", "/o", &[], 405, day),
        ("GET", "", "/o", &[], 400, "no-store"),
        ("GET", "other.example.com", "/o", &[], 404, day),
        ("GET", "cdn.test:8081", "/o", &[], 404, day),
        ("GET", &no_hash, "/o", &[], 404, day),
        ("GET", &not_hex, "/o", &[], 400, day),
        ("GET", &unknown, "/o", &[], 404, brief),
        ("OPTIONS", &own, "/o", &[], 200, "no-store"),
        (
            "OPTIONS",
            &own,
            "/o",
            &[("origin", "http://a"), ("access-control-request-method", "PUT")],
            401,
            brief,
        ),
        (
            "OPTIONS",
            &own,
            "/o",
            &[("origin", "http://a"), ("access-control-request-method", "GET")],
            200,
            "no-store",
        ),
    ];
    for (method, host, path, headers, status, lasting) in cases {
        let answer = cloud.visit(method, host, path, headers).await;
        let case = format!("{method} {host} {path} {headers:?}");
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (status, lasting), "{case}");
        if [401, 405].contains(&status) || method == "OPTIONS" {
            assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS", "{case}");
        }
        assert!(method != "HEAD" || answer.body.is_empty(), "{case}");
    }
    let whole = cloud.visit("GET", &own, "/o", &[]).await;
    assert_eq!((whole.text(), whole.header("content-length"), whole.header("etag")), ("hello", "5", etag));
    assert_eq!(whole.header("expires"), "Sat, 11 Jan 2014 15:33:43 GMT");
    assert_eq!((whole.header("content-type"), whole.header("content-disposition")), ("text/plain", ""));
    assert_eq!(
        cloud.visit("GET", &own, "/o", &[("range", "bytes=1-2")]).await.header("content-range"),
        "bytes 1-2/5"
    );
    for (ask, status) in [
        (("if-modified-since", "Sun, 12 Jan 2014 00:00:00 GMT"), 200),
        (("if-modified-since", "Sat, 11 Jan 2014 15:17:03 GMT"), 304),
        (("if-unmodified-since", "Fri, 10 Jan 2014 00:00:00 GMT"), 412),
        (("if-none-match", "*"), 304),
        (("if-none-match", "\"other\""), 200),
    ] {
        // A date that is still to come is no condition.
        let status = if ask.1.starts_with("Sun") {
            cloud.visit("GET", &own, "/o", &[ask]).await.status.as_u16()
        } else {
            status
        };
        assert_eq!(cloud.visit("GET", &own, "/o", &[ask]).await.status.as_u16(), status, "{ask:?}");
    }
    let both = |tag| [("range", "bytes=0-0"), ("if-range", tag)];
    assert_eq!(cloud.visit("GET", &own, "/o", &both(etag)).await.status, 206);
    assert_eq!(cloud.visit("GET", &own, "/o", &both("\"other\"")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_ranges_come_in_parts_and_endless_lists_do_not() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = cloud(&scratch.location).await;
    cloud.store("/c/o", &[("content-type", "text/plain")], b"0123456789").await;
    let own = cloud.publish("c", &[]).await;
    let two = cloud.visit("GET", &own, "/o", &[("range", "bytes=0-1,-2")]).await;
    assert_eq!(two.status, 206);
    let boundary = two.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |range: &str, text: &str| {
        format!(
            "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/10\r\n\r\n{text}\r\n"
        )
    };
    assert_eq!(two.text(), format!("{}{}--{boundary}--\r\n", part("0-1", "01"), part("8-9", "89")));
    assert_eq!(two.header("content-length"), two.body.len().to_string());
    for list in [
        format!("bytes={}", vec!["0-0"; 51].join(",")),
        format!("bytes={}", ["0-9"; 2].join(",")),
        format!("bytes={}", (0..20_000).map(|n| format!("{n}-")).collect::<Vec<_>>().join(",")),
        "bytes=a-b".into(),
        "lines=0-1".into(),
    ] {
        let whole = cloud.visit("GET", &own, "/o", &[("range", &list)]).await;
        assert_eq!(
            (whole.status.as_u16(), whole.text()),
            (200, "0123456789"),
            "{}",
            &list[..list.len().min(60)]
        );
    }
}

on_each_engine! {
    async fn what_is_not_published_cannot_be_reached(location: &Location) {
        let cloud = cloud(location).await;
        cloud.store("/open/o", &[], b"hello").await;
        cloud.store("/private/secret", &[], b"secret").await;
        cloud.store("/open/link", &[("x-symlink-target", "private/secret")], b"").await;
        cloud.store("/open/dynamic", &[("x-object-manifest", "private/sec")], b"").await;
        let own = cloud.publish("open", &[]).await;
        assert_eq!(cloud.visit("GET", &own, "/o", &[]).await.text(), "hello");
        let private = cloud.cdn.publish(&cdn::service::Context::internal(), "1", "private", cdn::model::Change {
            enabled: Some(false), ..cdn::model::Change::default()
        }).await.unwrap();
        let closed = host(&cloud.cdn.uris(&private.publication).plain).to_owned();
        for (host, path) in [
            (&closed, "/secret"),
            (&own, "/../private/secret"),
            (&own, "/%2e%2e/private/secret"),
            (&own, "/..%2fprivate%2fsecret"),
            (&own, "/link"),
            (&own, "/dynamic"),
            (&own, "//private/secret"),
            (&own, "/v1/AUTH_1/private/secret"),
            (&own, "/?format=json"),
            (&own, "/"),
        ] {
            let answer = cloud.visit("GET", host, path, &[]).await;
            assert_eq!(answer.status, 404, "{host} {path}");
            assert!(!answer.text().contains("secret"), "{host} {path}");
        }
        // Nor does a visitor's header open anything, or get kept for others.
        for header in [
            ("x-auth-token", "owner"), ("x-web-mode", "false"), ("x-forwarded-host", "evil.org"),
            ("x-original-url", "/secret"), ("x-http-method-override", "DELETE"), ("x-newest", "true"),
        ] {
            let answer = cloud.visit("GET", &own, "/link", &[header]).await;
            assert_eq!(answer.status, 404, "{header:?}");
        }
        // Disabling takes effect at once, and so does enabling.
        cloud.owner("POST", "/open", &[("x-cdn-enabled", "False")]).await;
        assert_eq!(cloud.visit("GET", &own, "/o", &[]).await.status, 404);
        cloud.owner("POST", "/open", &[("x-cdn-enabled", "True")]).await;
        assert_eq!(cloud.visit("GET", &own, "/o", &[]).await.text(), "hello");
        cloud.owner("DELETE", "/open", &[("x-remove-cdn-container", "True")]).await;
        assert_eq!(cloud.visit("GET", &own, "/o", &[]).await.status, 404);
        // The container's own rules are what they were.
        assert_eq!(cloud.call("", "GET", "/v1/AUTH_1/open/o", &[]).await.status, 401);
    }
}

on_each_engine! {
    async fn a_purge_shows_the_new_object_at_once(location: &Location) {
        let cloud = cloud(location).await;
        cloud.store("/c/o", &[], b"old").await;
        cloud.store("/c/other", &[], b"old").await;
        let own = cloud.publish("c", &[]).await;
        let get = async |path: &str| cloud.visit("GET", &own, path, &[]).await.text().to_owned();
        assert_eq!((get("/o").await, get("/other").await), ("old".into(), "old".into()));
        cloud.store("/c/o", &[], b"new").await;
        cloud.store("/c/other", &[], b"new").await;
        assert_eq!(get("/o").await, "old", "within its TTL");
        assert_eq!(cloud.owner("DELETE", "/c/o", &[]).await.status, 204);
        assert_eq!((get("/o").await, get("/other").await), ("new".into(), "old".into()));
        assert_eq!(cloud.owner("DELETE", "/c", &[]).await.status, 204);
        assert_eq!(get("/other").await, "new");
        cloud.clock.advance(Duration::from_secs(259_200));
        cloud.store("/c/o", &[], b"newer").await;
        assert_eq!(get("/o").await, "newer", "after its TTL");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_website_has_indexes_redirections_listings_and_error_pages() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = cloud(&scratch.location).await;
    for (name, body) in [
        ("index.html", &b"home"[..]),
        ("dir/index.html", b"dir"),
        ("files/a b.txt", b"a"),
        ("404error.html", b"gone"),
    ] {
        let path = format!("/site/{}", web::query::encode(name.as_bytes(), true));
        cloud.store(&path, &[("content-type", "text/html")], body).await;
    }
    let settings = [
        ("x-container-meta-web-index", "index.html"),
        ("x-container-meta-web-error", "error.html"),
        ("x-container-meta-web-listings", "true"),
    ];
    cloud.call("owner", "POST", "/v1/AUTH_1/site", &settings).await;
    let own = cloud.publish("site", &[("x-ttl", "1000")]).await;
    let get = async |path: &str| cloud.visit("GET", &own, path, &[]).await;
    let home = get("/").await;
    assert_eq!((home.status.as_u16(), home.text(), home.header("content-type")), (200, "home", "text/html"));
    assert_eq!(home.header("cache-control"), "max-age=1000, public");
    let redirected = get("/dir").await;
    assert_eq!((redirected.status.as_u16(), redirected.header("location")), (301, "/dir/"));
    assert_eq!(get("/dir/").await.text(), "dir");
    let listing = get("/files/").await;
    assert_eq!((listing.status.as_u16(), listing.header("content-type")), (200, "text/html; charset=UTF-8"));
    assert!(listing.text().contains("Listing of /files/"), "{}", listing.text());
    assert!(
        listing.text().contains("a%20b%2Etxt") && !listing.text().contains("AUTH_1"),
        "{}",
        listing.text()
    );
    let missing = get("/nothing").await;
    assert_eq!((missing.status.as_u16(), missing.text()), (404, "gone"));
    assert_eq!((missing.header("etag"), missing.header("cache-control")), ("", "max-age=30, public"));
    // Two slashes in a redirection would lead to another host.
    cloud.store("/site/%2Fevil.org/index.html", &[], b"x").await;
    let redirected = get("//evil.org").await;
    assert_eq!((redirected.status.as_u16(), redirected.header("location")), (301, "/%2Fevil.org/"));
    // A new index is seen when it is purged by its own name.
    cloud.store("/site/index.html", &[("content-type", "text/html")], b"new home").await;
    assert_eq!(get("/").await.text(), "home");
    cloud.owner("DELETE", "/site/index.html", &[]).await;
    assert_eq!(get("/").await.text(), "new home");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_rules_are_the_objects_own() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = cloud(&scratch.location).await;
    let stored = [("access-control-allow-origin", "http://shop.test"), ("access-control-max-age", "60")];
    cloud.store("/c/open", &stored, b"x").await;
    cloud.store("/c/closed", &[], b"x").await;
    let container = [("x-container-meta-access-control-allow-origin", "*")];
    cloud.call("owner", "POST", "/v1/AUTH_1/c", &container).await;
    let own = cloud.publish("c", &[]).await;
    let open = cloud.visit("GET", &own, "/open", &[("origin", "http://other.test")]).await;
    assert_eq!(open.header("access-control-allow-origin"), "http://shop.test");
    let closed = cloud.visit("GET", &own, "/closed", &[("origin", "http://other.test")]).await;
    assert_eq!(closed.header("access-control-allow-origin"), "", "the container's rules are the storage's");
    let enquiry = [
        ("origin", "http://shop.test"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "range, x-a"),
    ];
    let allowed = cloud.visit("OPTIONS", &own, "/open", &enquiry).await;
    let told = [
        "access-control-allow-origin",
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-max-age",
    ]
    .map(|name| allowed.header(name).to_owned());
    assert_eq!(told, ["http://shop.test", "GET, HEAD, OPTIONS", "range, x-a", "60"]);
    let refused = cloud.visit("OPTIONS", &own, "/closed", &enquiry).await;
    assert_eq!((refused.status.as_u16(), refused.header("access-control-allow-origin")), (200, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_large_object_is_served_with_segments_from_elsewhere() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = cloud(&scratch.location).await;
    cloud.store("/segments/1", &[], b"one, ").await;
    cloud.store("/segments/2", &[], b"two").await;
    cloud.store("/c/placeholder", &[], b"").await;
    let manifest = r#"[{"path": "segments/1"}, {"path": "segments/2"}]"#;
    let length = manifest.len().to_string();
    let put = cloud
        .send(
            "owner",
            "PUT",
            "/v1/AUTH_1/c/large?multipart-manifest=put",
            &[("content-length", &length)],
            manifest,
        )
        .await;
    assert_eq!(put.status, 201, "{}", put.text());
    let own = cloud.publish("c", &[]).await;
    assert_eq!(cloud.visit("GET", &own, "/large", &[]).await.text(), "one, two");
    assert_eq!(cloud.visit("GET", &own, "/large", &[("range", "bytes=3-5")]).await.text(), ", t");
    // A segment that was replaced since is not what was published.
    cloud.store("/segments/2", &[], b"new").await;
    cloud.owner("DELETE", "/c/large", &[]).await;
    let broken = cloud.edge.answer(&crate::edge::request("GET", &own, "/large", &[])).await;
    let read = http_body_util::BodyExt::collect(broken.into_body()).await;
    assert!(read.map(|body| !String::from_utf8_lossy(&body.to_bytes()).contains("new")).unwrap_or(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_expires_is_not_served_beyond_its_time() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = cloud(&scratch.location).await;
    cloud.store("/c/o", &[("x-delete-after", "100")], b"hello").await;
    let own = cloud.publish("c", &[]).await;
    assert_eq!(cloud.visit("GET", &own, "/o", &[]).await.text(), "hello");
    cloud.clock.advance(Duration::from_secs(101));
    assert_eq!(cloud.visit("GET", &own, "/o", &[]).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_contradict_each_other_are_refused() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = cloud(&scratch.location).await;
    cloud.store("/c/o", &[], b"hello").await;
    let own = cloud.publish("c", &[]).await;
    let absolute = format!("http://{own}/o");
    assert_eq!(cloud.visit("GET", &own, &absolute, &[]).await.text(), "hello");
    assert_eq!(cloud.visit("GET", "", &absolute, &[]).await.text(), "hello", "as HTTP/2 has it");
    assert_eq!(cloud.visit("GET", "evil.org", &absolute, &[]).await.status, 400);
    assert_eq!(cloud.visit("GET", &own, "/o", &[("host", &own)]).await.status, 400, "two lines");
    let upper = own.to_uppercase();
    assert_eq!(cloud.visit("GET", &upper, "/o", &[]).await.text(), "hello");
    let long = format!("{}.{own}", "a".repeat(300));
    assert_eq!(cloud.visit("GET", &long, "/o", &[]).await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_renews_the_headers_of_an_object_whose_bytes_stayed() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = cloud(&scratch.location).await;
    let first = [("content-type", "text/html"), ("x-object-meta-access-control-allow-origin", "*")];
    cloud.store("/c/o", &first, b"hello").await;
    let own = cloud.publish("c", &[]).await;
    assert_eq!(cloud.visit("GET", &own, "/o", &[]).await.header("content-type"), "text/html");
    cloud.store("/c/o", &[("content-type", "text/plain"), ("x-delete-after", "100")], b"hello").await;
    assert_eq!(cloud.owner("DELETE", "/c/o", &[]).await.status, 204);
    let renewed = cloud.visit("GET", &own, "/o", &[("origin", "http://example.com")]).await;
    assert_eq!((renewed.text(), renewed.header("content-type")), ("hello", "text/plain"));
    assert_eq!(renewed.header("access-control-allow-origin"), "");
    cloud.clock.advance(Duration::from_secs(101));
    assert_eq!(cloud.visit("GET", &own, "/o", &[]).await.status, 404, "the new X-Delete-At counts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_objects_of_a_disabled_tenant_are_closed_although_they_are_cached() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = cloud(&scratch.location).await;
    cloud.store("/c/o", &[], b"hello").await;
    let own = cloud.publish("c", &[]).await;
    assert_eq!(cloud.visit("GET", &own, "/o", &[]).await.status, 200);
    for (is_disabled, status) in [(true, 404), (false, 200)] {
        cloud.directory.is_disabled.store(is_disabled, std::sync::atomic::Ordering::SeqCst);
        let became = async { while cloud.visit("GET", &own, "/o", &[]).await.status != status {} };
        tokio::time::timeout(Duration::from_secs(60), became).await.expect("the change takes effect");
    }
}
