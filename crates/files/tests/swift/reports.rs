//! Bugs that users of clients reported: paths, types and conditions that Nephos once handled differently from Swift.

use database::on_each_engine;

use crate::harness::cloud;

on_each_engine! {
    async fn an_encoded_slash_separates_too(location: &Location) {
        let cloud = cloud(location).await;
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await.status, 201);
        assert_eq!(cloud.put("/v1/AUTH_1/c%2Fo%2Fp", "body").await.status, 201);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/o/p", &[]).await.text(), "body");
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1", &[]).await.text(), "c\n");
        // Encoded twice, it is part of the name.
        assert_eq!(cloud.put("/v1/AUTH_1/c/a%252Fb", "twice").await.status, 201);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c?prefix=a", &[]).await.text(), "a%2Fb\n");
    }
}

on_each_engine! {
    async fn both_versions_listed_by_info_are_served(location: &Location) {
        let cloud = cloud(location).await;
        assert_eq!(cloud.owner("PUT", "/v1.0/AUTH_1/c", &[]).await.status, 201);
        assert_eq!(cloud.put("/v1.0/AUTH_1/c/o", "body").await.status, 201);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/o", &[]).await.text(), "body");
    }
}

on_each_engine! {
    async fn preconditions_of_a_copy_apply_to_the_source(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let put = cloud.put("/v1/AUTH_1/c/o", "one").await;
        let etag = put.header("etag").to_owned();
        let long_ago = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (name, value, status) in [
            ("if-match", "nope", 412),
            ("if-unmodified-since", long_ago, 412),
            ("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT", 304),
            ("if-modified-since", long_ago, 201),
            ("if-match", &etag, 201),
            ("if-match", "*", 201),
        ] {
            for (method, path, header) in
                [("COPY", "/v1/AUTH_1/c/o", ("destination", "c/copy")), ("PUT", "/v1/AUTH_1/c/copy", ("x-copy-from", "c/o"))]
            {
                cloud.owner("DELETE", "/v1/AUTH_1/c/copy", &[]).await;
                let copied = cloud.owner(method, path, &[header, (name, value)]).await;
                assert_eq!(copied.status, status, "{method} {name}: {value}");
                let there = cloud.owner("GET", "/v1/AUTH_1/c/copy", &[]).await.status;
                assert_eq!(there, if status == 201 { 200 } else { 404 }, "{method} {name}: {value}");
            }
        }
        for (value, status) in [("*", 412), ("nope", 404)] {
            let headers = [("destination", "c/copy"), ("if-match", value)];
            assert_eq!(cloud.owner("COPY", "/v1/AUTH_1/c/none", &headers).await.status, status, "{value}");
        }
    }
}

on_each_engine! {
    async fn types_are_listed_and_guessed_as_swift_does(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        for (name, sent, expected) in [
            ("a", "text/plain; a=\"b;c\"", "text/plain;a=\"b;c\""),
            ("b", "text/plain; a=\"b\\\";c\" ; d = e", "text/plain;a=\"b\\\";c\";d=e"),
            ("c", "text/plain; charset=utf-8", "text/plain;charset=utf-8"),
        ] {
            cloud.send("PUT", &format!("/v1/AUTH_1/c/{name}"), &[("content-type", sent)], "x").await;
            let listed = cloud.owner("GET", &format!("/v1/AUTH_1/c?format=json&prefix={name}"), &[]).await;
            let listed: serde_json::Value = serde_json::from_str(listed.text()).unwrap();
            assert_eq!(listed[0]["content_type"], expected, "{sent}");
        }
        cloud.put("/v1/AUTH_1/c/package.rpm", "x").await;
        let head = cloud.owner("HEAD", "/v1/AUTH_1/c/package.rpm", &[]).await;
        assert_eq!(head.header("content-type"), "application/x-rpm");
        let listed = cloud.owner("GET", "/v1/AUTH_1/c?prefix=%FF", &[]).await;
        assert_eq!(listed.status, 400);
        assert_eq!(listed.text(), "\"prefix\" parameter not valid UTF-8");
    }
}

on_each_engine! {
    async fn a_manifest_may_begin_with_a_byte_order_mark(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        cloud.put("/v1/AUTH_1/c/part", "part").await;
        let manifest = "\u{feff}[{\"path\": \"/c/part\"}]";
        let put = cloud.send("PUT", "/v1/AUTH_1/c/whole?multipart-manifest=put", &[], manifest).await;
        assert_eq!(put.status, 201, "{}", put.text());
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/whole", &[]).await.text(), "part");
    }
}
