use database::on_each_engine;

use crate::harness::cloud;

on_each_engine! {
    async fn a_container_can_be_a_website(location: &Location) {
        let cloud = cloud(location).await;
        let site = [
            ("x-container-read", ".r:*,.rlistings"), ("x-container-meta-web-index", "index.html"),
            ("x-container-meta-web-error", "error.html"), ("x-container-meta-web-listings", "true"),
        ];
        cloud.owner("PUT", "/v1/AUTH_1/c", &site).await;
        cloud.put("/v1/AUTH_1/c/sub/index.html", "sub index").await;
        cloud.put("/v1/AUTH_1/c/list/a%3Cb.txt", "a").await;
        cloud.put("/v1/AUTH_1/c/404error.html", "lost").await;
        let visit = |path: &'static str| cloud.call("", "GET", path, &[("host", "h")], "");
        let moved = visit("/v1/AUTH_1/c").await;
        assert_eq!((moved.status.as_u16(), moved.header("location")), (301, "http://h/v1/AUTH_1/c/"));
        let listing = visit("/v1/AUTH_1/c/").await;
        assert_eq!(listing.header("content-type"), "text/html; charset=UTF-8");
        assert!(listing.text().contains("<a href=\"./sub/\">sub/</a>"), "{}", listing.text());
        cloud.put("/v1/AUTH_1/c/index.html", "index").await;
        assert_eq!(visit("/v1/AUTH_1/c/").await.text(), "index");
        assert_eq!(visit("/v1/AUTH_1/c/sub").await.header("location"), "http://h/v1/AUTH_1/c/sub/");
        assert_eq!(visit("/v1/AUTH_1/c/sub/").await.text(), "sub index");
        let listed = visit("/v1/AUTH_1/c/list/").await;
        assert!(listed.text().contains("<a href=\"./a%3Cb%2Etxt\">a&lt;b.txt</a>"), "{}", listed.text());
        let lost = visit("/v1/AUTH_1/c/nowhere").await;
        assert_eq!((lost.status.as_u16(), lost.text()), (404, "lost"));
        // Authenticated callers see a container, unless they ask for the website.
        assert!(cloud.owner("GET", "/v1/AUTH_1/c", &[]).await.text().contains("index.html\n"));
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/", &[("x-web-mode", "true")]).await.text(), "index");
        cloud.owner("POST", "/v1/AUTH_1/c", &[("x-remove-container-meta-web-listings", "x"), ("x-remove-container-meta-web-error", "x")]).await;
        let disabled = visit("/v1/AUTH_1/c/list/").await;
        assert_eq!(disabled.status, 404);
        assert!(disabled.text().contains("Web Listing Disabled"));
        cloud.owner("POST", "/v1/AUTH_1/c", &[("x-remove-container-read", "x")]).await;
        assert_eq!(visit("/v1/AUTH_1/c/").await.status, 401);
        assert_eq!(visit("/v1/AUTH_1/c/sub/").await.status, 401);
    }
}
