use std::time::Duration;

use database::on_each_engine;

use crate::harness::{cloud, number, tables};

on_each_engine! {
    async fn an_object_is_missing_once_it_has_expired(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        cloud.send("PUT", "/v1/AUTH_1/c/o", &[("x-delete-after", "10")], "x").await;
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/c/o", &[]).await.header("x-delete-at"), "1389453433");
        cloud.clock.advance(Duration::from_secs(11));
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/o", &[]).await.status, 404);
        assert_eq!(cloud.owner("POST", "/v1/AUTH_1/c/o", &[]).await.status, 404);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/o", &[("x-open-expired", "true")]).await.text(), "x");
        assert_eq!(cloud.call("stranger", "GET", "/v1/AUTH_1/c/o", &[("x-open-expired", "true")], "").await.status, 403);
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c/o", &[("if-none-match", "*")]).await.status, 201);
        cloud.send("PUT", "/v1/AUTH_1/c/p", &[("x-delete-at", "1389453500")], "x").await;
        cloud.owner("POST", "/v1/AUTH_1/c/p", &[]).await;
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/c/p", &[]).await.header("x-delete-at"), "", "a POST without it keeps it");
        for (name, value, text) in [
            ("x-delete-at", "soon", "Non-integer X-Delete-At"), ("x-delete-at", "1", "X-Delete-At in past"),
            ("x-delete-after", "1.5", "Non-integer X-Delete-After"), ("x-delete-after", "-1", "X-Delete-After in past"),
        ] {
            let put = cloud.send("PUT", "/v1/AUTH_1/c/q", &[(name, value)], "x").await;
            assert_eq!((put.status.as_u16(), put.text()), (400, text));
        }
        let far = cloud.send("PUT", "/v1/AUTH_1/c/q", &[("x-delete-at", "99999999999999999999")], "x").await;
        assert_eq!(far.status, 201);
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/c/q", &[]).await.header("x-delete-at"), "9999999999");
    }
}

on_each_engine! {
    async fn expired_objects_are_removed(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        cloud.send("PUT", "/v1/AUTH_1/c/o", &[("x-delete-after", "10")], "x").await;
        cloud.put("/v1/AUTH_1/c/stays", "x").await;
        cloud.clock.advance(Duration::from_secs(10 + 301));
        let swept = async {
            while cloud.owner("HEAD", "/v1/AUTH_1/c", &[]).await.header("x-container-object-count") != "1" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), swept).await.unwrap();
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c", &[]).await.text(), "stays\n");
    }
}

on_each_engine! {
    async fn rows_without_a_container_do_not_keep_others_from_being_removed(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        cloud.send("PUT", "/v1/AUTH_1/c/o", &[("x-delete-after", "10")], "x").await;
        let tables = tables(location).await;
        // More such rows than one round handles, all due earlier. Some share the object's bytes.
        let stray = "INSERT INTO objects (container, name, created, changed, etag, size, content_type, meta, blob, expires)
                     SELECT 77, $1, created, changed, etag, size, content_type, meta, blob, 5 FROM objects WHERE container <> 77";
        for n in 0..300i64 {
            tables.execute(stray, database::params![n.to_be_bytes()]).await.unwrap();
        }
        tables.execute("UPDATE blobs SET refs = 301", &[]).await.unwrap();
        cloud.clock.advance(Duration::from_secs(10 + 301));
        let swept = async {
            while cloud.owner("HEAD", "/v1/AUTH_1/c", &[]).await.header("x-container-object-count") != "0" {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), swept).await.unwrap();
        for left in ["SELECT COUNT(*) FROM objects", "SELECT COUNT(*) FROM blobs"] {
            assert_eq!(number(&tables, left).await, 0, "{left}");
        }
    }
}
