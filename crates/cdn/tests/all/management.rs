//! Publishing, changing, listing, removing: codes and headers that clients insist on.

use database::on_each_engine;

use crate::cloud::{Answer, Cloud, cloud, open};

const URIS: [&str; 4] = ["x-cdn-uri", "x-cdn-ssl-uri", "x-cdn-streaming-uri", "x-cdn-ios-uri"];

fn uris(answer: &Answer) -> [String; 4] {
    URIS.map(|name| answer.header(name).to_owned())
}

on_each_engine! {
    async fn a_container_is_published_shown_changed_and_removed(location: &Location) {
        let cloud = cloud(location).await;
        for method in ["HEAD", "POST", "DELETE"] {
            assert_eq!(cloud.owner(method, "/images", &[]).await.status, 404, "{method} before");
        }
        let made = cloud.owner("PUT", "/images", &[("x-cdn-enabled", "True"), ("x-ttl", "259200")]).await;
        assert_eq!((made.status.as_u16(), made.text()), (201, ""));
        let names = uris(&made);
        assert!(names[0].starts_with("http://") && names[0].ends_with(".cdn.test:8081"), "{names:?}");
        assert!(names[1].starts_with("https://") && names[1].ends_with(".ssl.cdn.test:8081"), "{names:?}");
        assert!(names[2].ends_with(".stream.cdn.test:8081"), "{names:?}");
        assert!(names[3].ends_with(".iosr.cdn.test:8081"), "{names:?}");

        let again = cloud.owner("PUT", "/images", &[("x-ttl", "3600")]).await;
        assert_eq!((again.status.as_u16(), uris(&again)), (202, names.clone()));
        let shown = cloud.owner("HEAD", "/images", &[]).await;
        assert_eq!((shown.status.as_u16(), uris(&shown)), (204, names.clone()));
        let told = |answer: &Answer| {
            ["x-cdn-enabled", "x-ttl", "x-log-retention"].map(|name| answer.header(name).to_owned())
        };
        assert_eq!(told(&shown), ["True", "3600", "False"]);

        let changed = cloud
            .owner("POST", "/images", &[("x-cdn-enabled", "false"), ("x-log-retention", "yes")])
            .await;
        assert_eq!((changed.status.as_u16(), uris(&changed)), (202, names.clone()));
        assert_eq!(told(&cloud.owner("HEAD", "/images", &[]).await), ["False", "3600", "True"]);
        assert_eq!(cloud.owner("PUT", "/images", &[]).await.status, 202);
        assert_eq!(told(&cloud.owner("HEAD", "/images", &[]).await), ["True", "3600", "True"]);

        let removed = cloud.owner("DELETE", "/images", &[("x-remove-cdn-container", "t")]).await;
        assert_eq!(removed.status, 204);
        for method in ["HEAD", "POST", "DELETE"] {
            assert_eq!(cloud.owner(method, "/images", &[]).await.status, 404, "{method} after");
        }
        assert_eq!(cloud.owner("GET", "", &[]).await.status, 204, "nothing is listed");
        // Published again it has its names back, and nothing else of what it had.
        let again = cloud.owner("PUT", "/images", &[]).await;
        assert_eq!((again.status.as_u16(), uris(&again)), (201, names));
        assert_eq!(told(&cloud.owner("HEAD", "/images", &[]).await), ["True", "259200", "False"]);
    }
}

on_each_engine! {
    async fn names_and_settings_outlive_the_process(location: &Location) {
        let cloud = cloud(location).await;
        let made = cloud.owner("PUT", "/a%20b%C3%A9", &[("x-ttl", "1000")]).await;
        let reopened = open(location, &cloud.clock).await;
        let context = cdn::service::Context::internal();
        let found = reopened.publication(&context, "1", "a bé").await.unwrap();
        assert_eq!(found.ttl.seconds(), 1000);
        assert_eq!(reopened.uris(&found).plain, made.header("x-cdn-uri"));
    }
}

on_each_engine! {
    async fn values_are_read_leniently_and_ttls_are_clamped(location: &Location) {
        let cloud = cloud(location).await;
        for (given, ttl) in [
            ("1", "900"), ("-7", "900"), ("900", "900"), ("31536000", "31536000"), ("31536001", "31536000"),
            ("99999999999999999999999999999999999999999", "31536000"), (" 5000 ", "5000"),
        ] {
            assert!(cloud.owner("PUT", "/c", &[("x-ttl", given)]).await.status.is_success(), "{given}");
            assert_eq!(cloud.owner("HEAD", "/c", &[]).await.header("x-ttl"), ttl, "{given}");
        }
        for given in ["", "x", "1.5", "1e3", "--1", "0x10"] {
            for method in ["PUT", "POST"] {
                let refused = cloud.owner(method, "/c", &[("x-ttl", given)]).await;
                assert_eq!(refused.status, 400, "{method} {given:?}");
                assert!(refused.text().contains("Invalid X-TTL, must be integer"), "{}", refused.text());
            }
        }
        assert_eq!(cloud.owner("HEAD", "/c", &[]).await.header("x-ttl"), "5000", "refusals change nothing");
        for (word, shown) in [
            ("true", "True"), ("TRUE", "True"), ("1", "True"), ("Yes", "True"), ("on", "True"), ("t", "True"),
            ("Y", "True"), ("false", "False"), ("0", "False"), ("nonsense", "False"), ("", "False"),
        ] {
            for name in ["x-cdn-enabled", "x-log-retention"] {
                cloud.owner("POST", "/c", &[(name, word)]).await;
                assert_eq!(cloud.owner("HEAD", "/c", &[]).await.header(name), shown, "{name}: {word:?}");
            }
        }
    }
}

