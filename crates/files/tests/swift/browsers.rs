use database::on_each_engine;

use crate::harness::cloud;

on_each_engine! {
    async fn pages_of_allowed_origins_may_ask(location: &Location) {
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
    async fn the_deployment_tells_about_itself(location: &Location) {
        let cloud = cloud(location).await;
        assert_eq!(cloud.call("", "GET", "/healthcheck", &[], "").await.text(), "OK");
        assert!(cloud.call("", "GET", "/crossdomain.xml", &[], "").await.text().contains("<cross-domain-policy>"));
        let bad = cloud.owner("GET", "/v1/", &[]).await;
        assert_eq!((bad.status.as_u16(), bad.text()), (412, "Bad URL"));
        let info = cloud.call("", "GET", "/info", &[], "").await;
        let info: serde_json::Value = serde_json::from_str(info.text()).unwrap();
        for feature in ["slo", "dlo", "symlink", "object_versioning", "versioned_writes", "tempurl", "formpost", "staticweb",
            "bulk_upload", "bulk_delete", "account_quotas", "container_quotas", "etag_quoter"] {
            assert!(info[feature].is_object(), "{feature}");
        }
        assert_eq!(info["swift"]["policies"][1]["name"], "archive");
        assert_eq!(info["slo"]["max_manifest_segments"], 1000);
    }
}
