//! Vulnerabilities that Swift published (its CHANGELOG and security.openstack.org): Nephos has none of them. Those of Swift's
//! S3 dialect do not apply, since Nephos has no S3 dialect.

use aws_lc_rs::hmac;
use database::on_each_engine;

use crate::harness::cloud;

const ENDS: &str = "1389453500";

on_each_engine! {
    // CVE-2026-97149, and before it CVE-2015-5223.
    async fn a_url_signed_for_put_cannot_copy_or_link(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("POST", "/v1/AUTH_1", &[("x-account-meta-temp-url-key", "key")]).await;
        for container in ["drop", "private"] {
            cloud.owner("PUT", &format!("/v1/AUTH_1/{container}"), &[]).await;
        }
        cloud.send("PUT", "/v1/AUTH_1/private/o", &[("x-object-meta-public-a", "secret")], "secret").await;
        let path = "/v1/AUTH_1/drop/new";
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let signature = hex::encode(hmac::sign(&key, format!("PUT\n{ENDS}\n{path}").as_bytes()));
        let url = format!("{path}?temp_url_sig={signature}&temp_url_expires={ENDS}");
        for (name, value) in [
            ("x-copy-from", "/private/o"), ("x-copy-from", "private%2Fo"), ("x-object-manifest", "private/o"),
            ("x-symlink-target", "private/o"),
        ] {
            let put = cloud.call("", "PUT", &url, &[(name, value), ("content-length", "0")], "").await;
            assert_eq!(put.status, 400, "{name}: {}", put.text());
            let head = cloud.call("", "HEAD", &url, &[], "").await;
            assert_eq!((head.status.as_u16(), head.header("x-object-meta-public-a")), (404, ""), "{name}");
        }
        for query in ["&multipart-manifest=put", "&extract-archive=tar"] {
            let body = "[{\"path\": \"/private/o\"}]";
            let length = body.len().to_string();
            let put = cloud.call("", "PUT", &format!("{url}{query}"), &[("content-length", &length)], body).await;
            assert_eq!(put.status, 201, "{query}");
            assert_eq!(cloud.owner("GET", path, &[]).await.text(), body, "stored as it was sent: {query}");
        }
    }
}