async fn three(cloud: &Cloud) {
    for (name, enabled) in [("a&<b>", "True"), ("b", "False"), ("c", "True")] {
        let path = format!("/{}", web::query::encode(name.as_bytes(), false));
        assert_eq!(cloud.owner("PUT", &path, &[("x-cdn-enabled", enabled)]).await.status, 201);
    }
}

on_each_engine! {
    async fn lists_have_three_forms(location: &Location) {
        let cloud = cloud(location).await;
        let empty = |answer: Answer| (answer.status.as_u16(), answer.text().to_owned());
        assert_eq!(empty(cloud.owner("GET", "", &[]).await), (204, String::new()));
        assert_eq!(empty(cloud.owner("GET", "?format=json", &[]).await), (200, "[]".into()));
        let (status, text) = empty(cloud.owner("GET", "?format=xml", &[]).await);
        assert_eq!(status, 200);
        assert_eq!(text, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<account name=\"AUTH_1\">\n</account>\n");

        three(&cloud).await;
        let text = cloud.owner("GET", "", &[]).await;
        assert_eq!((text.text(), text.header("content-type")), ("a&<b>\nb\nc\n", "text/plain; charset=UTF-8"));
        let shown = cloud.owner("HEAD", "/b", &[]).await;
        for asked in [("?format=json", "*/*"), ("", "application/json")] {
            let json = cloud.owner("GET", asked.0, &[("accept", asked.1)]).await;
            assert_eq!(json.header("content-type"), "application/json; charset=UTF-8");
            let list: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
            assert_eq!(list.as_array().unwrap().len(), 3);
            assert_eq!(list[0]["name"], "a&<b>");
            let expected = serde_json::json!({
                "name": "b", "cdn_enabled": false, "ttl": 259_200, "log_retention": false,
                "cdn_uri": shown.header("x-cdn-uri"), "cdn_ssl_uri": shown.header("x-cdn-ssl-uri"),
                "cdn_streaming_uri": shown.header("x-cdn-streaming-uri"),
                "cdn_ios_uri": shown.header("x-cdn-ios-uri"),
                "X-Cdn-Uri": shown.header("x-cdn-uri"), "X-Cdn-Ssl-Uri": shown.header("x-cdn-ssl-uri"),
                "X-Cdn-Streaming-Uri": shown.header("x-cdn-streaming-uri"),
                "X-Cdn-Ios-Uri": shown.header("x-cdn-ios-uri"),
            });
            assert_eq!(list[1], expected);
        }
        for asked in [("?format=xml", "*/*"), ("", "text/xml"), ("", "application/xml")] {
            let xml = cloud.owner("GET", asked.0, &[("accept", asked.1)]).await;
            assert_eq!(xml.header("content-type"), "application/xml; charset=UTF-8");
            let text = xml.text();
            assert!(text.contains("<name>a&amp;&lt;b&gt;</name>"), "{text}");
            let uri = format!("<cdn_uri>{}</cdn_uri>", shown.header("x-cdn-uri"));
            assert!(text.contains(&uri) && text.contains("<cdn_enabled>False</cdn_enabled>"), "{text}");
        }
        let head = cloud.owner("HEAD", "?format=json", &[]).await;
        assert_eq!((head.status.as_u16(), head.text()), (200, ""));
    }
}

