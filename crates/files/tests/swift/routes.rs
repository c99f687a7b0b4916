use database::on_each_engine;

use crate::harness::{TOKENS, cloud};

on_each_engine! {
    async fn every_route_as_every_caller(location: &Location) {
        let cloud = cloud(location).await;
        // Per route: what operator, owner, creator, observer, a user without roles, another tenant and nobody get.
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
            // The mightiest last, since it may delete.
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
    async fn acls_open_what_they_name(location: &Location) {
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
    async fn what_is_no_route_is_told_so(location: &Location) {
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
