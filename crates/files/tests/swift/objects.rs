use database::on_each_engine;

use crate::harness::{Cloud, cloud};

async fn with_object(location: &database::Location) -> Cloud {
    let cloud = cloud(location).await;
    cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
    let body = "0123456789";
    let put = cloud
        .call(
            "owner",
            "PUT",
            "/v1/AUTH_1/c/o.txt",
            &[
                ("content-length", "10"),
                ("content-type", "text/x-test"),
                ("etag", "781e5e245d69b566979b86e28d23f2c7"),
                ("x-object-meta-screenie", "Hello World"),
                ("content-disposition", "attachment"),
            ],
            body,
        )
        .await;
    assert_eq!(put.status, 201);
    assert_eq!(put.header("etag"), "781e5e245d69b566979b86e28d23f2c7");
    assert_eq!(put.header("last-modified"), "Sat, 11 Jan 2014 15:17:03 GMT");
    cloud
}

on_each_engine! {
    async fn an_object_can_be_read_whole_and_by_range(location: &Location) {
        let cloud = with_object(location).await;
        let get = cloud.owner("GET", "/v1/AUTH_1/c/o.txt", &[]).await;
        assert_eq!((get.status.as_u16(), get.text()), (200, "0123456789"));
        for (name, value) in [
            ("content-type", "text/x-test"), ("content-length", "10"), ("x-object-meta-screenie", "Hello World"),
            ("etag", "781e5e245d69b566979b86e28d23f2c7"), ("accept-ranges", "bytes"),
            ("x-timestamp", "1389453423.00000"), ("content-disposition", "attachment"),
        ] {
            assert_eq!(get.header(name), value, "{name}");
        }
        let head = cloud.owner("HEAD", "/v1/AUTH_1/c/o.txt", &[]).await;
        assert_eq!((head.status.as_u16(), head.header("content-length"), head.text()), (200, "10", ""));
        let range = cloud.owner("GET", "/v1/AUTH_1/c/o.txt", &[("range", "bytes=2-4")]).await;
        assert_eq!((range.status.as_u16(), range.text(), range.header("content-range")), (206, "234", "bytes 2-4/10"));
        let suffix = cloud.owner("GET", "/v1/AUTH_1/c/o.txt", &[("range", "bytes=-3")]).await;
        assert_eq!(suffix.text(), "789");
        let outside = cloud.owner("GET", "/v1/AUTH_1/c/o.txt", &[("range", "bytes=10-")]).await;
        assert_eq!((outside.status.as_u16(), outside.header("content-range")), (416, "bytes */10"));
        let several = cloud.owner("GET", "/v1/AUTH_1/c/o.txt", &[("range", "bytes=0-1,8-")]).await;
        assert_eq!(several.status, 206);
        let boundary = several.header("content-type").strip_prefix("multipart/byteranges;boundary=").unwrap().to_owned();
        let expected = format!(
            "--{boundary}\r\nContent-Type: text/x-test\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n--{boundary}\r\nContent-Type: text/x-test\r\nContent-Range: bytes 8-9/10\r\n\r\n89\r\n--{boundary}--"
        );
        assert_eq!(several.text(), expected);
        assert_eq!(several.header("content-length"), expected.len().to_string());
    }
}

on_each_engine! {
    async fn conditional_requests_are_evaluated(location: &Location) {
        let cloud = with_object(location).await;
        let path = "/v1/AUTH_1/c/o.txt";
        let get = |headers: &'static [(&'static str, &'static str)]| cloud.owner("GET", path, headers);
        assert_eq!(get(&[("if-none-match", "\"781e5e245d69b566979b86e28d23f2c7\"")]).await.status, 304);
        assert_eq!(get(&[("if-match", "\"other\"")]).await.status, 412);
        assert_eq!(get(&[("if-modified-since", "Sat, 11 Jan 2014 15:17:03 GMT")]).await.status, 304);
        assert_eq!(get(&[("if-unmodified-since", "Sat, 11 Jan 2014 15:17:02 GMT")]).await.status, 412);
        assert_eq!(get(&[("range", "bytes=0-1"), ("if-range", "\"other\"")]).await.text(), "0123456789");
        let put = cloud.owner("PUT", path, &[("if-none-match", "*")]).await;
        assert_eq!(put.status, 412);
        assert_eq!(cloud.owner("PUT", path, &[("if-none-match", "\"x\"")]).await.status, 400);
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c/new", &[("if-none-match", "*")]).await.status, 201);
        assert_eq!(get(&[]).await.text(), "0123456789");
    }
}

