use database::on_each_engine;

use crate::harness::{Cloud, cloud};

fn md5(text: &str) -> String {
    hex::encode(fast_md5::digest(text.as_bytes()))
}

async fn with_segments(location: &database::Location) -> Cloud {
    let cloud = cloud(location).await;
    cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
    cloud.owner("PUT", "/v1/AUTH_1/s", &[]).await;
    for (name, body) in [("p/1", "one,"), ("p/2", "two,"), ("p/3", "three")] {
        assert_eq!(cloud.put(&format!("/v1/AUTH_1/s/{name}"), body).await.status, 201);
    }
    cloud
}

const PUT: &str = "/v1/AUTH_1/c/big?multipart-manifest=put";

on_each_engine! {
    async fn a_static_large_object_is_read_as_one(location: &Location) {
        let cloud = with_segments(location).await;
        let manifest = r#"[{"path": "/s/p/1", "size_bytes": 4}, {"data": "KyE="}, {"path": "/s/p/3", "range": "1-2"}, {"path": "/s/p/2"}]"#;
        let etag = md5(&format!("{}{}{}:1-2;{}", md5("one,"), md5("+!"), md5("three"), md5("two,")));
        let put = cloud.send("PUT", PUT, &[("content-type", "text/big"), ("x-object-meta-a", "1")], manifest).await;
        assert_eq!((put.status.as_u16(), put.header("etag")), (201, format!("\"{etag}\"").as_str()));
        let get = cloud.owner("GET", "/v1/AUTH_1/c/big", &[]).await;
        assert_eq!((get.text(), get.header("content-type")), ("one,+!hrtwo,", "text/big"));
        assert_eq!((get.header("x-static-large-object"), get.header("x-object-meta-a")), ("True", "1"));
        let head = cloud.owner("HEAD", "/v1/AUTH_1/c/big", &[]).await;
        assert_eq!((head.header("content-length"), head.header("etag")), ("12", format!("\"{etag}\"").as_str()));
        let range = cloud.owner("GET", "/v1/AUTH_1/c/big", &[("range", "bytes=3-7")]).await;
        assert_eq!((range.status.as_u16(), range.text(), range.header("content-range")), (206, ",+!hr", "bytes 3-7/12"));
        let part = cloud.owner("GET", "/v1/AUTH_1/c/big?part-number=3", &[]).await;
        assert_eq!((part.status.as_u16(), part.text(), part.header("x-parts-count")), (206, "hr", "4"));
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/big?part-number=5", &[]).await.status, 416);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/big?part-number=0", &[]).await.status, 400);
        let matched = cloud.owner("GET", "/v1/AUTH_1/c/big", &[("if-none-match", &etag)]).await;
        assert_eq!(matched.status, 304);
        let listed = cloud.owner("GET", "/v1/AUTH_1/c?format=json", &[]).await;
        let listed: serde_json::Value = serde_json::from_str(listed.text()).unwrap();
        assert_eq!((&listed[0]["bytes"], &listed[0]["slo_etag"]), (&12.into(), &format!("\"{etag}\"").into()));
        // A manifest that refers to another one, and a copy of the whole.
        let outer = r#"[{"path": "/c/big"}, {"path": "/s/p/1"}]"#;
        cloud.send("PUT", "/v1/AUTH_1/c/outer?multipart-manifest=put", &[], outer).await;
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/outer", &[("range", "bytes=10-13")]).await.text(), "o,on");
        cloud.owner("COPY", "/v1/AUTH_1/c/outer", &[("destination", "c/flat")]).await;
        let flat = cloud.owner("GET", "/v1/AUTH_1/c/flat", &[]).await;
        assert_eq!((flat.text(), flat.header("x-static-large-object")), ("one,+!hrtwo,one,", ""));
    }
}

