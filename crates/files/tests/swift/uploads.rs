use axum::body::Body;
use bytes::Bytes;
use database::on_each_engine;

use crate::harness::cloud;

on_each_engine! {
    async fn a_wrong_etag_stores_nothing(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        for etag in ["805120e285a7ed28f74024422fe3594", "00000000000000000000000000000000", "x"] {
            let put = cloud.call("owner", "PUT", "/v1/AUTH_1/c/o", &[("etag", etag), ("content-length", "3")], "abc").await;
            assert_eq!(put.status, 422, "{etag}");
        }
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/o", &[]).await.status, 404);
        let quoted = "\"900150983cd24fb0d6963f7d28e17f72\"";
        let put = cloud.call("owner", "PUT", "/v1/AUTH_1/c/o", &[("etag", quoted), ("content-length", "3")], "abc").await;
        assert_eq!(put.status, 201);
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/c", &[]).await.header("x-container-bytes-used"), "3");
    }
}

on_each_engine! {
    async fn bodies_must_have_the_announced_length(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let path = "/v1/AUTH_1/c/o";
        assert_eq!(cloud.call("owner", "PUT", path, &[("content-length", "5")], "abc").await.status, 499);
        assert_eq!(cloud.call("owner", "PUT", path, &[], "abc").await.status, 411);
        let huge = cloud.call("owner", "PUT", path, &[("content-length", "5368709123")], "abc").await;
        assert_eq!((huge.status.as_u16(), huge.text()), (413, "Your request is too large."));
        let name = "n".repeat(1025);
        let long = cloud.put(&format!("/v1/AUTH_1/c/{name}"), "x").await;
        assert_eq!((long.status.as_u16(), long.text()), (400, "Object name length of 1025 longer than 1024"));
        assert_eq!(cloud.put("/v1/AUTH_1/missing/o", "x").await.status, 404);
        assert_eq!(cloud.owner("GET", path, &[]).await.status, 404);
    }
}

on_each_engine! {
    async fn large_and_chunked_uploads_are_read_back_whole(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        for length in [0usize, 1 << 20, (1 << 20) + 1, 3_500_000] {
            let data: Vec<u8> = (0..length).map(|i| u8::try_from(i * 13 % 251).unwrap()).collect();
            let pieces: Vec<Result<Bytes, std::io::Error>> =
                data.chunks(70_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let body = Body::from_stream(futures_util::stream::iter(pieces));
            let put = cloud.call("owner", "PUT", "/v1/AUTH_1/c/o", &[("transfer-encoding", "chunked")], body).await;
            assert_eq!(put.status, 201);
            assert_eq!(put.header("etag"), hex::encode(fast_md5::digest(&data)));
            let get = cloud.owner("GET", "/v1/AUTH_1/c/o", &[]).await;
            assert!(get.body == data, "{length} bytes");
        }
        let head = cloud.owner("HEAD", "/v1/AUTH_1/c", &[]).await;
        assert_eq!((head.header("x-container-object-count"), head.header("x-container-bytes-used")), ("1", "3500000"));
    }
}

on_each_engine! {
    async fn an_incomplete_upload_stores_nothing(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let pieces = vec![Ok(Bytes::from(vec![1; 2_000_000])), Err(std::io::Error::other("gone"))];
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let put = cloud.call("owner", "PUT", "/v1/AUTH_1/c/o", &[("transfer-encoding", "chunked")], body).await;
        assert_eq!(put.status, 499);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/o", &[]).await.status, 404);
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1", &[]).await.header("x-account-bytes-used"), "0");
    }
}

on_each_engine! {
    async fn a_form_stores_several_files(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let form = "--B\r\nContent-Disposition: form-data; name=\"prefix\"\r\n\r\nphotos/\r\n\
            --B\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\nJPEG\r\n\
            --B\r\nContent-Disposition: form-data; name=\"files\"; filename=\"b.txt\"\r\n\r\ntext\r\n\
            --B\r\nContent-Disposition: form-data; name=\"files\"; filename=\"\"\r\n\r\n\r\n--B--\r\n";
        let headers = [("content-type", "multipart/form-data; boundary=B")];
        let answer = cloud.call("owner", "POST", "/v1/AUTH_1/c", &headers, form).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let names: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
        assert_eq!(names[0]["name"], "photos/a.jpg");
        assert_eq!(names[1]["content_type"], "text/plain");
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/photos/a.jpg", &[]).await.text(), "JPEG");
        let refused = cloud.call("observer", "POST", "/v1/AUTH_1/c", &headers, form).await;
        assert_eq!(refused.status, 403);
        let broken = cloud.call("owner", "POST", "/v1/AUTH_1/c", &headers, "--B\r\nnonsense").await;
        assert_eq!(broken.status, 400);
        let redirected = form.replace("name=\"prefix\"\r\n\r\nphotos/", "name=\"redirect\"\r\n\r\nhttp://localhost/done");
        let answer = cloud.call("owner", "POST", "/v1/AUTH_1/c", &headers, redirected).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "http://localhost/done"));
    }
}