on_each_engine! {
    async fn metadata_is_replaced_by_post(location: &Location) {
        let cloud = with_object(location).await;
        cloud.clock.advance(std::time::Duration::from_secs(5));
        let post = cloud.owner("POST", "/v1/AUTH_1/c/o.txt", &[("x-object-meta-new", "1")]).await;
        assert_eq!(post.status, 202);
        let head = cloud.owner("HEAD", "/v1/AUTH_1/c/o.txt", &[]).await;
        assert_eq!((head.header("x-object-meta-new"), head.header("x-object-meta-screenie")), ("1", ""));
        assert_eq!((head.header("content-type"), head.header("content-disposition")), ("text/x-test", ""));
        assert_eq!(head.header("last-modified"), "Sat, 11 Jan 2014 15:17:08 GMT");
        cloud.owner("POST", "/v1/AUTH_1/c/o.txt", &[("content-type", "text/other")]).await;
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/c/o.txt", &[]).await.header("content-type"), "text/other");
        assert_eq!(cloud.owner("POST", "/v1/AUTH_1/c/absent", &[]).await.status, 404);
    }
}

on_each_engine! {
    async fn copies_share_bytes_and_remain_after_their_source_is_deleted(location: &Location) {
        let cloud = with_object(location).await;
        let copy = cloud.owner("COPY", "/v1/AUTH_1/c/o.txt", &[("destination", "c/copy%20one"), ("x-object-meta-extra", "2")]).await;
        assert_eq!(copy.status, 201);
        assert_eq!(copy.header("x-copied-from"), "c/o.txt");
        assert_eq!(copy.header("x-copied-from-account"), "AUTH_1");
        let by_put = cloud.owner("PUT", "/v1/AUTH_1/c/two", &[("x-copy-from", "/c/o.txt"), ("x-fresh-metadata", "true")]).await;
        assert_eq!(by_put.status, 201);
        assert_eq!(cloud.owner("DELETE", "/v1/AUTH_1/c/o.txt", &[]).await.status, 204);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/o.txt", &[]).await.status, 404);
        let one = cloud.owner("GET", "/v1/AUTH_1/c/copy%20one", &[]).await;
        assert_eq!((one.text(), one.header("x-object-meta-screenie"), one.header("x-object-meta-extra")), ("0123456789", "Hello World", "2"));
        let two = cloud.owner("GET", "/v1/AUTH_1/c/two", &[]).await;
        assert_eq!((two.text(), two.header("x-object-meta-screenie")), ("0123456789", ""));
        let head = cloud.owner("HEAD", "/v1/AUTH_1/c", &[]).await;
        assert_eq!((head.header("x-container-object-count"), head.header("x-container-bytes-used")), ("2", "20"));
        assert_eq!(cloud.owner("COPY", "/v1/AUTH_1/c/two", &[]).await.status, 412);
        assert_eq!(cloud.owner("COPY", "/v1/AUTH_1/c/two", &[("destination", "nocontainer")]).await.status, 412);
        assert_eq!(cloud.owner("COPY", "/v1/AUTH_1/c/two", &[("destination", "missing/x")]).await.status, 404);
    }
}

on_each_engine! {
    async fn a_download_has_the_requested_file_name(location: &Location) {
        let cloud = with_object(location).await;
        let named = cloud.owner("GET", "/v1/AUTH_1/c/o.txt?filename=my%20file.txt", &[]).await;
        assert_eq!(named.header("content-disposition"), "attachment; filename=\"my file.txt\"; filename*=UTF-8''my%20file.txt");
        let inline = cloud.owner("GET", "/v1/AUTH_1/c/o.txt?inline", &[]).await;
        assert_eq!(inline.header("content-disposition"), "inline");
    }
}
