use database::on_each_engine;

use crate::harness::cloud;

on_each_engine! {
    async fn a_containers_quota_is_enforced(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-container-meta-quota-bytes", "5"), ("x-container-meta-quota-count", "2")]).await;
        assert_eq!(cloud.put("/v1/AUTH_1/c/a", "123").await.status, 201);
        let over = cloud.put("/v1/AUTH_1/c/b", "456").await;
        assert_eq!((over.status.as_u16(), over.text()), (413, "Upload exceeds quota."));
        let chunked = cloud.call("owner", "PUT", "/v1/AUTH_1/c/b", &[("transfer-encoding", "chunked")], "456").await;
        assert_eq!(chunked.status, 413);
        assert_eq!(cloud.put("/v1/AUTH_1/c/b", "45").await.status, 201);
        assert_eq!(cloud.put("/v1/AUTH_1/c/d", "").await.status, 413, "the quota is two objects");
        assert_eq!(cloud.owner("COPY", "/v1/AUTH_1/c/a", &[("destination", "c/e")]).await.status, 413);
        let bad = cloud.owner("POST", "/v1/AUTH_1/c", &[("x-container-meta-quota-bytes", "many")]).await;
        assert_eq!((bad.status.as_u16(), bad.text()), (400, "Invalid bytes quota."));
    }
}

on_each_engine! {
    async fn only_the_operator_sets_account_quotas(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        cloud.owner("PUT", "/v1/AUTH_1/cold", &[("x-storage-policy", "Archive")]).await;
        for name in ["x-account-quota-bytes", "x-account-meta-quota-bytes", "x-remove-account-quota-bytes"] {
            assert_eq!(cloud.owner("POST", "/v1/AUTH_1", &[(name, "5")]).await.status, 403, "{name}");
        }
        let set = |name: &'static str, value: &'static str| cloud.call("operator", "POST", "/v1/AUTH_1", {
            let pair: &'static [(&str, &str)] = Box::leak(Box::new([(name, value)]));
            pair
        }, "");
        assert_eq!(set("x-account-quota-bytes", "many").await.status, 400);
        assert_eq!(set("x-account-quota-bytes", "5").await.status, 204);
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1", &[]).await.header("x-account-quota-bytes"), "5");
        assert_eq!(cloud.put("/v1/AUTH_1/c/a", "123456").await.status, 413);
        assert_eq!(cloud.put("/v1/AUTH_1/c/a", "12345").await.status, 201);
        let by_operator = cloud.call("operator", "PUT", "/v1/AUTH_1/c/b", &[("content-length", "1")], "x").await;
        assert_eq!(by_operator.status, 201);
        set("x-remove-account-quota-bytes", "x").await;
        set("x-account-quota-count-policy-archive", "1").await;
        assert_eq!(cloud.put("/v1/AUTH_1/cold/a", "1").await.status, 201);
        let over = cloud.put("/v1/AUTH_1/cold/b", "1").await;
        assert_eq!((over.status.as_u16(), over.text()), (413, "Upload exceeds policy quota."));
        assert_eq!(cloud.put("/v1/AUTH_1/c/d", "1").await.status, 201);
        let head = cloud.owner("HEAD", "/v1/AUTH_1", &[]).await;
        assert_eq!((head.header("x-account-storage-policy-archive-object-count"), head.header("x-account-object-count")), ("1", "4"));
    }
}

on_each_engine! {
    async fn a_containers_policy_cannot_be_changed(location: &Location) {
        let cloud = cloud(location).await;
        let unknown = cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-storage-policy", "gold")]).await;
        assert_eq!((unknown.status.as_u16(), unknown.text()), (400, "Invalid X-Storage-Policy 'gold'"));
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-storage-policy", "archive")]).await.status, 201);
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/c", &[]).await.header("x-storage-policy"), "archive");
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-storage-policy", "default")]).await.status, 409);
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await.status, 202);
    }
}

on_each_engine! {
    async fn an_account_acl_grants_three_levels_of_access(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-container-meta-temp-url-key", "k")]).await;
        cloud.put("/v1/AUTH_1/c/o", "x").await;
        let stranger = |method: &'static str, path: &'static str| cloud.call("stranger", method, path, &[("content-length", "0")], "");
        for (list, expected) in [
            ("read-only", [200, 200, 403, 403]), ("read-write", [200, 200, 201, 403]), ("admin", [200, 200, 201, 204]),
        ] {
            let acl = format!(r#"{{"{list}": ["tenant2:user2"]}}"#);
            assert_eq!(cloud.owner("POST", "/v1/AUTH_1", &[("x-account-access-control", &acl)]).await.status, 204);
            let found = [
                stranger("GET", "/v1/AUTH_1").await.status.as_u16(), stranger("GET", "/v1/AUTH_1/c/o").await.status.as_u16(),
                stranger("PUT", "/v1/AUTH_1/c/p").await.status.as_u16(), stranger("POST", "/v1/AUTH_1").await.status.as_u16(),
            ];
            assert_eq!(found, expected, "{list}");
            let key = stranger("HEAD", "/v1/AUTH_1/c").await;
            assert_eq!(key.header("x-container-meta-temp-url-key"), if list == "admin" { "k" } else { "" });
            assert_eq!(stranger("DELETE", "/v1/AUTH_1").await.status, 403);
        }
        let bad = cloud.owner("POST", "/v1/AUTH_1", &[("x-account-access-control", "[]")]).await;
        assert_eq!((bad.status.as_u16(), bad.text()), (400, "X-Account-Access-Control invalid: Syntax error in JSON\n\nInput: []\n"));
        cloud.owner("POST", "/v1/AUTH_1", &[("x-account-access-control", "{}")]).await;
        assert_eq!(stranger("GET", "/v1/AUTH_1").await.status, 403);
    }
}
