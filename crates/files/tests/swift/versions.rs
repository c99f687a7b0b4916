use std::time::Duration;

use database::on_each_engine;

use crate::harness::cloud;

on_each_engine! {
    async fn a_versioned_container_keeps_all_versions(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        cloud.put("/v1/AUTH_1/c/o", "null").await;
        let path = "/v1/AUTH_1/c/o";
        cloud.owner("POST", "/v1/AUTH_1/c", &[("x-versions-enabled", "true")]).await;
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/c", &[]).await.header("x-versions-enabled"), "True");
        assert_eq!(cloud.owner("GET", path, &[]).await.header("x-object-version-id"), "null");
        cloud.clock.advance(Duration::from_secs(1));
        let first = cloud.put(path, "first").await;
        let first = first.header("x-object-version-id").to_owned();
        assert_eq!(first, "1389453424.00000");
        cloud.clock.advance(Duration::from_secs(1));
        let second = cloud.put(path, "second").await.header("x-object-version-id").to_owned();
        let get = cloud.owner("GET", path, &[]).await;
        assert_eq!((get.text(), get.header("x-object-version-id")), ("second", second.as_str()));
        let old = cloud.owner("GET", &format!("{path}?version-id={first}"), &[]).await;
        assert_eq!((old.text(), old.header("x-object-version-id")), ("first", first.as_str()));
        assert_eq!(cloud.owner("GET", &format!("{path}?version-id=1389453423.00000"), &[]).await.text(), "null");
        let used = cloud.owner("HEAD", "/v1/AUTH_1/c", &[]).await;
        assert_eq!((used.header("x-container-object-count"), used.header("x-container-bytes-used")), ("1", "15"));
        cloud.clock.advance(Duration::from_secs(1));
        let gone = cloud.owner("DELETE", path, &[]).await;
        let marker = gone.header("x-object-version-id").to_owned();
        assert_eq!((gone.status.as_u16(), cloud.owner("GET", path, &[]).await.status.as_u16()), (204, 404));
        let at_marker = cloud.owner("GET", &format!("{path}?version-id={marker}"), &[]).await;
        assert_eq!((at_marker.status.as_u16(), at_marker.header("content-type")), (404, "application/x-deleted;swift_versions_deleted=1"));
        assert_eq!(cloud.owner("DELETE", "/v1/AUTH_1/c", &[]).await.status, 409);

        let list = |query: &'static str| cloud.owner("GET", query, &[]);
        let listed = list("/v1/AUTH_1/c?versions&format=json").await;
        let listed: serde_json::Value = serde_json::from_str(listed.text()).unwrap();
        let seen: Vec<_> = listed.as_array().unwrap().iter()
            .map(|line| (line["version_id"].as_str().unwrap().to_owned(), line["is_latest"].as_bool().unwrap())).collect();
        assert_eq!(seen, [(marker.clone(), true), (second.clone(), false), (first.clone(), false), ("1389453423.00000".into(), false)]);
        let page = list("/v1/AUTH_1/c?versions&format=json&limit=1&marker=o&version_marker=1389453425.00000").await;
        assert!(page.text().contains(&first) && !page.text().contains(&second), "{}", page.text());

        let restored = cloud.owner("PUT", &format!("{path}?version-id={first}"), &[]).await;
        assert_eq!(restored.status, 201);
        assert_eq!(cloud.owner("GET", path, &[]).await.text(), "first");
        let deleted = cloud.owner("DELETE", &format!("{path}?version-id={first}"), &[]).await;
        assert_eq!((deleted.status.as_u16(), deleted.header("x-object-current-version-id")), (204, "null"));
        assert_eq!(cloud.owner("GET", path, &[]).await.status, 404);
        assert_eq!(cloud.owner("DELETE", &format!("{path}?version-id={first}"), &[]).await.status, 404);
        for id in [marker, second, "1389453423.00000".into()] {
            assert_eq!(cloud.owner("DELETE", &format!("{path}?version-id={id}"), &[]).await.status, 204);
        }
        let used = cloud.owner("HEAD", "/v1/AUTH_1", &[]).await;
        assert_eq!((used.header("x-account-object-count"), used.header("x-account-bytes-used")), ("0", "0"));
        assert_eq!(cloud.owner("DELETE", "/v1/AUTH_1/c", &[]).await.status, 204);
    }
}

