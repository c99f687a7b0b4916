use database::on_each_engine;

use files::Settings;

use crate::harness::{TOKENS, cloud, cloud_with};

on_each_engine! {
    async fn every_route_has_the_expected_status_for_every_caller(location: &Location) {
        let cloud = cloud(location).await;
        // Per route: the status for operator, owner, creator, observer, a user without roles, another tenant and nobody.
        let table: [(&str, &str, [u16; 7]); 16] = [
            ("GET", "/v1/AUTH_1", [200, 200, 200, 200, 403, 403, 401]),
            ("HEAD", "/v1/AUTH_1", [204, 204, 204, 204, 403, 403, 401]),
            ("POST", "/v1/AUTH_1", [204, 204, 403, 403, 403, 403, 401]),
            ("PUT", "/v1/AUTH_1", [202, 403, 403, 403, 403, 403, 401]),
            ("GET", "/v1/AUTH_1/c", [200, 200, 200, 200, 403, 403, 401]),
            ("HEAD", "/v1/AUTH_1/c", [204, 204, 204, 204, 403, 403, 401]),
            ("PUT", "/v1/AUTH_1/c", [202, 202, 202, 403, 403, 403, 401]),
            ("POST", "/v1/AUTH_1/c", [204, 204, 204, 403, 403, 403, 401]),
            ("DELETE", "/v1/AUTH_1/c", [409, 409, 403, 403, 403, 403, 401]),
            ("GET", "/v1/AUTH_1/c/o", [200, 200, 200, 200, 403, 403, 401]),
            ("HEAD", "/v1/AUTH_1/c/o", [200, 200, 200, 200, 403, 403, 401]),
            ("PUT", "/v1/AUTH_1/c/p", [201, 201, 201, 403, 403, 403, 401]),
            ("POST", "/v1/AUTH_1/c/o", [202, 202, 202, 403, 403, 403, 401]),
            ("COPY", "/v1/AUTH_1/c/o", [201, 201, 201, 403, 403, 403, 401]),
            ("DELETE", "/v1/AUTH_1/c/absent", [404, 404, 403, 403, 403, 403, 401]),
            ("DELETE", "/v1/AUTH_1", [204, 403, 403, 403, 403, 403, 401]),
        ];
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        cloud.put("/v1/AUTH_1/c/o", "x").await;
        for (method, path, expected) in table {
            let callers = TOKENS.iter().copied().chain([""]);
            // Callers with more rights last, since they may delete.
            for (token, status) in callers.zip(expected).collect::<Vec<_>>().into_iter().rev() {
                let headers: &[(&str, &str)] = match method {
                    "PUT" => &[("content-length", "0")],
                    "COPY" => &[("destination", "c/copy")],
                    _ => &[],
                };
                let answer = cloud.call(token, method, path, headers, "").await;
                assert_eq!(answer.status, status, "{method} {path} as {token:?}");
            }
        }
    }
}

on_each_engine! {
    async fn acls_grant_access_to_those_they_name(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-container-read", ".r:*"), ("x-container-write", "2:user2")]).await;
        cloud.put("/v1/AUTH_1/c/o", "x").await;
        assert_eq!(cloud.call("", "GET", "/v1/AUTH_1/c/o", &[], "").await.text(), "x");
        assert_eq!(cloud.call("", "GET", "/v1/AUTH_1/c", &[], "").await.status, 401);
        let put = cloud.call("stranger", "PUT", "/v1/AUTH_1/c/theirs", &[("content-length", "1")], "y").await;
        assert_eq!(put.status, 201);
        assert_eq!(cloud.call("stranger", "DELETE", "/v1/AUTH_1/c", &[], "").await.status, 403);
        let open = cloud.owner("POST", "/v1/AUTH_1/c", &[("x-container-read", ".r:*,.rlistings")]).await;
        assert_eq!(open.status, 204);
        let listed = cloud.call("", "GET", "/v1/AUTH_1/c", &[], "").await;
        assert_eq!((listed.text(), listed.header("x-container-read")), ("o\ntheirs\n", ""));
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/c", &[]).await.header("x-container-read"), ".r:*,.rlistings");
        assert_eq!(cloud.call("bogus", "GET", "/v1/AUTH_1/c/o", &[], "").await.status, 401);
    }
}