on_each_engine! {
    // CVE-2026-50221: headers with which servers of a cluster tell each other where to connect.
    async fn no_header_makes_the_cloud_connect_anywhere(location: &Location) {
        let cloud = cloud(location).await;
        let bait = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        bait.set_nonblocking(true).unwrap();
        let host = bait.local_addr().unwrap().to_string();
        let inner = [
            ("x-container-host", host.as_str()), ("x-container-partition", "1"), ("x-container-device", "sda"),
            ("x-account-host", &host), ("x-account-partition", "1"), ("x-account-device", "sda"),
            ("x-delete-at-host", &host), ("x-delete-at-partition", "1"), ("x-delete-at-container", "1"),
            ("x-backend-container-path", "AUTH_2/c"), ("x-backend-quoted-container-path", "AUTH_2/c"),
            ("x-backend-storage-policy-index", "1"), ("x-backend-timestamp", "1"), ("x-timestamp", "1"),
        ];
        assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c", &inner).await.status, 201);
        assert_eq!(cloud.send("PUT", "/v1/AUTH_1/c/o", &inner, "x").await.status, 201);
        assert_eq!(cloud.owner("POST", "/v1/AUTH_1/c/o", &inner).await.status, 202);
        let head = cloud.owner("HEAD", "/v1/AUTH_1/c/o", &inner).await;
        assert_eq!(head.status, 200);
        assert!(!head.headers.keys().any(|name| name.as_str().contains("host") || name.as_str().starts_with("x-backend")));
        assert!(head.header("x-timestamp").starts_with("1389453423."), "the sender's time counts for nothing");
        assert_eq!(cloud.owner("DELETE", "/v1/AUTH_1/c/o", &inner).await.status, 204);
        assert_eq!(cloud.call("stranger", "HEAD", "/v1/AUTH_2/c", &[], "").await.status, 404);
        assert_eq!(bait.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody connected");
    }
}

on_each_engine! {
    // CVE-2026-71190: matching these values took seconds.
    async fn pathological_accept_headers_are_parsed_quickly(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        cloud.send("PUT", "/v1/AUTH_1/c/o", &[], "x").await;
        let long = 7000;
        for accept in [
            format!("text/plain{}", "; ".repeat(long / 2)), format!("text/plain;a=\"{}", "\\".repeat(long)),
            " ".repeat(long), "text/plain,".repeat(long / 11), format!("*/*;q={}", "0".repeat(long)),
            format!("{}/x", "a".repeat(long)), ",".repeat(long), format!("text/plain;q=1{}!", " ".repeat(long)),
        ] {
            let got = cloud.owner("GET", "/v1/AUTH_1/c", &[("accept", &accept)]).await;
            let text = (got.status.as_u16(), got.text());
            assert!(matches!(got.status.as_u16(), 400 | 406) || text == (200, "o\n"), "{:.40}: {text:?}", accept);
        }
    }
}

on_each_engine! {
    // CVE-2014-3497.
    async fn a_challenge_does_not_contain_request_headers(location: &Location) {
        let cloud = cloud(location).await;
        for account in ["AUTH_1%22%0D%0AX-Evil:%20yes", "AUTH_%22,%20realm=%22evil", "%0A%0Abody"] {
            let got = cloud.call("", "GET", &format!("/v1/{account}/c"), &[], "").await;
            assert_eq!((got.status.as_u16(), got.header("x-evil")), (401, ""), "{account}");
            let challenge = got.header("www-authenticate");
            assert_eq!(challenge.matches('"').count(), 2, "{challenge}");
        }
    }
}

on_each_engine! {
    // CVE-2013-2161.
    async fn names_are_escaped_in_xml(location: &Location) {
        let cloud = cloud(location).await;
        let name = "a%22%3E%3Cobject%3E%26";
        let escaped = "a&quot;&gt;&lt;object&gt;&amp;";
        cloud.owner("PUT", &format!("/v1/AUTH_1/{name}"), &[]).await;
        cloud.send("PUT", &format!("/v1/AUTH_1/{name}/{name}"), &[], "x").await;
        for path in ["/v1/AUTH_1?format=xml".to_owned(), format!("/v1/AUTH_1/{name}?format=xml")] {
            let xml = cloud.owner("GET", &path, &[]).await;
            let plain = xml.text().replace("&quot;", "\"").replace(escaped, "N").replace("a\"&gt;&lt;object&gt;&amp;", "N");
            assert!(plain.contains("<name>N</name>"), "{}", xml.text());
            assert!(!xml.text().contains("><object>&"), "{}", xml.text());
        }
        let other = cloud.call("operator", "GET", "/v1/AUTH_%22%3E%3Cx%3E?format=xml", &[], "").await;
        assert!(!other.text().contains("\"><x>"), "{}", other.text());
    }
}

on_each_engine! {
    // CVE-2014-7960.
    async fn the_metadata_limit_applies_across_several_posts(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        for (path, kind) in [("/v1/AUTH_1", "account"), ("/v1/AUTH_1/c", "container")] {
            let names: Vec<_> = (0..120).map(|n| format!("x-{kind}-meta-item-{n}")).collect();
            let items: Vec<_> = names.iter().map(|name| (name.as_str(), "v")).collect();
            let count = async || {
                let head = cloud.owner("HEAD", path, &[]).await;
                head.headers.keys().filter(|name| name.as_str().contains("-meta-item-")).count()
            };
            assert_eq!(cloud.owner("POST", path, &items[..60]).await.status, 204);
            assert_eq!(cloud.owner("POST", path, &items[60..]).await.status, 400, "{kind}");
            assert_eq!(count().await, 60, "{kind}");
        }
    }
}
