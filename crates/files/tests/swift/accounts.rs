use database::on_each_engine;

use crate::harness::cloud;

on_each_engine! {
    async fn a_tenants_account_exists_before_anything_is_in_it(location: &Location) {
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
    async fn an_account_listing_is_as_in_the_seeds(location: &Location) {
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
    async fn only_the_operator_creates_and_deletes_accounts(location: &Location) {
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

struct States(std::sync::Mutex<std::collections::HashMap<&'static str, files::TenantState>>);

#[async_trait::async_trait]
impl files::Tenants for States {
    async fn state(&self, tenant: &str) -> Result<files::TenantState, String> {
        Ok(self.0.lock().unwrap().get(tenant).copied().unwrap_or(files::TenantState::Missing))
    }
}

on_each_engine! {
    /// The account of a disabled tenant is closed, even published objects. Operators get 404 for missing tenants.
    async fn an_account_is_closed_with_its_tenant(location: &Location) {
        use files::TenantState::{Disabled, Enabled};
        let cloud = cloud(location).await;
        let states = std::sync::Arc::new(States(std::sync::Mutex::new([("1", Enabled), ("2", Enabled), ("9", Enabled)].into())));
        cloud.files.ask_tenants(states.clone());
        cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-container-read", ".r:*,.rlistings,2"), ("x-container-write", "2"),
            ("x-container-meta-temp-url-key", "key")]).await;
        cloud.put("/v1/AUTH_1/c/o", "x").await;
        let stranger = async |method: &str, path: &str, headers: &[(&str, &str)]| {
            let all = [headers, &[("content-length", "0")]].concat();
            cloud.call("stranger", method, path, &all, "").await.status.as_u16()
        };
        assert_eq!(stranger("PUT", "/v1/AUTH_2/links", &[]).await, 201);
        let link = [("x-symlink-target", "c/o"), ("x-symlink-target-account", "AUTH_1")];
        assert_eq!(stranger("PUT", "/v1/AUTH_2/links/l", &link).await, 201);
        let signed = {
            let text = "GET\n1389457000\n/v1/AUTH_1/c/o";
            format!("/v1/AUTH_1/c/o?temp_url_sig={}&temp_url_expires=1389457000", crate::signatures::signed(aws_lc_rs::hmac::HMAC_SHA256, "key", text))
        };
        let seen = async || {
            let nobody = async |path: &str| cloud.call("", "GET", path, &[], "").await.status.as_u16();
            let copy = [("destination", "links/copy"), ("destination-account", "AUTH_2")];
            [
                nobody("/v1/AUTH_1/c/o").await,
                nobody("/v1/AUTH_1/c").await,
                nobody(&signed).await,
                stranger("GET", "/v1/AUTH_1/c/o", &[]).await,
                stranger("PUT", "/v1/AUTH_1/c/new", &[]).await,
                stranger("GET", "/v1/AUTH_2/links/l", &[]).await,
                stranger("COPY", "/v1/AUTH_1/c/o", &copy).await,
                cloud.call("operator", "GET", "/v1/AUTH_1/c/o", &[], "").await.status.as_u16(),
            ]
        };
        assert_eq!(seen().await, [200, 200, 200, 200, 201, 200, 201, 200]);
        states.0.lock().unwrap().insert("1", Disabled);
        assert_eq!(seen().await, [401, 401, 401, 403, 403, 403, 403, 200]);
        states.0.lock().unwrap().insert("1", Enabled);
        assert_eq!(seen().await, [200, 200, 200, 200, 201, 200, 201, 200]);
        // The tenant was deleted: data not yet deleted is inaccessible too.
        states.0.lock().unwrap().remove("1");
        assert_eq!(seen().await, [401, 401, 401, 403, 403, 403, 403, 404]);
        for (method, path) in [
            ("GET", "/v1/AUTH_404"), ("HEAD", "/v1/AUTH_404"), ("PUT", "/v1/AUTH_404"), ("POST", "/v1/AUTH_404"),
            ("DELETE", "/v1/AUTH_404"), ("PUT", "/v1/AUTH_404/c"), ("POST", "/v1/AUTH_404/c"), ("GET", "/v1/AUTH_404/c"),
            ("PUT", "/v1/AUTH_404/c/o"), ("GET", "/v1/AUTH_404/c/o"), ("DELETE", "/v1/AUTH_404/c/o"),
        ] {
            let answer = cloud.call("operator", method, path, &[("content-length", "0")], "").await;
            assert_eq!(answer.status, 404, "{method} {path}");
        }
    }
}

on_each_engine! {
    async fn accounts_and_containers_of_one_instant_have_ids_of_their_own(location: &Location) {
        // The clock stands still, so all of them try one of 1,024 ids.
        let cloud = cloud(location).await;
        let empty = [("content-length", "0")];
        for tenant in 1..=120 {
            let path = format!("/v1/AUTH_{tenant}/c{tenant}");
            assert_eq!(cloud.call("operator", "PUT", &path, &empty, "").await.status, 201, "{path}");
        }
        for tenant in 1..=120 {
            let listed = cloud.call("operator", "GET", &format!("/v1/AUTH_{tenant}"), &[], "").await;
            assert_eq!(listed.text(), format!("c{tenant}\n"));
        }
    }
}
