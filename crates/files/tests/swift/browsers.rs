use database::on_each_engine;

use crate::harness::cloud;

on_each_engine! {
    async fn pages_of_allowed_origins_may_send_requests(location: &Location) {
        let cloud = cloud(location).await;
        let cors = [
            ("x-container-meta-access-control-allow-origin", "http://a.example http://b.example"),
            ("x-container-meta-access-control-max-age", "60"),
            ("x-container-meta-access-control-expose-headers", "X-Extra"), ("x-container-read", ".r:*"),
        ];
        cloud.owner("PUT", "/v1/AUTH_1/c", &cors).await;
        cloud.send("PUT", "/v1/AUTH_1/c/o", &[("x-object-meta-a", "1")], "x").await;
        let plain = cloud.call("", "OPTIONS", "/v1/AUTH_1/c/o", &[], "").await;
        assert_eq!((plain.status.as_u16(), plain.header("allow")), (200, "COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT"));
        let enquiry = [("origin", "http://a.example"), ("access-control-request-method", "PUT"), ("access-control-request-headers", "x-b, x-a")];
        let answer = cloud.call("", "OPTIONS", "/v1/AUTH_1/c/o", &enquiry, "").await;
        assert_eq!(answer.status, 200);
        for (name, value) in [
            ("access-control-allow-origin", "http://a.example"), ("access-control-max-age", "60"),
            ("access-control-allow-methods", "COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT"),
            ("access-control-allow-headers", "x-a, x-b"), ("vary", "Origin, Access-Control-Request-Headers"),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        for (origin, method) in [("http://evil.example", "PUT"), ("http://a.example", "BREW")] {
            let refused = [("origin", origin), ("access-control-request-method", method)];
            let answer = cloud.call("", "OPTIONS", "/v1/AUTH_1/c/o", &refused, "").await;
            assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (401, ""));
        }
        let get = cloud.call("", "GET", "/v1/AUTH_1/c/o", &[("origin", "http://b.example")], "").await;
        assert_eq!((get.text(), get.header("access-control-allow-origin")), ("x", "http://b.example"));
        let exposed = get.header("access-control-expose-headers");
        assert!(exposed.contains("x-object-meta-a") && exposed.contains("x-extra") && exposed.contains("etag"), "{exposed}");
        let refused = cloud.call("", "DELETE", "/v1/AUTH_1/c/o", &[("origin", "http://b.example")], "").await;
        assert_eq!((refused.status.as_u16(), refused.header("access-control-allow-origin")), (401, "http://b.example"));
        let other = cloud.call("", "GET", "/v1/AUTH_1/c/o", &[("origin", "http://evil.example")], "").await;
        assert_eq!((other.text(), other.header("access-control-allow-origin")), ("x", ""));
    }
}

on_each_engine! {
    async fn info_health_and_crossdomain_are_served(location: &Location) {
        let cloud = cloud(location).await;
        assert_eq!(cloud.call("", "GET", "/healthcheck", &[], "").await.text(), "OK");
        assert!(cloud.call("", "GET", "/crossdomain.xml", &[], "").await.text().contains("<cross-domain-policy>"));
        for (method, path) in [("GET", "/v1/"), ("PUT", "/v1"), ("DELETE", "/v1"), ("GET", "/info%20or%20so")] {
            let bad = cloud.owner(method, path, &[]).await;
            assert_eq!((bad.status.as_u16(), bad.text()), (412, "Bad URL"), "{method} {path}");
        }
        let info = cloud.call("", "GET", "/info", &[], "").await;
        let info: serde_json::Value = serde_json::from_str(info.text()).unwrap();
        let read = cloud.call("", "GET", "/info", &[("origin", "http://a.example")], "").await;
        assert_eq!(read.header("access-control-allow-origin"), "http://a.example");
        assert_eq!(read.header("access-control-expose-headers"), "x-trans-id");
        let sent = cloud.call("", "POST", "/info", &[("origin", "http://a.example")], "").await;
        assert_eq!((sent.status.as_u16(), sent.header("access-control-allow-origin")), (405, ""));
        for feature in ["slo", "dlo", "symlink", "object_versioning", "versioned_writes", "tempurl", "formpost", "staticweb",
            "bulk_upload", "bulk_delete", "account_quotas", "container_quotas", "etag_quoter"] {
            assert!(info[feature].is_object(), "{feature}");
        }
        assert_eq!(info["swift"]["policies"][1]["name"], "archive");
        assert_eq!(info["slo"]["max_manifest_segments"], 1000);
    }
}

