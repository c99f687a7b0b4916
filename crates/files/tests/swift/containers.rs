use database::on_each_engine;

use crate::harness::cloud;

on_each_engine! {
    async fn a_container_is_created_updated_and_deleted_when_empty(location: &Location) {
        let cloud = cloud(location).await;
        let made = cloud.owner("PUT", "/v1/AUTH_1/steven", &[("x-container-meta-book", "TomSawyer")]).await;
        assert_eq!(made.status, 201);
        assert_eq!(made.header("content-type"), "text/html; charset=UTF-8");
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/steven", &[]).await.status, 202);
        let head = cloud.owner("HEAD", "/v1/AUTH_1/steven", &[]).await;
        assert_eq!((head.status.as_u16(), head.header("x-container-meta-book")), (204, "TomSawyer"));
        let post = cloud.owner("POST", "/v1/AUTH_1/steven", &[("x-remove-container-meta-book", "x"), ("x-container-meta-b", "2")]);
        assert_eq!(post.await.status, 204);
        let head = cloud.owner("HEAD", "/v1/AUTH_1/steven", &[]).await;
        assert_eq!((head.header("x-container-meta-book"), head.header("x-container-meta-b")), ("", "2"));
        cloud.put("/v1/AUTH_1/steven/o", "1").await;
        assert_eq!(cloud.owner("DELETE", "/v1/AUTH_1/steven", &[]).await.status, 409);
        cloud.owner("DELETE", "/v1/AUTH_1/steven/o", &[]).await;
        assert_eq!(cloud.owner("DELETE", "/v1/AUTH_1/steven", &[]).await.status, 204);
        assert_eq!(cloud.owner("DELETE", "/v1/AUTH_1/steven", &[]).await.status, 404);
        assert_eq!(cloud.owner("POST", "/v1/AUTH_1/steven", &[]).await.status, 404);
    }
}

on_each_engine! {
    async fn a_container_listing_is_as_in_the_seeds(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-container-meta-book", "TomSawyer")]).await;
        cloud.put("/v1/AUTH_1/c/goodbye", "goodbye, world").await;
        cloud.put("/v1/AUTH_1/c/helloworld", "hello, world").await;
        let answer = cloud.owner("GET", "/v1/AUTH_1/c?format=json", &[]).await;
        for (name, value) in [
            ("x-container-object-count", "2"), ("x-container-bytes-used", "26"),
            ("x-container-meta-book", "TomSawyer"), ("content-type", "application/json; charset=utf-8"),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        assert_eq!(
            answer.text(),
            r#"[{"bytes": 14, "hash": "910ad23ee8a7a4e9b8b1c7e4f5f5b8a6", "name": "goodbye", "content_type": "application/octet-stream", "last_modified": "2014-01-11T15:17:03.000000"}, "#.to_owned()
                .replace("910ad23ee8a7a4e9b8b1c7e4f5f5b8a6", &hex::encode(fast_md5::digest(b"goodbye, world")))
                + &r#"{"bytes": 12, "hash": "H", "name": "helloworld", "content_type": "application/octet-stream", "last_modified": "2014-01-11T15:17:03.000000"}]"#
                    .replace('H', &hex::encode(fast_md5::digest(b"hello, world")))
        );
    }
}

on_each_engine! {
    async fn listings_have_pages_delimiters_and_reverse_order(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        for name in ["a", "b/1", "b/2", "b/3/x", "c", "d/1", "%C3%A9", "z%20z"] {
            assert_eq!(cloud.put(&format!("/v1/AUTH_1/c/{name}"), "x").await.status, 201);
        }
        for n in 0..120 {
            cloud.put(&format!("/v1/AUTH_1/c/many/{n:03}"), "x").await;
        }
        for (query, expected) in [
            ("delimiter=/", "a\nb/\nc\nd/\nmany/\nz z\né\n"),
            ("delimiter=/&reverse=true", "é\nz z\nmany/\nd/\nc\nb/\na\n"),
            ("prefix=b/&delimiter=/", "b/1\nb/2\nb/3/\n"),
            ("path=b", "b/1\nb/2\n"),
            ("limit=2", "a\nb/1\n"),
            ("limit=2&marker=b/1", "b/2\nb/3/x\n"),
            ("end_marker=b/2", "a\nb/1\n"),
            ("delimiter=/&marker=b/", "c\nd/\nmany/\nz z\né\n"),
            ("delimiter=/&limit=2&marker=c", "d/\nmany/\n"),
            ("marker=z&prefix=z", "z z\n"),
            ("prefix=nothing", ""),
        ] {
            let answer = cloud.owner("GET", &format!("/v1/AUTH_1/c?{query}"), &[]).await;
            assert_eq!(answer.text(), expected, "{query}");
            assert_eq!(answer.status, if expected.is_empty() { 204 } else { 200 }, "{query}");
        }
        let json = cloud.owner("GET", "/v1/AUTH_1/c?format=json&prefix=b/3&delimiter=/", &[]).await;
        assert_eq!(json.text(), r#"[{"subdir": "b/3/"}]"#);
        let xml = cloud.owner("GET", "/v1/AUTH_1/c?format=xml&prefix=b/3&delimiter=/", &[]).await;
        assert!(xml.text().ends_with("<container name=\"c\"><subdir name=\"b/3/\"><name>b/3/</name></subdir></container>"));
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c?marker=%ff", &[]).await.status, 400);
    }
}

on_each_engine! {
    async fn names_and_metadata_are_limited_in_length(location: &Location) {
        let cloud = cloud(location).await;
        let long = "n".repeat(257);
        let refused = cloud.owner("PUT", &format!("/v1/AUTH_1/{long}"), &[]).await;
        assert_eq!((refused.status.as_u16(), refused.text()), (400, "Container name length of 257 longer than 256"));
        assert_eq!(cloud.owner("PUT", &format!("/v1/AUTH_1/{}", &long[..256]), &[]).await.status, 201);
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/%ff", &[]).await.status, 412);
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/a%00", &[]).await.status, 412);
        let refused = cloud.owner("PUT", "/v1/AUTH_1/m", &[("x-container-meta-k", &long)]).await;
        assert_eq!((refused.status.as_u16(), refused.text()), (400, "Metadata value longer than 256: x-container-meta-K"));
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/m", &[]).await.status, 404, "nothing changed");
        let bad_acl = cloud.owner("PUT", "/v1/AUTH_1/m", &[("x-container-read", ".unknown:x")]).await;
        assert_eq!(bad_acl.status, 400);
    }
}
