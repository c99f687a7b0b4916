use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use database::on_each_engine;
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;
use web::listener::Peer;

use crate::harness::{Cloud, cloud};

impl Cloud {
    async fn visit(&self, token: &str, method: &str, path: &str, headers: &[(&str, &str)]) {
        let peer = Peer(SocketAddr::from(([192, 0, 2, 7], 1234)));
        let mut request = Request::builder().method(method).uri(path).extension(peer);
        for (name, value) in [&[("x-auth-token", token), ("content-length", "0")], headers].concat() {
            request = request.header(name, value);
        }
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        response.into_body().collect().await.unwrap();
    }

    /// Waits for `count` log objects and returns them with their contents.
    async fn logs(&self, count: usize) -> Vec<(String, String)> {
        let names = loop {
            let listing = self.owner("GET", "/v1/AUTH_1/.ACCESS_LOGS", &[]).await;
            let names: Vec<_> =
                listing.text().lines().map(str::to_owned).filter(|line| line.ends_with(".log.gz")).collect();
            if names.len() == count {
                break names;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let mut logs = Vec::new();
        for name in names {
            let packed = self.owner("GET", &format!("/v1/AUTH_1/.ACCESS_LOGS/{name}"), &[]).await;
            let mut text = String::new();
            flate2::read::GzDecoder::new(packed.body.as_slice()).read_to_string(&mut text).unwrap();
            assert_eq!(
                name.rsplit('/').next().unwrap(),
                format!("{}.log.gz", hex::encode(fast_md5::digest(&packed.body)))
            );
            logs.push((name, text));
        }
        logs
    }
}

const ON: (&str, &str) = ("x-container-meta-access-log-delivery", "True");

on_each_engine! {
    async fn requests_to_a_container_are_logged_in_an_object_per_hour(location: &Location) {
        let cloud = cloud(location).await;
        cloud.visit("owner", "PUT", "/v1/AUTH_1/Media", &[ON]).await;
        cloud.visit("owner", "PUT", "/v1/AUTH_1/other", &[]).await;
        cloud.put("/v1/AUTH_1/other/o", "unlogged").await;
        cloud.put("/v1/AUTH_1/Media/a%20b", "12345").await;
        let said = [("referer", "http://example.com/"), ("user-agent", "curl \"x\"")];
        cloud.visit("owner", "GET", "/v1/AUTH_1/Media/a%20b?temp=1", &said).await;
        cloud.visit("stranger", "GET", "/v1/AUTH_1/Media/a%20b", &[]).await;
        cloud.visit("bad token", "GET", "/v1/AUTH_1/Media", &[]).await;
        cloud.visit("owner", "HEAD", "/v1/AUTH_1/Media/a%20b", &[]).await;
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/.ACCESS_LOGS", &[]).await.status, 404, "it is created by the first delivery");
        // 15:17:03 on 2014-01-11, and an hour later.
        cloud.clock.advance(Duration::from_secs(3600));
        let logs = cloud.logs(1).await;
        assert!(logs[0].0.starts_with("Media/2014/01/11/15/"), "{}", logs[0].0);
        let lines: Vec<_> = logs[0].1.lines().collect();
        let time = "[11/01/2014:15:17:03 +0000]";
        assert_eq!(lines[0], format!("192.0.2.7 - - {time} \"PUT /v1/AUTH_1/Media HTTP/1.1\" 201 0 \"-\" \"-\""));
        assert_eq!(lines[1], format!("- - - {time} \"PUT /v1/AUTH_1/Media/a%20b HTTP/1.1\" 201 0 \"-\" \"-\""));
        assert_eq!(
            lines[2],
            format!("192.0.2.7 - - {time} \"GET /v1/AUTH_1/Media/a%20b HTTP/1.1\" 200 5 \"http://example.com/\" \"curl \\\"x\\\"\"")
        );
        let status = |line: &str| line.split(' ').nth(8).unwrap().to_owned();
        assert_eq!(lines[3..].iter().map(|line| status(line)).collect::<Vec<_>>(), ["403", "401", "200"]);
        assert!(!logs[0].1.contains("other"));
        // Once logging is disabled, nothing more is logged, not even the request that disabled it.
        cloud.owner("POST", "/v1/AUTH_1/Media", &[(ON.0, "False")]).await;
        cloud.put("/v1/AUTH_1/Media/b", "x").await;
        cloud.files.stop().await;
        assert!(cloud.logs(2).await.iter().all(|(_, text)| !text.contains("/b ")), "the POST alone");
    }
}

on_each_engine! {
    async fn a_clean_shutdown_loses_no_line(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/Media", &[ON]).await;
        for n in 0..20 {
            cloud.put(&format!("/v1/AUTH_1/Media/{n}"), "x").await;
        }
        cloud.files.stop().await;
        let logs = cloud.logs(1).await;
        assert_eq!(logs[0].1.lines().count(), 21);
        cloud.files.stop().await;
        assert_eq!(cloud.logs(1).await.len(), 1, "nothing is delivered twice");
    }
}
