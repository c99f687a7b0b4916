//! Data directories written by earlier releases can be opened and used.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::client::Client;
use tests::cloud::{API_KEY, Cloud, succeed};
use tests::http::sign_in;

const ACCOUNT: &str = "/v1/AUTH_100001";

fn archives() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".tar.xz"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_golden_directory_opens_and_works() {
    let archives = archives();
    assert!(archives.len() >= 2, "{archives:?}");
    for archive in archives {
        println!("{}", archive.display());
        open_and_use(&archive);
    }
}

fn open_and_use(archive: &Path) {
    let mut cloud = Cloud::start();
    cloud.stop();
    std::fs::remove_dir_all(cloud.data()).unwrap();
    std::fs::create_dir(cloud.data()).unwrap();
    succeed(Command::new("tar").arg("-C").arg(cloud.data()).arg("-xJf").arg(archive));
    cloud.launch();
    let token = std::fs::read_to_string(cloud.data().join("token")).unwrap();
    // The token from the release that wrote it is valid for a day; signing in must always work.
    assert_eq!(token.len(), 32);
    let token = sign_in(&cloud.url, "admin", API_KEY).header("x-auth-token").to_owned();
    let mut client = Client::connect(cloud.port(), &token).unwrap();
    check_objects(&mut client);
    check_server(&mut client);
    let ann = sign_in(&cloud.url, "ann", "0123456789abcdef0123456789abcdef");
    assert_eq!(ann.status, 204, "{ann:?}");
    let report = cloud.admin_json(&["doctor", "--deep"]);
    assert_eq!((&report["broken"], &report["repaired"]), (&serde_json::json!([]), &serde_json::json!([])));
    change(&mut client);
    cloud.stop();
    cloud.launch();
    let report = cloud.admin_json(&["doctor", "--deep"]);
    assert_eq!((&report["broken"], &report["repaired"]), (&serde_json::json!([]), &serde_json::json!([])));
}

fn get(client: &mut Client, path: &str) -> Vec<u8> {
    let found = client.send("GET", &format!("{ACCOUNT}{path}"), &[], b"").unwrap();
    assert_eq!(found.status, 200, "{path}: {}", String::from_utf8_lossy(&found.body));
    found.body
}

fn check_objects(client: &mut Client) {
    for n in 0..39usize {
        let expected = if n % 2 == 0 {
            format!("again {n} ").repeat(n * 5 + 1)
        } else {
            format!("small {n} ").repeat(n * 7 + 1)
        };
        assert!(get(client, &format!("/c/small-{n:02}")) == expected.as_bytes(), "small {n}");
    }
    assert!(get(client, "/c/large") == b"large ".repeat(250_000));
    assert!(get(client, "/c/copy") == b"large ".repeat(250_000));
    assert_eq!(get(client, "/c/empty"), b"");
    assert!(get(client, "/c/slo") == [b"one ".repeat(1000), b"two ".repeat(1000)].concat());
    assert!(get(client, "/c/link") == b"small 1 ".repeat(8));
    assert_eq!(get(client, "/c/expiring"), b"later");
    assert_eq!(get(client, "/v/o"), b"version 2");
    let versions: serde_json::Value =
        serde_json::from_slice(&get(client, "/v?versions&format=json")).unwrap();
    assert_eq!(versions.as_array().unwrap().len(), 3);
    let head = client.send("HEAD", &format!("{ACCOUNT}/c"), &[], b"").unwrap();
    // 39 small objects, large, empty, copy, two parts, a manifest, a link, one with an expiry.
    assert_eq!(head.header("x-container-object-count"), "47");
    assert_eq!((head.header("x-container-meta-kind"), head.header("x-container-read")), ("golden", ".r:*"));
    let account = client.send("HEAD", ACCOUNT, &[], b"").unwrap();
    assert_eq!(account.header("x-account-meta-temp-url-key"), "golden");
}

fn check_server(client: &mut Client) {
    let shown = client.send("GET", "/servers/v1.0/100001/servers/1.json", &[], b"").unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&shown.body).unwrap();
    assert_eq!((&shown["server"]["name"], &shown["server"]["status"]), (&"golden".into(), &"ACTIVE".into()));
    assert_eq!(shown["server"]["metadata"]["k"], "v");
}

/// Deletes and writes enough that volumes of the old release are compacted too.
fn change(client: &mut Client) {
    for n in 0..38 {
        let path = format!("{ACCOUNT}/c/small-{n:02}");
        assert_eq!(client.send("DELETE", &path, &[], b"").unwrap().status, 204);
    }
    assert_eq!(client.send("PUT", &format!("{ACCOUNT}/c/large"), &[], b"small now").unwrap().status, 201);
    assert_eq!(get(client, "/c/large"), b"small now");
    assert!(get(client, "/c/copy") == b"large ".repeat(250_000));
    let deleted = client.send("DELETE", "/servers/v1.0/100001/servers/1", &[], b"").unwrap();
    assert_eq!(deleted.status, 202);
}
