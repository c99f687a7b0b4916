//! Which of several faults of a request is reported, and with which message. Swift 2.38 gave each of these responses.

use database::on_each_engine;

use crate::harness::cloud;

const TEXT: &str = "text/plain";
const PAGE: &str = "text/html; charset=UTF-8";
const FORBIDDEN: &str = "<html><h1>Forbidden</h1><p>Access was denied to this resource.</p></html>";
const NOT_FOUND: &str = "<html><h1>Not Found</h1><p>The resource could not be found.</p></html>";

on_each_engine! {
    async fn missing_rights_and_missing_containers_are_reported_before_other_faults(location: &Location) {
        let cloud = cloud(location).await;
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await.status, 201);
        assert_eq!(cloud.send("PUT", "/v1/AUTH_1/c/o", &[], "hello").await.status, 201);
        let wrong = ("x-delete-after", "x");
        for (who, method, path, header, status, kind, body) in [
            ("stranger", "PUT", "/v1/AUTH_1/c/n", wrong, 403, PAGE, FORBIDDEN),
            ("stranger", "POST", "/v1/AUTH_1/c/o", wrong, 403, PAGE, FORBIDDEN),
            ("stranger", "PUT", "/v1/AUTH_1/n", ("x-container-read", ".x:y"), 403, PAGE, FORBIDDEN),
            ("stranger", "GET", "/v1/AUTH_1/c/o?part-number=x", ("x-a", "b"), 403, PAGE, FORBIDDEN),
            ("owner", "PUT", "/v1/AUTH_1/none/n", wrong, 404, PAGE, NOT_FOUND),
            ("owner", "POST", "/v1/AUTH_1/none/n", wrong, 404, PAGE, NOT_FOUND),
            ("owner", "COPY", "/v1/AUTH_1/c/none", ("destination", "c/n"), 404, PAGE, NOT_FOUND),
            ("owner", "GET", "/v1/AUTH_1//", ("x-a", "b"), 404, PAGE, NOT_FOUND),
            ("owner", "PUT", "/v1/AUTH_1/c/n", wrong, 400, TEXT, "Non-integer X-Delete-After"),
            ("owner", "PUT", "/v1/AUTH_1/none/n", ("if-none-match", "x"), 400, TEXT, "If-None-Match only supports *"),
            (
                "owner", "PUT", "/v1/AUTH_1/c/n", ("content-type", "a/b;swift_bytes=9"), 400, PAGE,
                "Invalid Content-Type, swift_* is not a valid parameter name.",
            ),
            (
                "owner", "PUT", "/v1/AUTH_1/none/n", ("x-object-manifest", "c"), 400, PAGE,
                "X-Object-Manifest must be in the format container/prefix",
            ),
            (
                "owner", "POST", "/v1/AUTH_1/c", ("x-container-read", ".x:y"), 400, PAGE,
                "Unknown designator '.x' in ACL: '.x:y'",
            ),
            ("stranger", "PUT", "/v1/AUTH_1/c", ("x-container-meta-quota-count", "x"), 400, PAGE, "Invalid count quota."),
            ("stranger", "GET", "/v1/AUTH_1/c", ("accept", "x"), 400, PAGE, "Invalid Accept header"),
            ("owner", "GET", "/v1/AUTH_1/c/none", ("if-match", "\"*\""), 412, PAGE, ""),
            ("owner", "GET", "/v1/AUTH_1/c/o?part-number=0", ("x-a", "b"), 200, "application/octet-stream", "hello"),
            ("owner", "HEAD", "/v1/AUTH_1/c?limit=10001", ("x-a", "b"), 204, "text/plain; charset=utf-8", ""),
        ] {
            let answer = cloud.call(who, method, path, &[header, ("content-length", "0")], "").await;
            let said = (answer.status.as_u16(), answer.header("content-type"), answer.text());
            assert_eq!(said, (status, kind, body), "{who}: {method} {path} {header:?}");
        }
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c", &[]).await.text(), "o\n", "nothing changed");
    }
}

on_each_engine! {
    async fn headers_are_normalised_as_by_swifts_server(location: &Location) {
        let cloud = cloud(location).await;
        let items = [("x-container-meta-under_score", "a"), ("x-container-meta-b", "1"), ("x-container-meta-b", "2")];
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c", &items).await.status, 201);
        let head = cloud.owner("HEAD", "/v1/AUTH_1/c", &[]).await;
        assert_eq!((head.header("x-container-meta-b"), head.header("x-container-meta-under_score")), ("1,2", ""));
        let given = [("x-object-meta-empty", ""), ("content-type", "text/html; charset=UTF-8")];
        assert_eq!(cloud.send("PUT", "/v1/AUTH_1/c/o", &given, "x").await.status, 201);
        let head = cloud.owner("HEAD", "/v1/AUTH_1/c/o", &[]).await;
        assert!(head.headers.contains_key("x-object-meta-empty"), "an object's items stay, though empty");
        assert_eq!(head.header("content-type"), "text/html; charset=UTF-8");
        let listed = cloud.owner("GET", "/v1/AUTH_1/c?format=json", &[]).await;
        assert!(listed.text().contains(r#""content_type": "text/html;charset=UTF-8""#), "{}", listed.text());
    }
}

on_each_engine! {
    async fn versioning_conflicts_are_reported_before_acl_faults(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/plain", &[]).await;
        cloud.owner("PUT", "/v1/AUTH_1/history", &[("x-history-location", "plain")]).await;
        let wrong = [("x-container-read", ".x:y"), ("x-versions-enabled", "")];
        for (container, said) in [
            ("plain", "Unknown designator '.x' in ACL: '.x:y'"),
            ("none", "Unknown designator '.x' in ACL: '.x:y'"),
            (
                "history",
                "Cannot enable object versioning on a container that is already using the legacy versioned writes feature.",
            ),
        ] {
            let answer = cloud.owner("PUT", &format!("/v1/AUTH_1/{container}"), &wrong).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (400, said), "{container}");
        }
    }
}