on_each_engine! {
    async fn the_cors_rules_of_a_links_target_apply(location: &Location) {
        let cloud = cloud(location).await;
        let open = [("x-container-meta-access-control-allow-origin", "*"), ("x-container-read", ".r:*")];
        cloud.owner("PUT", "/v1/AUTH_1/open", &open).await;
        cloud.owner("PUT", "/v1/AUTH_1/plain", &[("x-container-read", ".r:*")]).await;
        for container in ["open", "plain"] {
            cloud.send("PUT", &format!("/v1/AUTH_1/{container}/o"), &[], "x").await;
        }
        let link = |to: &'static str| [("x-symlink-target", to), ("content-length", "0")];
        cloud.send("PUT", "/v1/AUTH_1/open/to-open", &link("open/o"), "").await;
        cloud.send("PUT", "/v1/AUTH_1/open/to-plain", &link("plain/o"), "").await;
        cloud.send("PUT", "/v1/AUTH_1/plain/to-open", &link("open/o"), "").await;
        for (path, allowed) in [("open/to-open", "*"), ("open/to-plain", ""), ("plain/to-open", "*")] {
            let path = format!("/v1/AUTH_1/{path}");
            let got = cloud.call("", "GET", &path, &[("origin", "http://a.example")], "").await;
            assert_eq!((got.text(), got.header("access-control-allow-origin")), ("x", allowed), "{path}");
        }
    }
}

on_each_engine! {
    async fn a_page_cannot_read_errors_about_segments_it_may_not_list(location: &Location) {
        let cloud = cloud(location).await;
        let open = [("x-container-meta-access-control-allow-origin", "*"), ("x-container-read", ".r:*")];
        for container in ["open", "segments"] {
            cloud.owner("PUT", &format!("/v1/AUTH_1/{container}"), &open).await;
        }
        cloud.send("PUT", "/v1/AUTH_1/segments/1", &[], "x").await;
        cloud.send("PUT", "/v1/AUTH_1/open/large", &[("x-object-manifest", "segments/1"), ("content-length", "0")], "").await;
        let refused = cloud.call("", "GET", "/v1/AUTH_1/open/large", &[("origin", "http://a.example")], "").await;
        assert_eq!((refused.status.as_u16(), refused.header("access-control-allow-origin")), (401, ""));
        cloud.owner("POST", "/v1/AUTH_1/segments", &[("x-container-read", ".r:*,.rlistings")]).await;
        let got = cloud.call("", "GET", "/v1/AUTH_1/open/large", &[("origin", "http://a.example")], "").await;
        assert_eq!((got.text(), got.header("access-control-allow-origin")), ("x", "*"));
    }
}

on_each_engine! {
    async fn a_failed_condition_has_the_media_type_of_a_page(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        cloud.send("PUT", "/v1/AUTH_1/c/o", &[("content-type", "image/png")], "x").await;
        let failed = cloud.owner("GET", "/v1/AUTH_1/c/o", &[("if-match", "other")]).await;
        assert_eq!((failed.status.as_u16(), failed.text(), failed.header("content-type")), (412, "", "text/html; charset=UTF-8"));
        let same = cloud.owner("GET", "/v1/AUTH_1/c/o", &[("if-none-match", "9dd4e461268c8034f5c8564e155c67a6")]).await;
        assert_eq!((same.status.as_u16(), same.header("content-type")), (304, "image/png"));
    }
}

on_each_engine! {
    async fn a_form_file_with_a_name_that_is_not_utf8_is_rejected(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let form = |name: &[u8]| {
            let head = b"--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"";
            [head, name, b"\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--B--\r\n"].concat()
        };
        let kind = [("content-type", "multipart/form-data; boundary=B")];
        let refused = cloud.call("owner", "POST", "/v1/AUTH_1/c", &kind, form(b"gr\xf6\xdfe.txt")).await;
        assert_eq!((refused.status.as_u16(), refused.text()), (412, "Invalid UTF8 or contains NULL"));
        let stored = cloud.call("owner", "POST", "/v1/AUTH_1/c", &kind, form("größe.txt".as_bytes())).await;
        assert_eq!(stored.status, 201);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c", &[]).await.text(), "größe.txt\n");
    }
}
