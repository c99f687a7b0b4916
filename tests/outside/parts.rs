//! A cloud's parts belong together: a start with a wrong one, or without one, is refused and changes nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::client::Client;
use tests::cloud::{API_KEY, Cloud, succeed};
use tests::http::sign_in;

const LARGE: usize = 1_500_000;

/// A stopped cloud with a small and a large object.
fn stopped() -> Cloud {
    let mut cloud = Cloud::start();
    let mut client = client(&cloud);
    assert_eq!(client.send("PUT", "/v1/AUTH_100001/c", &[], b"").unwrap().status, 201);
    assert_eq!(client.send("PUT", "/v1/AUTH_100001/c/small", &[], b"small").unwrap().status, 201);
    assert_eq!(client.send("PUT", "/v1/AUTH_100001/c/large", &[], &vec![7; LARGE]).unwrap().status, 201);
    cloud.stop();
    cloud
}

fn client(cloud: &Cloud) -> Client {
    let token = sign_in(&cloud.url, "admin", API_KEY).header("x-auth-token").to_owned();
    Client::connect(cloud.port(), &token).unwrap()
}

/// Starts it once more, checks that nothing is lost, and stops it again.
fn assert_whole(cloud: &mut Cloud) {
    cloud.launch();
    let mut client = client(cloud);
    assert_eq!(client.send("GET", "/v1/AUTH_100001/c/small", &[], b"").unwrap().body, b"small");
    let large = client.send("GET", "/v1/AUTH_100001/c/large", &[], b"").unwrap();
    assert!(large.status == 200 && large.body == vec![7; LARGE], "{}", large.status);
    cloud.stop();
}

/// Starts it with more words and expects exit code 2 and one line that begins like this.
fn assert_refused(cloud: &Cloud, words: &[&str], expected: &[&str]) {
    let output = cloud.serve().args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = said.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(expected.iter().all(|part| line.contains(part)), "{line:?} does not say {expected:?}");
}

fn set_aside(path: &Path) -> PathBuf {
    let aside = path.with_extension("aside");
    std::fs::rename(path, &aside).unwrap();
    aside
}

/// All of a service's database: the log is empty after a stop.
fn database(cloud: &Cloud, service: &str) -> PathBuf {
    cloud.data().join(format!("db/{service}.db"))
}

#[test]
fn a_start_without_a_database_is_refused() {
    let mut cloud = stopped();
    for service in ["files", "identity", "compute", "images", "networks", "meter"] {
        let path = database(&cloud, service);
        let aside = set_aside(&path);
        assert_refused(&cloud, &[], &["database: ", service, "missing"]);
        assert!(!path.exists(), "no new {service} database was made");
        std::fs::rename(aside, path).unwrap();
    }
    let elsewhere = cloud.dir.path().join("elsewhere");
    assert_refused(
        &cloud,
        &["--database", &format!("sqlite:{}", elsewhere.display())],
        &["database: ", "missing"],
    );
    assert_whole(&mut cloud);
}

#[test]
fn a_start_with_another_clouds_part_is_refused() {
    let (mut cloud, other) = (stopped(), stopped());
    let other_db = format!("sqlite:{}", other.data().join("db").display());
    assert_refused(&cloud, &["--database", &other_db], &["database: ", "another cloud"]);
    let other_blobs = format!("file:{}", other.data().join("blobs").display());
    assert_refused(&cloud, &["--blobs", &other_blobs], &["blobs: ", "another cloud"]);
    let empty = cloud.dir.path().join("empty");
    assert_refused(&cloud, &["--blobs", &format!("file:{}", empty.display())], &["blobs: ", "it is empty"]);
    let key = cloud.data().join("master.key");
    let own = set_aside(&key);
    std::fs::copy(other.data().join("master.key"), &key).unwrap();
    assert_refused(&cloud, &[], &["master.key: ", "not the key"]);
    std::fs::rename(own, key).unwrap();
    assert_whole(&mut cloud);
}

/// Makes the data directory look as a version left it that knew no ids.
fn forget_ids(cloud: &Cloud) {
    for service in ["meter", "identity", "files", "images", "networks", "compute"] {
        let _ = cloud.query(service, "DROP TABLE cloud");
    }
    let ids =
        succeed(Command::new("find").arg(cloud.data()).args(["-name", "cloud-id", "-print", "-delete"]));
    assert_eq!(ids.lines().count(), 3, "{ids}");
}

#[test]
fn a_directory_of_an_earlier_version_is_adopted_unless_a_part_is_missing() {
    let mut cloud = stopped();
    forget_ids(&cloud);
    for (service, expected) in [("files", "blobs: "), ("identity", "database: ")] {
        let path = database(&cloud, service);
        let aside = set_aside(&path);
        assert_refused(&cloud, &[], &[expected, service, "missing"]);
        std::fs::rename(aside, path).unwrap();
    }
    let moved = set_aside(&cloud.data().join("blobs"));
    assert_refused(&cloud, &[], &["blobs: ", "it is empty"]);
    std::fs::remove_dir_all(cloud.data().join("blobs")).unwrap();
    std::fs::rename(moved, cloud.data().join("blobs")).unwrap();
    assert_whole(&mut cloud);
    // From then on its parts are tied together.
    let aside = set_aside(&database(&cloud, "files"));
    assert_refused(&cloud, &[], &["database: ", "files", "missing"]);
    std::fs::rename(aside, database(&cloud, "files")).unwrap();
    assert_whole(&mut cloud);
}
