//! Who may do what: every operation as every caller.

use database::on_each_engine;

use crate::cloud::{TOKENS, cloud};

/// Method, path, headers, and the tokens that may.
type Operation<'t> = (&'t str, &'t str, &'t [(&'t str, &'t str)], &'t [&'t str]);

on_each_engine! {
    async fn every_operation_as_every_caller(location: &Location) {
        let cloud = cloud(location).await;
        let admins = ["operator", "owner", "store-admin"];
        let readers = ["operator", "owner", "store-admin", "creator", "observer"];
        let operations: [Operation<'_>; 8] = [
            ("GET", "/cdn/v1/AUTH_1?format=json", &[], &readers),
            ("HEAD", "/cdn/v1/AUTH_1/c", &[], &readers),
            ("PUT", "/cdn/v1/AUTH_1/c", &[], &admins),
            ("POST", "/cdn/v1/AUTH_1/c", &[("x-ttl", "1000")], &admins),
            ("DELETE", "/cdn/v1/AUTH_1/c/o", &[], &admins),
            ("DELETE", "/cdn/v1/AUTH_1/once", &[], &admins[..1]),
            ("DELETE", "/cdn/v1/AUTH_1/c", &[("x-remove-cdn-container", "True")], &admins),
            ("PUT", "/v1/AUTH_1/c", &[("x-cdn-enabled", "True")], &admins),
        ];
        for (method, path, headers, may) in operations {
            for token in TOKENS {
                // Whoever may not must change nothing, so that each finds what the first one found.
                cloud.owner("PUT", "/c", &[("x-ttl", "2000")]).await;
                if path.ends_with("once") {
                    cloud.owner("PUT", "/once", &[]).await;
                }
                let before = cloud.owner("GET", "?format=json", &[]).await.body;
                let answer = cloud.call(token, method, path, headers).await;
                if admins.contains(&token) && path.ends_with("once") && !may.contains(&token) {
                    assert_eq!(answer.status, 400, "purged already: {token}");
                } else if may.contains(&token) {
                    assert!(answer.status.is_success(), "{method} {path} as {token}: {}", answer.status);
                } else {
                    assert_eq!(answer.status, 403, "{method} {path} as {token}");
                    assert_eq!(cloud.owner("GET", "?format=json", &[]).await.body, before, "{token}");
                }
            }
            for token in ["", "bad"] {
                let answer = cloud.call(token, method, path, headers).await;
                assert_eq!(answer.status, 401, "{method} {path} as {token:?}");
            }
        }
    }
}

on_each_engine! {
    async fn a_deleted_tenant_leaves_nothing(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/c", &[]).await;
        cloud.owner("DELETE", "/c/o", &[]).await;
        cloud.call("stranger", "PUT", "/cdn/v1/AUTH_2/c", &[]).await;
        cloud.cdn.delete_tenant("1").await.unwrap();
        assert_eq!(cloud.owner("HEAD", "/c", &[]).await.status, 404);
        assert_eq!(cloud.cdn.limits("1").await.unwrap().purges_left, 25);
        assert_eq!(cloud.call("stranger", "HEAD", "/cdn/v1/AUTH_2/c", &[]).await.status, 204);
    }
}