on_each_engine! {
    async fn only_owners_access_versions_by_id(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-versions-enabled", "true"), ("x-container-read", ".r:*")]).await;
        let put = cloud.put("/v1/AUTH_1/c/o", "x").await;
        let path = format!("/v1/AUTH_1/c/o?version-id={}", put.header("x-object-version-id"));
        assert_eq!(cloud.call("", "GET", "/v1/AUTH_1/c/o", &[], "").await.text(), "x");
        assert_eq!(cloud.call("", "GET", &path, &[], "").await.status, 401);
        assert_eq!(cloud.call("stranger", "GET", &path, &[], "").await.status, 403);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/o?version-id=bogus", &[]).await.status, 400);
        assert_eq!(cloud.owner("POST", &path, &[]).await.status, 400);
        cloud.owner("PUT", "/v1/AUTH_1/plain", &[]).await;
        let plain = cloud.owner("GET", "/v1/AUTH_1/plain/o?version-id=1.00000", &[]).await;
        assert_eq!((plain.status.as_u16(), plain.text()), (400, "version-aware operations require that the container is versioned"));
    }
}

on_each_engine! {
    async fn old_versions_are_kept_in_another_container(location: &Location) {
        let cloud = cloud(location).await;
        for container in ["c", "old"] {
            cloud.owner("PUT", &format!("/v1/AUTH_1/{container}"), &[]).await;
        }
        cloud.owner("POST", "/v1/AUTH_1/c", &[("x-versions-location", "old")]).await;
        for body in ["1", "2", "3"] {
            cloud.put("/v1/AUTH_1/c/o", body).await;
            cloud.clock.advance(Duration::from_secs(1));
        }
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/old", &[]).await.text(), "001o/1389453423.00000\n001o/1389453424.00000\n");
        for expected in ["2", "1"] {
            assert_eq!(cloud.owner("DELETE", "/v1/AUTH_1/c/o", &[]).await.status, 204);
            assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/o", &[]).await.text(), expected);
        }
        cloud.owner("DELETE", "/v1/AUTH_1/c/o", &[]).await;
        assert_eq!(cloud.owner("DELETE", "/v1/AUTH_1/c/o", &[]).await.status, 404);
        let used = cloud.owner("HEAD", "/v1/AUTH_1", &[]).await;
        assert_eq!((used.header("x-account-object-count"), used.header("x-account-bytes-used")), ("0", "0"));

        cloud.owner("POST", "/v1/AUTH_1/c", &[("x-history-location", "old")]).await;
        let head = cloud.owner("HEAD", "/v1/AUTH_1/c", &[]).await;
        assert_eq!((head.header("x-history-location"), head.header("x-versions-location")), ("old", ""));
        cloud.put("/v1/AUTH_1/c/o", "1").await;
        cloud.clock.advance(Duration::from_secs(1));
        assert_eq!(cloud.owner("DELETE", "/v1/AUTH_1/c/o", &[]).await.status, 204);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/old", &[]).await.text().lines().count(), 2);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/o", &[]).await.status, 404);
        let both = [("x-versions-location", "old"), ("x-history-location", "old")];
        assert_eq!(cloud.owner("POST", "/v1/AUTH_1/c", &both).await.status, 400);
        assert_eq!(cloud.owner("POST", "/v1/AUTH_1/c", &[("x-versions-enabled", "true")]).await.status, 400);
        cloud.owner("POST", "/v1/AUTH_1/c", &[("x-versions-location", "absent")]).await;
        cloud.put("/v1/AUTH_1/c/o", "1").await;
        assert_eq!(cloud.put("/v1/AUTH_1/c/o", "2").await.status, 412, "the container for old versions is missing");
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/o", &[]).await.text(), "1");
    }
}
