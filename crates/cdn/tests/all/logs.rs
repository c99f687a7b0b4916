//! Access logs: their lines, their names, and that each line is delivered once.

use std::io::Read;
use std::time::Duration;

use cdn::edge::Spool;
use database::on_each_engine;
use files::model::access::Access;
use http_body_util::BodyExt;

use crate::cloud::{Cloud, cloud};
use crate::edge::request;

async fn visit(cloud: &Cloud, method: &str, host: &str, path: &str, headers: &[(&str, &str)]) {
    let client = "192.0.2.7".parse().unwrap();
    let response = cloud.edge.answer_from(&request(method, host, path, headers), client).await;
    response.into_body().collect().await.unwrap();
}

/// The names of all delivered logs, and their lines.
async fn delivered(cloud: &Cloud) -> (Vec<String>, Vec<String>) {
    let list = cloud.call("owner", "GET", "/v1/AUTH_1/.CDN_ACCESS_LOGS", &[]).await;
    let names: Vec<String> = list.text().lines().map(str::to_owned).collect();
    let mut lines = Vec::new();
    for name in &names {
        let log = cloud.call("owner", "GET", &format!("/v1/AUTH_1/.CDN_ACCESS_LOGS/{name}"), &[]).await;
        let mut text = String::new();
        flate2::read::GzDecoder::new(&log.body[..]).read_to_string(&mut text).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    (names, lines)
}

on_each_engine! {
    async fn visits_are_delivered_as_documented(location: &Location) {
        let cloud = cloud(location).await;
        cloud.store("/c/o", &[], b"hello").await;
        cloud.store("/quiet/o", &[], b"hello").await;
        let own = cloud.publish("c", &[("x-log-retention", "True")]).await;
        let quiet = cloud.publish("quiet", &[]).await;
        visit(&cloud, "GET", &own, "/o?secret=1", &[("user-agent", "a \"b\""), ("referer", "http://r/")]).await;
        visit(&cloud, "HEAD", &own, "/o", &[]).await;
        visit(&cloud, "GET", &own, "/missing", &[]).await;
        visit(&cloud, "GET", &quiet, "/o", &[]).await;
        cloud.log.deliver(&cloud.files).await;
        let (names, lines) = delivered(&cloud).await;
        let host = own.split(':').next().unwrap();
        let line = |method: &str, path: &str, rest: &str| {
            format!("192.0.2.7 - - [11/01/2014:15:17:03 +0000] \"{method} /{host}{path} HTTP/1.1\" {rest}")
        };
        assert_eq!(lines, [
            line("GET", "/o", "200 5 \"http://r/\" \"a \\\"b\\\"\""),
            line("HEAD", "/o", "200 0 \"-\" \"-\""),
            line("GET", "/missing", "404 70 \"-\" \"-\""),
        ]);
        let [name] = names.as_slice() else { panic!("{names:?}") };
        let md5 = name.strip_prefix("c/2014/01/11/15/").and_then(|rest| rest.strip_suffix(".log.gz")).unwrap();
        assert!(md5.len() == 32 && md5.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
        // Nothing is left to deliver.
        cloud.log.deliver(&cloud.files).await;
        assert_eq!(delivered(&cloud).await, (names, lines));
        // Another hour has another object.
        cloud.clock.advance(Duration::from_secs(3600));
        visit(&cloud, "GET", &own, "/o", &[]).await;
        cloud.log.deliver(&cloud.files).await;
        let (names, lines) = delivered(&cloud).await;
        assert!(names[1].starts_with("c/2014/01/11/16/") && names.len() == 2 && lines.len() == 4, "{names:?}");
    }
}

on_each_engine! {
    async fn long_values_are_cut(location: &Location) {
        let cloud = cloud(location).await;
        cloud.store("/c/o", &[], b"hello").await;
        let own = cloud.publish("c", &[("x-log-retention", "True")]).await;
        let path = format!("/{}", "p".repeat(5000));
        let agent = "a".repeat(5000);
        // A cut never splits a character, here of two bytes.
        let referrer = format!("r{}", "\u{e9}".repeat(2500));
        visit(&cloud, "GET", &own, &path, &[("user-agent", &agent), ("referer", &referrer)]).await;
        cloud.log.deliver(&cloud.files).await;
        let (_, lines) = delivered(&cloud).await;
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        let quoted: Vec<&str> = line.split('"').collect();
        let host = own.split(':').next().unwrap();
        let path = format!("/{host}{path}");
        assert_eq!(quoted[1], format!("GET {} HTTP/1.1", &path[..2048]));
        assert_eq!((quoted[3], quoted[5]), (&referrer[..2047], &agent[..2048]));
    }
}

on_each_engine! {
    async fn no_quota_of_a_container_binds_the_delivery(location: &Location) {
        let cloud = cloud(location).await;
        cloud.store("/c/o", &[], b"hello").await;
        let own = cloud.publish("c", &[("x-log-retention", "True")]).await;
        let quotas = [
            ("x-container-meta-quota-bytes", "0"), ("x-container-meta-quota-count", "0"), ("content-length", "0"),
        ];
        let made = cloud.call("owner", "PUT", "/v1/AUTH_1/.CDN_ACCESS_LOGS", &quotas).await;
        assert_eq!(made.status, 201);
        visit(&cloud, "GET", &own, "/o", &[]).await;
        cloud.log.deliver(&cloud.files).await;
        assert_eq!(delivered(&cloud).await.1.len(), 1);
        // They still bind the account's owner.
        let path = "/v1/AUTH_1/.CDN_ACCESS_LOGS/o";
        let refused = cloud.send("owner", "PUT", path, &[("content-length", "1")], "x").await;
        assert_eq!(refused.status, 413);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_one_tenant_do_not_keep_those_of_others_out() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = cloud(&scratch.location).await;
    let mut sites = Vec::new();
    for tenant in ["1", "2"] {
        let context = cdn::service::Context::internal();
        let published = cloud.cdn.publish(&context, tenant, "c", cdn::model::Change::default()).await;
        let hash = published.unwrap().publication.hash;
        sites.push(cloud.cdn.site(hash).await.unwrap().unwrap());
    }
    let access = Access {
        at: cloud.clock.now(),
        client: "192.0.2.7".into(),
        method: "GET".into(),
        path: "/host/o".into(),
        version: "HTTP/1.1".into(),
        status: 200,
        bytes: 5,
        referrer: None,
        agent: None,
    };
    let logs = tempfile::tempdir().unwrap();
    // What could not be delivered before this process started: 32 MiB of an hour, twice.
    for hour in [1, 2] {
        let path = logs.path().join(format!("{}.{hour}.log", sites[0].hash));
        std::fs::write(&path, format!("AUTH_1\tc\t{hour}\n")).unwrap();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().set_len(32 << 20).unwrap();
    }
    let spool = Spool::open(logs.path()).unwrap();
    let files = || std::fs::read_dir(logs.path()).unwrap().count();
    spool.record(&sites[0], &access);
    assert_eq!(files(), 2, "the tenant has used up its share");
    spool.record(&sites[1], &access);
    assert_eq!(files(), 3, "another one has not");
    // Neither account exists, so the lines need not be stored anywhere.
    spool.deliver(&cloud.files).await;
    assert_eq!(files(), 0);
    spool.record(&sites[0], &access);
    assert_eq!(files(), 1, "what was delivered no longer counts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_left_is_delivered_once() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = cloud(&scratch.location).await;
    cloud.store("/c/o", &[], b"hello").await;
    let own = cloud.publish("c", &[("x-log-retention", "True")]).await;
    visit(&cloud, "GET", &own, "/o", &[]).await;
    let logs = cloud.dir.path().join("logs");
    let left: Vec<_> = std::fs::read_dir(&logs).unwrap().map(|file| file.unwrap().path()).collect();
    let [left] = left.as_slice() else { panic!("{left:?}") };
    let copy = std::fs::read(left).unwrap();
    // As a process finds it that starts after the first one was killed before it delivered anything.
    Spool::open(&logs).unwrap().deliver(&cloud.files).await;
    let once = delivered(&cloud).await;
    assert_eq!((once.0.len(), once.1.len()), (1, 1));
    assert_eq!(std::fs::read_dir(&logs).unwrap().count(), 0);
    // And one whose predecessor was killed after it delivered the lines, before it deleted their file.
    std::fs::write(left, copy).unwrap();
    std::fs::write(logs.join("torn.1.log"), "AUTH_1\tc").unwrap();
    Spool::open(&logs).unwrap().deliver(&cloud.files).await;
    assert_eq!(delivered(&cloud).await, once);
    assert_eq!(std::fs::read_dir(&logs).unwrap().count(), 0);
}
