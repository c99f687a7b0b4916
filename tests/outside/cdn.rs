//! The CDN from outside: publishing and reading by curl.

use std::path::Path;
use std::process::Command;

use tests::cloud::{API_KEY, Cloud, PATIENCE, succeed, until};
use tests::http::{Answer, curl};

struct Owner {
    token: String,
    files: String,
    cdn: String,
}

impl Owner {
    fn of(cloud: &Cloud) -> Self {
        let key = format!("X-Auth-Key: {API_KEY}");
        let signed_in = curl(&["-H", "X-Auth-User: admin", "-H", &key, &format!("{}/v1.0", cloud.url)]);
        Self {
            token: format!("X-Auth-Token: {}", signed_in.header("x-auth-token")),
            files: signed_in.header("x-storage-url").to_owned(),
            cdn: signed_in.header("x-cdn-management-url").to_owned(),
        }
    }

    fn call(&self, method: &str, url: &str, more: &[&str]) -> Answer {
        curl(&[&["-X", method, "-H", &self.token, url], more].concat())
    }

    fn store(&self, path: &str, file: &Path) {
        let (file, url) = (file.to_str().unwrap(), format!("{}/{path}", self.files));
        assert_eq!(self.call("PUT", &url, &["-T", file]).status, 201, "{path}");
    }

    fn publish(&self, container: &str) -> Answer {
        let published = self.call("PUT", &format!("{}/{container}", self.cdn), &["-H", "X-TTL: 3600"]);
        assert!([201, 202].contains(&published.status), "{}", published.status);
        published
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(11);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

#[test]
fn a_published_container_is_read_over_http_https_and_http2() {
    let cloud = Cloud::start();
    let owner = Owner::of(&cloud);
    let (file, bytes) = (cloud.dir.path().join("big"), noise(5_000_000));
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(owner.call("PUT", &format!("{}/pub", owner.files), &[]).status, 201);
    owner.store("pub/a%20file", &file);
    let published = owner.publish("pub");
    let url = format!("{}/a%20file", published.header("x-cdn-uri"));
    for _ in 0..2 {
        let got = curl(&[&url]);
        assert_eq!((got.status, got.header("cache-control")), (200, "max-age=3600, public"));
        assert!(got.body == bytes, "byte for byte");
    }
    let range = curl(&["-r", "2000000-4000000", &url]);
    assert!(range.status == 206 && range.body == bytes[2_000_000..=4_000_000]);
    let etag = format!("If-None-Match: {}", range.header("etag"));
    assert_eq!(curl(&["-H", &etag, &url]).status, 304);
    assert_eq!(curl(&["-X", "DELETE", &url]).status, 405);
    assert_eq!(
        curl(&[&format!("{}/pub/a%20file", owner.files)]).status,
        401,
        "the storage is closed as before"
    );

    // The name for HTTPS, verified by the certificate that the cloud made for such names.
    let authority = cloud.data().join("edge-cert-cdn.localhost.pem");
    let authority = authority.to_str().unwrap();
    let secure = format!("{}/a%20file", published.header("x-cdn-ssl-uri"));
    for version in ["--http1.1", "--http2"] {
        let got = curl(&[version, "--cacert", authority, "-r", "0-99", &secure]);
        assert!(got.status == 206 && got.body == bytes[..100], "{version}: {}", got.status);
    }
}

#[test]
fn access_logs_survive_kill_9_and_are_delivered_once() {
    let mut cloud = Cloud::start();
    let owner = Owner::of(&cloud);
    let file = cloud.dir.path().join("file");
    std::fs::write(&file, "hello").unwrap();
    assert_eq!(owner.call("PUT", &format!("{}/pub", owner.files), &[]).status, 201);
    owner.store("pub/o", &file);
    let logged = owner.call("PUT", &format!("{}/pub", owner.cdn), &["-H", "X-Log-Retention: True"]);
    let url = format!("{}/o", logged.header("x-cdn-uri"));
    for n in 0..3 {
        assert_eq!(curl(&["-A", &format!("visitor {n}"), &url]).status, 200);
    }
    let lines = || {
        let files = std::fs::read_dir(cloud.data().join("edge-logs")).unwrap();
        let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        texts.map(|text| text.matches("visitor").count()).sum::<usize>()
    };
    until("the lines in the spool", PATIENCE, || (lines() == 3).then_some(()));
    cloud.kill();
    cloud.launch();
    assert_eq!(curl(&["-A", "visitor 3", &url]).status, 200);
    // A server that is asked to stop delivers what it has.
    cloud.stop();
    cloud.launch();
    let owner = Owner::of(&cloud);
    let logs = format!("{}/.CDN_ACCESS_LOGS", owner.files);
    let names = owner.call("GET", &logs, &[]).text();
    let mut all = String::new();
    for name in names.lines() {
        assert!(name.starts_with("pub/20") && name.ends_with(".log.gz"), "{name}");
        let packed = cloud.dir.path().join("log.gz");
        std::fs::write(&packed, owner.call("GET", &format!("{logs}/{name}"), &[]).body).unwrap();
        all.push_str(&succeed(Command::new("gzip").arg("-dc").arg(&packed)));
    }
    for n in 0..4 {
        assert_eq!(all.matches(&format!("\"visitor {n}\"")).count(), 1, "{all}");
    }
    assert!(all.contains("\"GET /") && all.contains(".cdn.localhost/o HTTP/1.1\" 200 5 \"-\""), "{all}");
}

#[test]
fn a_purge_is_in_force_when_it_is_answered_and_a_cache_outlives_kill_9() {
    let mut cloud = Cloud::start();
    let owner = Owner::of(&cloud);
    let file = cloud.dir.path().join("file");
    let (old, new) = (noise(200_000), noise(200_001));
    std::fs::write(&file, &old).unwrap();
    assert_eq!(owner.call("PUT", &format!("{}/pub", owner.files), &[]).status, 201);
    owner.store("pub/o", &file);
    let url = format!("{}/o", owner.publish("pub").header("x-cdn-uri"));
    assert!(curl(&[&url]).body == old);
    std::fs::write(&file, &new).unwrap();
    owner.store("pub/o", &file);
    assert!(curl(&[&url]).body == old, "within its TTL");
    assert_eq!(owner.call("DELETE", &format!("{}/pub/o", owner.cdn), &[]).status, 204);
    assert!(curl(&[&url]).body == new, "purged");

    let is_on_disk = || {
        let files = std::fs::read_dir(cloud.data().join("edge-cache")).unwrap();
        let mut all = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        all.any(|bytes| bytes.windows(64).any(|window| window == &new[new.len() - 64..])).then_some(())
    };
    until("the object in the cache on disk", PATIENCE, is_on_disk);
    cloud.kill();
    cloud.launch();
    let owner = Owner::of(&cloud);
    assert_eq!(owner.call("DELETE", &format!("{}/pub/o", owner.files), &[]).status, 204);
    assert!(curl(&[&url]).body == new, "it was still there, from the disk");
    assert_eq!(owner.call("DELETE", &format!("{}/pub", owner.cdn), &[]).status, 204);
    assert_eq!(curl(&[&url]).status, 404, "what is purged is not served from there");
}
