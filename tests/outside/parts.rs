//! The parts of a cloud belong together: a start with a wrong or missing part is rejected and changes nothing.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::client::Client;
use tests::cloud::{API_KEY, Cloud, PATIENCE, succeed, until};
use tests::http::sign_in;

const LARGE: usize = 1_500_000;

/// Returns a stopped cloud with a small and a large object.
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

/// Starts it, checks that nothing is lost, and stops it.
fn assert_whole(cloud: &mut Cloud) {
    cloud.launch();
    let mut client = client(cloud);
    assert_eq!(client.send("GET", "/v1/AUTH_100001/c/small", &[], b"").unwrap().body, b"small");
    let large = client.send("GET", "/v1/AUTH_100001/c/large", &[], b"").unwrap();
    assert!(large.status == 200 && large.body == vec![7; LARGE], "{}", large.status);
    cloud.stop();
}

/// Starts it with additional arguments and expects exit code 2 and one line that begins with `expected`.
fn assert_refused(cloud: &Cloud, words: &[&str], expected: &[&str]) {
    let mut child = cloud.serve().args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if !line.is_empty() {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("it started: {line}");
    }
    let output = child.wait_with_output().unwrap();
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

/// Returns the path of a service's database, which after a stop is a single file.
fn database(cloud: &Cloud, service: &str) -> PathBuf {
    cloud.data().join(format!("db/{service}.db"))
}

#[test]
fn a_start_without_a_database_is_refused() {
    let mut cloud = stopped();
    for service in ["files", "identity", "cdn", "compute", "images", "networks", "meter"] {
        let path = database(&cloud, service);
        let aside = set_aside(&path);
        assert_refused(&cloud, &[], &["database: ", service, "missing"]);
        assert!(!path.exists(), "no new {service} database was created");
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

/// Makes the data directory look like one of an early version, which did not store ids.
fn forget_ids(cloud: &Cloud) {
    for service in ["meter", "identity", "files", "cdn", "images", "networks", "compute"] {
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
    // Now its parts have ids and belong together.
    let aside = set_aside(&database(&cloud, "files"));
    assert_refused(&cloud, &[], &["database: ", "files", "missing"]);
    std::fs::rename(aside, database(&cloud, "files")).unwrap();
    assert_whole(&mut cloud);
}

/// Writes a configuration with these storage policies and their directories; returns the arguments that select it.
fn policies(cloud: &Cloud, policies: &[(&str, &str)]) -> [String; 2] {
    let entry = |(name, dir): &(&str, &str)| {
        let dir = cloud.dir.path().join(dir);
        format!("[[files.policies]]\nname = '{name}'\nblobs = 'file:{}'\n", dir.display())
    };
    let path = cloud.dir.path().join("nephos.toml");
    std::fs::write(&path, policies.iter().map(entry).collect::<String>()).unwrap();
    ["--config".to_owned(), path.display().to_string()]
}

/// Stores an object in a container of a policy; creates the container if necessary.
fn put_in(client: &mut Client, policy: &str) {
    let container = format!("/v1/AUTH_100001/{policy}");
    let made = client.send("PUT", &container, &[("X-Storage-Policy", policy)], b"").unwrap();
    assert!([201, 202].contains(&made.status), "{policy}: {}", made.status);
    let body = format!("in {policy}");
    assert_eq!(client.send("PUT", &format!("{container}/o"), &[], body.as_bytes()).unwrap().status, 201);
}

fn assert_reads(client: &mut Client, policy: &str) {
    let found = client.send("GET", &format!("/v1/AUTH_100001/{policy}/o"), &[], b"").unwrap();
    assert_eq!((found.status, found.body), (200, format!("in {policy}").into_bytes()));
}

#[test]
fn storage_policies_keep_their_directories_and_their_order() {
    let mut cloud = stopped();
    // The first policy has the existing directory.
    let [one, two, three] = [("one", "data/blobs"), ("two", "second"), ("three", "third")];
    cloud.arguments.extend(policies(&cloud, &[one, two]));
    cloud.launch();
    put_in(&mut client(&cloud), "one");
    put_in(&mut client(&cloud), "two");
    cloud.stop();
    // Two directories are exchanged.
    let _ = policies(&cloud, &[("one", "second"), ("two", "data/blobs")]);
    assert_refused(&cloud, &[], &["blobs: ", "another storage policy than number 0"]);
    // A policy with objects is removed, the last one or another.
    let _ = policies(&cloud, &[one]);
    assert_refused(&cloud, &[], &["files.policies: ", "than the 1 configured"]);
    let _ = policies(&cloud, &[two]);
    assert_refused(&cloud, &[], &["blobs: ", "another storage policy than number 0"]);
    // A policy is added, and removed before anything is stored in it.
    let _ = policies(&cloud, &[one, two, three]);
    cloud.launch();
    for policy in ["one", "two"] {
        assert_reads(&mut client(&cloud), policy);
    }
    cloud.stop();
    let _ = policies(&cloud, &[one, two]);
    cloud.launch();
    cloud.stop();
    let _ = policies(&cloud, &[one, two, three]);
    cloud.launch();
    put_in(&mut client(&cloud), "three");
    cloud.stop();
    let _ = policies(&cloud, &[one, two]);
    assert_refused(&cloud, &[], &["files.policies: ", "than the 2 configured"]);
    let _ = policies(&cloud, &[one, two, three]);
    cloud.launch();
    for policy in ["one", "two", "three"] {
        assert_reads(&mut client(&cloud), policy);
    }
    cloud.stop();
    assert_whole(&mut cloud);
}

#[test]
fn an_older_database_with_newer_objects_loses_none_of_them() {
    let mut cloud = stopped();
    let files = database(&cloud, "files");
    let older = std::fs::read(&files).unwrap();
    cloud.launch();
    let put = |client: &mut Client, name: &str, body: &[u8]| {
        let path = format!("/v1/AUTH_100001/c/{name}");
        assert_eq!(client.send("PUT", &path, &[], body).unwrap().status, 201);
    };
    let mut newer = client(&cloud);
    put(&mut newer, "newer-small", b"newer");
    put(&mut newer, "newer-large", &vec![9; LARGE]);
    put(&mut newer, "small", b"written anew");
    cloud.stop();
    let current = std::fs::read(&files).unwrap();
    std::fs::write(&files, older).unwrap();
    cloud.launch();
    // The older database has no rows for the newer objects. Their bytes are set aside, or kept, for a day.
    let mut restored = client(&cloud);
    assert_eq!(restored.send("GET", "/v1/AUTH_100001/c/newer-small", &[], b"").unwrap().status, 404);
    assert_eq!(restored.send("GET", "/v1/AUTH_100001/c/small", &[], b"").unwrap().body, b"small");
    until("the newer large object to be set aside", PATIENCE, || {
        let aside = std::fs::read_dir(cloud.data().join("blobs/aside")).unwrap().count();
        (aside == 1).then_some(())
    });
    // Compaction runs too: it checks volumes after each deletion.
    put(&mut restored, "gone", b"gone");
    assert_eq!(restored.send("DELETE", "/v1/AUTH_100001/c/gone", &[], b"").unwrap().status, 204);
    assert!(cloud.admin(&["doctor"]).status.success());
    cloud.stop();
    std::fs::write(&files, current).unwrap();
    cloud.launch();
    let mut client = client(&cloud);
    for (name, body) in [
        ("newer-small", b"newer".to_vec()),
        ("newer-large", vec![9; LARGE]),
        ("small", b"written anew".to_vec()),
        ("large", vec![7; LARGE]),
    ] {
        let found = client.send("GET", &format!("/v1/AUTH_100001/c/{name}"), &[], b"").unwrap();
        assert!(found.status == 200 && found.body == body, "{name}: {} {}", found.status, found.body.len());
    }
    assert!(cloud.admin(&["doctor", "--deep"]).status.success());
    cloud.stop();
}
