use database::on_each_engine;

use crate::harness::cloud;

on_each_engine! {
    async fn links_are_followed_to_their_targets(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        cloud.send("PUT", "/v1/AUTH_1/c/o", &[("content-type", "text/x")], "data").await;
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c/soft", &[("x-symlink-target", "c/o")]).await.status, 201);
        let get = cloud.owner("GET", "/v1/AUTH_1/c/soft", &[]).await;
        assert_eq!((get.text(), get.header("content-type"), get.header("content-location")), ("data", "text/x", "/v1/AUTH_1/c/o"));
        let own = cloud.owner("HEAD", "/v1/AUTH_1/c/soft?symlink=get", &[]).await;
        assert_eq!((own.header("content-length"), own.header("x-symlink-target"), own.header("content-type")), ("0", "c/o", "application/symlink"));
        let post = cloud.owner("POST", "/v1/AUTH_1/c/soft", &[("x-object-meta-a", "1")]).await;
        assert_eq!((post.status.as_u16(), post.header("location")), (307, "/v1/AUTH_1/c/o"));
        let etag = hex::encode(fast_md5::digest(b"data"));
        let fixed = [("x-symlink-target", "c/o"), ("x-symlink-target-etag", etag.as_str())];
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c/hard", &fixed).await.status, 201);
        let listed = cloud.owner("GET", "/v1/AUTH_1/c?format=json&prefix=hard", &[]).await;
        let listed: serde_json::Value = serde_json::from_str(listed.text()).unwrap();
        assert_eq!((&listed[0]["symlink_path"], &listed[0]["symlink_bytes"]), (&"/v1/AUTH_1/c/o".into(), &4.into()));
        cloud.put("/v1/AUTH_1/c/o", "other").await;
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/soft", &[]).await.text(), "other");
        let broken = cloud.owner("GET", "/v1/AUTH_1/c/hard", &[]).await;
        assert_eq!((broken.status.as_u16(), broken.header("content-location")), (409, "/v1/AUTH_1/c/o"));
        cloud.owner("DELETE", "/v1/AUTH_1/c/o", &[]).await;
        let lost = cloud.owner("GET", "/v1/AUTH_1/c/soft", &[]).await;
        assert_eq!((lost.status.as_u16(), lost.header("content-location")), (404, "/v1/AUTH_1/c/o"));
    }
}

on_each_engine! {
    async fn invalid_links_are_rejected(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        for (target, status) in [("c", 412), ("/c/o", 412), ("c/me", 400)] {
            assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c/me", &[("x-symlink-target", target)]).await.status, status, "{target}");
        }
        let full = cloud.send("PUT", "/v1/AUTH_1/c/me", &[("x-symlink-target", "c/o")], "x").await;
        assert_eq!((full.status.as_u16(), full.text()), (400, "Symlink requests require a zero byte body"));
        let missing = [("x-symlink-target", "c/o"), ("x-symlink-target-etag", "e")];
        let refused = cloud.owner("PUT", "/v1/AUTH_1/c/me", &missing).await;
        assert_eq!((refused.status.as_u16(), refused.text()), (409, "X-Symlink-Target does not exist"));
        for (name, target) in [("a", "c/b"), ("b", "c/d"), ("d", "c/e"), ("x", "c/y"), ("y", "c/x")] {
            cloud.owner("PUT", &format!("/v1/AUTH_1/c/{name}"), &[("x-symlink-target", target)]).await;
        }
        cloud.put("/v1/AUTH_1/c/e", "end").await;
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/b", &[]).await.text(), "end");
        for name in ["a", "x"] {
            let looped = cloud.owner("GET", &format!("/v1/AUTH_1/c/{name}"), &[]).await;
            assert_eq!((looped.status.as_u16(), looped.text()), (409, "Too many levels of symbolic links, maximum allowed is 2"));
        }
    }
}

on_each_engine! {
    async fn a_link_grants_no_access_to_its_target(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/open", &[("x-container-read", ".r:*")]).await;
        cloud.owner("PUT", "/v1/AUTH_1/closed", &[]).await;
        cloud.put("/v1/AUTH_1/closed/o", "secret").await;
        cloud.owner("PUT", "/v1/AUTH_1/open/link", &[("x-symlink-target", "closed/o")]).await;
        assert_eq!(cloud.call("", "GET", "/v1/AUTH_1/open/link", &[], "").await.status, 401);
        assert_eq!(cloud.call("stranger", "GET", "/v1/AUTH_1/open/link", &[], "").await.status, 403);
        cloud.owner("POST", "/v1/AUTH_1/closed", &[("x-container-read", "2:user2")]).await;
        assert_eq!(cloud.call("stranger", "GET", "/v1/AUTH_1/open/link", &[], "").await.text(), "secret");
    }
}
