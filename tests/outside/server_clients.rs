//! Clients of Cloud Servers v1.0 from its time, unmodified except for the URL. Each tour makes every call that its client has
//! for this service, checks every response, and prints a count.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::cloud::{API_KEY, Cloud, clean, succeed};

fn environments() -> PathBuf {
    std::env::var_os("NEPHOS_TEST_CLIENTS").expect("NEPHOS_TEST_CLIENTS: run the tests by `make test`").into()
}

/// Runs a tour against a cloud; returns its last line.
fn tour(interpreter: &Path, script: &str, auth: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
    let mut command = Command::new(interpreter);
    clean(&mut command);
    let said = succeed(command.arg(script).args([auth, "admin", API_KEY]));
    said.lines().last().unwrap_or_default().to_owned()
}

/// Starts a cloud that responds as the live service did instead of as the guide says; libcloud and fog require that.
fn live() -> (Cloud, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nephos.toml");
    std::fs::write(&file, "[servers.v1]\nanswers = \"live\"\n").unwrap();
    let words = ["--config", file.to_str().unwrap(), "--hypervisor", "simulated:?delay=20"];
    (Cloud::start_with(&words, &[]), dir)
}

#[test]
fn libclouds_first_generation_driver_does_all_it_can_in_xml() {
    let (cloud, _dir) = live();
    let said = tour(&environments().join("bin/python"), "libcloud_tour.py", &cloud.url);
    assert_eq!(said, "libcloud: 27 methods");
}

#[test]
fn fogs_first_generation_compute_makes_every_request() {
    let (cloud, _dir) = live();
    let said = tour(Path::new("/usr/bin/ruby"), "fog_tour.rb", &format!("{}/v2.0", cloud.url));
    assert_eq!(said, "fog: 22 requests");
}

#[test]
fn python_cloudservers_does_all_it_can_in_json() {
    let python = environments().join("python2/bin/python");
    let cloud = Cloud::start();
    let said = tour(&python, "cloudservers_tour.py", &format!("{}/v1.0", cloud.url));
    assert_eq!(said, "cloudservers: 34 methods");
}

#[test]
fn novaclient_signs_in_with_an_api_key_and_finds_its_endpoints() {
    let cloud = Cloud::start();
    let python = environments().join("novaclient/bin/python");
    let said = tour(&python, "novaclient_tour.py", &format!("{}/v2.0/", cloud.url));
    assert_eq!(said, "novaclient: token, tenant and 4 endpoints");
}