on_each_engine! {
    async fn a_manifest_can_be_shown_copied_and_deleted_with_its_segments(location: &Location) {
        let cloud = with_segments(location).await;
        let manifest = format!(r#"[{{"etag": "{}", "path": "/s/p/1", "size_bytes": 4}}]"#, md5("one,"));
        cloud.send("PUT", PUT, &[], &manifest).await;
        let raw = cloud.owner("GET", "/v1/AUTH_1/c/big?multipart-manifest=get&format=raw", &[]).await;
        assert_eq!(raw.text(), manifest);
        let kept = cloud.owner("GET", "/v1/AUTH_1/c/big?multipart-manifest=get", &[]).await;
        assert_eq!(kept.header("content-type"), "application/json; charset=utf-8");
        let kept: serde_json::Value = serde_json::from_str(kept.text()).unwrap();
        assert_eq!((&kept[0]["name"], &kept[0]["bytes"]), (&"/s/p/1".into(), &4.into()));
        let copy = cloud.owner("COPY", "/v1/AUTH_1/c/big?multipart-manifest=get", &[("destination", "c/twin")]).await;
        assert_eq!(copy.status, 201);
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/c/twin", &[]).await.header("x-static-large-object"), "True");
        let delete = cloud.owner("DELETE", "/v1/AUTH_1/c/big?multipart-manifest=delete", &[("accept", "application/json")]).await;
        assert_eq!(delete.text(), r#"{"Response Status": "200 OK", "Response Body": "", "Number Deleted": 2, "Number Not Found": 0, "Errors": []}"#);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/s/p/1", &[]).await.status, 404);
        // The other manifest's segment is missing: that results in a status, not in an aborted response.
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/twin", &[]).await.status, 409);
        cloud.send("PUT", PUT, &[], r#"[{"path": "/s/p/2"}]"#).await;
        assert_eq!(cloud.owner("DELETE", "/v1/AUTH_1/c/big?multipart-manifest=delete&async=on", &[]).await.status, 204);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/s/p/2", &[]).await.status, 404);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/big", &[]).await.status, 404);
    }
}

on_each_engine! {
    async fn an_invalid_manifest_is_rejected(location: &Location) {
        let cloud = with_segments(location).await;
        for (manifest, headers, status, text) in [
            ("{}", &[][..], 400, "Manifest must be a list.\n"),
            (r#"[{"path": "/s/absent"}]"#, &[], 400, "Errors:\n/s/absent, 404 Not Found\n"),
            (r#"[{"path": "/s/p/1", "size_bytes": 5, "etag": "x"}]"#, &[], 400, "Errors:\n/s/p/1, Size Mismatch\n/s/p/1, Etag Mismatch\n"),
            (r#"[{"path": "/s/p/1"}]"#, &[("etag", "0")], 422, ""),
        ] {
            let put = cloud.send("PUT", PUT, headers, manifest).await;
            assert_eq!(put.status, status, "{manifest}");
            assert!(text.is_empty() || put.text() == text, "{}", put.text());
        }
        let beating = cloud.send("PUT", &format!("{PUT}&heartbeat=on"), &[], r#"[{"path": "/s/absent"}]"#).await;
        assert_eq!(beating.status, 202);
        assert!(beating.text().starts_with(" \r\n\r\nResponse Body: Bad Request\n"), "{}", beating.text());
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/c/big", &[]).await.status, 404, "nothing was stored");
        let reserved = cloud.send("PUT", "/v1/AUTH_1/c/big", &[("x-static-large-object", "true")], "x").await;
        assert_eq!(reserved.status, 400);
    }
}

on_each_engine! {
    async fn a_dynamic_large_object_consists_of_the_objects_with_its_prefix(location: &Location) {
        let cloud = with_segments(location).await;
        cloud.send("PUT", "/v1/AUTH_1/c/dyn", &[("x-object-manifest", "s/p/")], "").await;
        let get = cloud.owner("GET", "/v1/AUTH_1/c/dyn", &[]).await;
        let etag = md5(&format!("{}{}{}", md5("one,"), md5("two,"), md5("three")));
        assert_eq!((get.text(), get.header("etag")), ("one,two,three", format!("\"{etag}\"").as_str()));
        assert_eq!(get.header("x-object-manifest"), "s/p/");
        cloud.put("/v1/AUTH_1/s/p/4", ",four").await;
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/dyn", &[("range", "bytes=-6")]).await.text(), "e,four");
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/dyn", &[("range", "bytes=0-0,2-2")]).await.text(), "one,two,three,four");
        // The response to a range beyond the end contains only the length.
        cloud.send("PUT", "/v1/AUTH_1/c/void", &[("x-object-manifest", "s/none")], "longer than nothing").await;
        for (name, size) in [("dyn", 18), ("void", 0)] {
            let beyond = cloud.owner("GET", &format!("/v1/AUTH_1/c/{name}"), &[("range", "bytes=18-")]).await;
            assert_eq!(beyond.header("content-range"), format!("bytes */{size}"));
            assert_eq!((beyond.status.as_u16(), beyond.header("content-type")), (416, "text/html; charset=UTF-8"));
            for absent in ["etag", "last-modified", "x-timestamp", "x-object-manifest"] {
                assert!(!beyond.headers.contains_key(absent), "{name}: {absent}");
            }
        }
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/dyn?multipart-manifest=get", &[]).await.text(), "");
        cloud.owner("COPY", "/v1/AUTH_1/c/dyn?multipart-manifest=get", &[("destination", "c/twin")]).await;
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/c/twin", &[]).await.header("x-object-manifest"), "s/p/");
        for bad in ["s", "/s/p", "s/", "s//p", "s/p?x"] {
            let put = cloud.send("PUT", "/v1/AUTH_1/c/dyn", &[("x-object-manifest", bad)], "").await;
            assert_eq!((put.status.as_u16(), put.text()), (400, "X-Object-Manifest must be in the format container/prefix"), "{bad}");
        }
    }
}
