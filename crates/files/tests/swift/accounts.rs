use database::on_each_engine;

use crate::harness::cloud;

on_each_engine! {
    async fn an_owners_account_is_there_before_anything_is_in_it(location: &Location) {
        let cloud = cloud(location).await;
        let answer = cloud.owner("HEAD", "/v1/AUTH_1", &[]).await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("x-account-container-count"), "0");
        assert_eq!(answer.header("x-account-bytes-used"), "0");
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1", &[]).await.status, 204);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1?format=json", &[]).await.text(), "[]");
        assert_eq!(cloud.call("operator", "HEAD", "/v1/AUTH_77", &[], "").await.status, 404);
    }
}

on_each_engine! {
    async fn the_seeds_account_listing(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/janeausten", &[]).await;
        cloud.owner("PUT", "/v1/AUTH_1/marktwain", &[]).await;
        cloud.put("/v1/AUTH_1/marktwain/goodbye", "goodbye, world").await;
        cloud.owner("POST", "/v1/AUTH_1", &[("x-account-meta-subject", "Literature")]).await;
        let answer = cloud.owner("GET", "/v1/AUTH_1?format=json", &[]).await;
        assert_eq!(answer.status, 200);
        for (name, value) in [
            ("x-account-object-count", "1"), ("x-account-container-count", "2"), ("x-account-bytes-used", "14"),
            ("x-account-meta-subject", "Literature"), ("content-type", "application/json; charset=utf-8"),
            ("accept-ranges", "bytes"), ("x-timestamp", "1389453423.00000"),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        assert_eq!(
            answer.text(),
            r#"[{"name": "janeausten", "count": 0, "bytes": 0, "last_modified": "2014-01-11T15:17:03.000000", "storage_policy": "default"}, {"name": "marktwain", "count": 1, "bytes": 14, "last_modified": "2014-01-11T15:17:03.000000", "storage_policy": "default"}]"#
        );
        let xml = cloud.owner("GET", "/v1/AUTH_1", &[("accept", "application/xml")]).await;
        assert!(xml.text().starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<account name=\"AUTH_1\">\n<container><name>janeausten</name><count>0</count><bytes>0</bytes>"), "{}", xml.text());
        let text = cloud.owner("GET", "/v1/AUTH_1?limit=1&marker=janeausten", &[]).await;
        assert_eq!(text.text(), "marktwain\n");
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1", &[("accept", "image/png")]).await.status, 406);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1?limit=10001", &[]).await.status, 412);
    }
}

on_each_engine! {
    async fn only_the_operator_makes_and_deletes_accounts(location: &Location) {
        let cloud = cloud(location).await;
        for token in ["owner", "creator", "observer", "none", "stranger"] {
            for method in ["PUT", "DELETE"] {
                assert_eq!(cloud.call(token, method, "/v1/AUTH_1", &[], "").await.status, 403, "{token} {method}");
            }
        }
        assert_eq!(cloud.call("", "PUT", "/v1/AUTH_1", &[], "").await.status, 401);
        assert_eq!(cloud.call("operator", "PUT", "/v1/AUTH_5", &[], "").await.status, 201);
        let again = cloud.call("operator", "PUT", "/v1/AUTH_5", &[("x-account-meta-a", "1")], "").await;
        assert_eq!(again.status, 202);
        assert_eq!(cloud.call("operator", "HEAD", "/v1/AUTH_5", &[], "").await.header("x-account-meta-a"), "1");

        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        for n in 0..30 {
            cloud.put(&format!("/v1/AUTH_1/c/{n}"), "x").await;
        }
        assert_eq!(cloud.call("operator", "DELETE", "/v1/AUTH_1", &[], "").await.status, 204);
        assert_eq!(cloud.call("operator", "DELETE", "/v1/AUTH_1", &[], "").await.status, 404);
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1", &[]).await.header("x-account-object-count"), "0");
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/1", &[]).await.status, 404);
    }
}