on_each_engine! {
    async fn lists_are_paged_and_filtered(location: &Location) {
        let cloud = cloud(location).await;
        three(&cloud).await;
        for (query, expected) in [
            ("?limit=1", "a&<b>\n"),
            ("?limit=1&marker=a%26%3Cb%3E", "b\n"),
            ("?marker=b", "c\n"),
            ("?end_marker=c", "a&<b>\nb\n"),
            ("?marker=a&end_marker=c&limit=5", "a&<b>\nb\n"),
            ("?enabled_only=true", "a&<b>\nc\n"),
            ("?enabled_only=false", "a&<b>\nb\nc\n"),
            ("?enabled=true", "a&<b>\nc\n"),
            ("?enabled=false", "b\n"),
            ("?marker=z", ""),
            ("?limit=0", ""),
            ("?limit=99999999999999999999", "a&<b>\nb\nc\n"),
        ] {
            let page = cloud.owner("GET", query, &[]).await;
            let status = if expected.is_empty() { 204 } else { 200 };
            assert_eq!((page.text(), page.status.as_u16()), (expected, status), "{query}");
        }
        for query in ["?limit=x", "?limit=-1", "?limit=1.5", "?limit="] {
            let refused = cloud.owner("GET", query, &[]).await;
            assert_eq!(refused.status, 400, "{query}");
            assert!(refused.text().contains("Invalid limit"), "{}", refused.text());
        }
    }
}

on_each_engine! {
    async fn the_storage_host_publishes_too(location: &Location) {
        let cloud = cloud(location).await;
        let headers = [("x-cdn-enabled", "True"), ("x-ttl", "259200"), ("content-length", "0")];
        let made = cloud.call("owner", "PUT", "/v1/AUTH_1/images", &headers).await;
        assert_eq!((made.status.as_u16(), made.text()), (202, ""));
        assert!(made.header("x-cdn-uri").starts_with("http://"), "{:?}", made.headers);
        assert!(made.header("x-cdn-ssl-uri").starts_with("https://"), "{:?}", made.headers);
        assert_eq!(made.header("content-length"), "0");
        let shown = cloud.owner("HEAD", "/images", &[]).await;
        assert_eq!(shown.header("x-cdn-uri"), made.header("x-cdn-uri"));
        let stored = cloud.call("owner", "HEAD", "/v1/AUTH_1/images", &[]).await;
        assert_eq!(stored.status, 204, "the container was made as well");
        assert_eq!(stored.header("x-container-read"), "", "its ACL is what it was");
        assert_eq!(cloud.call("", "GET", "/v1/AUTH_1/images", &[]).await.status, 401);

        let off = cloud.call("owner", "POST", "/v1/AUTH_1/images", &[("x-cdn-enabled", "False")]).await;
        assert_eq!(off.status, 202);
        assert_eq!(cloud.owner("HEAD", "/images", &[]).await.header("x-cdn-enabled"), "False");
        // Without the header the storage host answers as ever.
        let plain = cloud.call("owner", "PUT", "/v1/AUTH_1/plain", &[("content-length", "0")]).await;
        assert_eq!(plain.status, 201);
        assert_eq!(cloud.owner("HEAD", "/plain", &[]).await.status, 404);
        // Who may make a container but not publish makes none by asking for both.
        let refused = cloud.call("creator", "PUT", "/v1/AUTH_1/theirs", &headers).await;
        assert_eq!(refused.status, 403);
        assert_eq!(cloud.call("owner", "HEAD", "/v1/AUTH_1/theirs", &[]).await.status, 404);
        let refused = cloud.call("owner", "PUT", "/v1/AUTH_1/bad", &[("x-cdn-enabled", "t"), ("x-ttl", "x")]).await;
        assert_eq!(refused.status, 400);
        assert_eq!(cloud.call("owner", "HEAD", "/v1/AUTH_1/bad", &[]).await.status, 404);
        assert_eq!(cloud.call("", "PUT", "/v1/AUTH_1/none", &headers).await.status, 401);
    }
}

on_each_engine! {
    async fn faults_are_pages(location: &Location) {
        let cloud = cloud(location).await;
        for (method, path, allowed) in [
            ("POST", "", "GET, HEAD"),
            ("PATCH", "", "GET, HEAD"),
            ("GET", "/c", "DELETE, HEAD, POST, PUT"),
            ("COPY", "/c", "DELETE, HEAD, POST, PUT"),
            ("GET", "/c/o", "DELETE"),
            ("PUT", "/c/o", "DELETE"),
        ] {
            let refused = cloud.owner(method, path, &[]).await;
            assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, allowed), "{method} {path}");
        }
        let long = format!("/{}", "n".repeat(257));
        let refused = cloud.owner("PUT", &long, &[]).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains("256"), "{}", refused.text());
        assert_eq!(cloud.owner("PUT", &long[..257], &[]).await.status, 201);
        assert_eq!(cloud.owner("PUT", "/%ff", &[]).await.status, 412);
        let patterns = [("x-user-agent-acl", ".*Firefox.*"), ("x-referrer-acl", "^http://example\\.com")];
        assert_eq!(cloud.owner("PUT", "/p", &patterns).await.status, 201);
        let shown = cloud.owner("HEAD", "/p", &[]).await;
        for (name, pattern) in patterns {
            assert_eq!(shown.header(name), pattern);
        }
        let long = "a".repeat(1025);
        assert_eq!(cloud.owner("POST", "/p", &[("x-referrer-acl", &long)]).await.status, 400);
    }
}
