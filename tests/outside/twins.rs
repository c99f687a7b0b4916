//! Two clouds with a common realm, configured as by an operator: containers are synchronised, each policy stores bytes as
//! configured, and access logs are delivered on shutdown.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::cloud::{API_KEY, Cloud, PATIENCE, clean, succeed, until};
use tests::http::curl;

/// Runs the swift client with a cloud's credentials.
fn swift(cloud: &Cloud, words: &[&str]) -> String {
    let home =
        std::env::var_os("NEPHOS_TEST_CLIENTS").expect("NEPHOS_TEST_CLIENTS: run the tests by `make test`");
    let mut command = Command::new(Path::new(&home).join("bin/swift"));
    clean(&mut command);
    let auth = format!("{}/auth/v1.0", cloud.url);
    command.args(["-A", &auth, "-U", "admin:admin", "-K", API_KEY]).args(words);
    command.current_dir(cloud.dir.path());
    succeed(&mut command)
}

/// Starts a cloud that is cluster `current` of the realm. The URL of its own cluster is never used.
fn configured(current: &str, two: u16, dir: &Path) -> Cloud {
    let toml = format!(
        "[[files.policies]]\nname = 'plain'\n[[files.policies]]\nname = 'closed'\nencryption = true\n\
         [files.container_sync]\ncurrent = '//twins/{current}'\ninterval = 1\n\
         [files.container_sync.realms.twins]\nkey = 'of both'\n\
         clusters = {{ one = 'http://127.0.0.1:1/v1/', two = 'http://127.0.0.1:{two}/v1/' }}\n"
    );
    let path = dir.join(format!("{current}.toml"));
    std::fs::write(&path, toml).expect("a configuration");
    Cloud::start_with(&["--hypervisor", "simulated:", "--config", &path.display().to_string()], &[])
}

/// Returns whether a file below a directory contains this text.
fn holds(dir: &Path, text: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.filter_map(Result::ok).any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return holds(&path, text);
        }
        std::fs::read(&path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
    })
}

#[test]
fn two_clouds_synchronise_a_container() {
    let dir = tempfile::tempdir().expect("a directory");
    let two = configured("two", 1, dir.path());
    let mut one = configured("one", two.port(), dir.path());
    let info = curl(&[&format!("{}/info", one.url)]).json();
    let current = serde_json::json!({"TWINS": {"clusters": {"ONE": {"current": true}, "TWO": {}}}});
    assert_eq!(info["container_sync"]["realms"], current);
    assert_eq!(info["swift"]["policies"][1]["name"], "closed");
    swift(&two, &["post", "backup", "-k", "shared"]);
    swift(&one, &["post", "work", "-H", "X-Storage-Policy: closed"]);
    let to = "//twins/two/AUTH_100001/backup";
    swift(&one, &["post", "work", "-t", to, "-k", "shared", "-m", "Access-Log-Delivery: True"]);
    let text = "what nobody finds on the first cloud's disk\n";
    std::fs::write(one.dir.path().join("note.txt"), text).expect("a file");
    std::fs::write(one.dir.path().join("old.txt"), "old").expect("a file");
    swift(&one, &["upload", "work", "note.txt", "old.txt"]);
    let listing = || swift(&two, &["list", "backup"]);
    until("both objects to be replicated", PATIENCE, || (listing() == "note.txt\nold.txt\n").then_some(()));
    assert_eq!(swift(&two, &["download", "backup", "note.txt", "-o", "-"]), text);
    swift(&one, &["delete", "work", "old.txt"]);
    until("the deletion to be replicated", PATIENCE, || (listing() == "note.txt\n").then_some(()));
    assert!(!holds(&one.data().join("blobs"), text.trim()), "encrypted by its policy");
    assert!(holds(&two.data().join("blobs"), text.trim()), "unencrypted by the other's");
    // A clean shutdown delivers the log of the requests so far.
    one.stop();
    one.launch();
    let logs = until("the log", Duration::from_secs(30), || {
        Some(swift(&one, &["list", ".ACCESS_LOGS"])).filter(|list| !list.is_empty())
    });
    let name = logs.lines().next().expect("a log");
    assert!(name.starts_with("work/20") && name.ends_with(".log.gz"), "{name}");
    swift(&one, &["download", ".ACCESS_LOGS", name, "-o", "log.gz"]);
    let lines = succeed(Command::new("gzip").arg("-dc").arg(one.dir.path().join("log.gz")));
    assert!(lines.contains("\"PUT /v1/AUTH_100001/work/note.txt HTTP/1.1\" 201 "), "{lines}");
    assert!(lines.contains("\"DELETE /v1/AUTH_100001/work/old.txt HTTP/1.1\" 204 0 "), "{lines}");
    assert_eq!(swift(&one, &["download", "work", "note.txt", "-o", "-"]), text, "also after a restart");
}