on_each_engine! {
    async fn unknown_routes_and_methods_are_rejected(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let wrong = cloud.owner("PATCH", "/v1/AUTH_1/c", &[]).await;
        assert_eq!((wrong.status.as_u16(), wrong.header("allow")), (405, "DELETE, GET, HEAD, OPTIONS, POST, PUT"));
        assert_eq!(cloud.owner("COPY", "/v1/AUTH_1/c", &[]).await.status, 405);
        let unauthorised = cloud.call("", "GET", "/v1/AUTH_1/c", &[], "").await;
        assert_eq!(unauthorised.header("www-authenticate"), "Swift realm=\"AUTH_1\"");
        assert!(unauthorised.text().starts_with("<html><h1>Unauthorized</h1>"));
        assert_eq!(cloud.owner("GET", "/v1//c/o", &[]).await.status, 404);
        let info = cloud.call("", "GET", "/info", &[], "").await;
        let info: serde_json::Value = serde_json::from_str(info.text()).unwrap();
        assert_eq!(info["swift"]["max_object_name_length"], 1024);
    }
}

on_each_engine! {
    async fn a_read_only_deployment_rejects_changes(location: &Location) {
        let cloud = cloud_with(location, Settings { read_only: true, ..Settings::default() }).await;
        for method in ["PUT", "POST", "DELETE", "COPY"] {
            let refused = cloud.owner(method, "/v1/AUTH_1/c/o", &[]).await;
            assert_eq!((refused.status.as_u16(), refused.text()), (405, "Writes are disabled for this account.\n"), "{method}");
        }
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1", &[]).await.status, 204);
        assert_eq!(cloud.call("operator", "PUT", "/v1/AUTH_1/c", &[], "").await.status, 201);
    }
}

on_each_engine! {
    async fn host_names_are_mapped_to_accounts_and_containers(location: &Location) {
        let cloud = cloud_with(location, Settings { storage_domains: vec!["example.com".into()], ..Settings::default() }).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-container-meta-web-listings", "true"), ("x-container-read", ".r:*,.rlistings")]).await;
        cloud.put("/v1/AUTH_1/c/dir/o", "x").await;
        let visit = |host: &'static str, path: &'static str| cloud.call("", "GET", path, {
            let pair: &'static [(&str, &str)] = Box::leak(Box::new([("host", host)]));
            pair
        }, "");
        assert_eq!(visit("c.auth-1.example.com:8080", "/dir/o").await.text(), "x");
        assert_eq!(visit("AUTH_1.example.com", "/c/dir/o").await.text(), "x");
        assert_eq!(visit("c.auth-1.example.com", "/dir").await.header("location"), "http://c.auth-1.example.com/dir/");
        let bad = visit("a.b.auth-1.example.com", "/dir/o").await;
        assert_eq!((bad.status.as_u16(), bad.text()), (400, "Bad domain in host header"));
        assert_eq!(visit("localhost", "/v1/AUTH_1/c/dir/o").await.text(), "x");
    }
}

on_each_engine! {
    async fn a_signed_url_does_not_accept_forms(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-container-meta-temp-url-key", "k")]).await;
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"k");
        let tag = aws_lc_rs::hmac::sign(&key, b"POST\n1389453500\n/v1/AUTH_1/c/o");
        let url = format!("/v1/AUTH_1/c/o?temp_url_sig={}&temp_url_expires=1389453500", hex::encode(tag.as_ref()));
        let form = "--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\nX\r\n--B--\r\n";
        let answer = cloud.call("", "POST", &url, &[("content-type", "multipart/form-data; boundary=B")], form).await;
        assert_eq!(answer.status, 401);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c", &[]).await.text(), "");
    }
}
