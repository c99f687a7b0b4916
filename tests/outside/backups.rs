//! Backups by unmodified programs with their own formats: restic, duplicity, and Rackspace's own library of 2011.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::cloud::{API_KEY, Cloud, clean, read, succeed};

/// Writes files of several sizes, and one that changes with each `day`.
fn write_files(root: &Path, day: u8) {
    std::fs::create_dir_all(root.join("deep/größer")).unwrap();
    for number in 0..40u8 {
        std::fs::write(root.join(format!("deep/größer/{number}.txt")), format!("{number}\n").repeat(200))
            .unwrap();
    }
    let mut state = u64::from(day);
    let mut noise = Vec::new();
    while noise.len() < 9_000_000 {
        // Marsaglia's xorshift: its output cannot be compressed.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    std::fs::write(root.join("noise.bin"), noise).unwrap();
    std::fs::write(root.join("diary.txt"), format!("day {day}\n")).unwrap();
    // Backup programs detect changes by times in whole seconds, and two days of the test may be within one second.
    let changed = std::time::SystemTime::UNIX_EPOCH
        + std::time::Duration::from_secs(1_700_000_000 + 86_400 * u64::from(day));
    for name in ["noise.bin", "diary.txt"] {
        let file = std::fs::File::options().append(true).open(root.join(name)).unwrap();
        file.set_modified(changed).unwrap();
    }
}

fn same(left: &Path, right: &Path) {
    succeed(Command::new("diff").arg("-r").args([left, right]));
}

#[test]
fn restic_backs_up_checks_prunes_and_restores() {
    let cloud = Cloud::start();
    let dir = cloud.dir.path();
    let source = dir.join("source");
    let restic = |words: &[&str]| {
        let mut command = Command::new("restic");
        clean(&mut command);
        command
            .env("ST_AUTH", format!("{}/auth/v1.0", cloud.url))
            .env("ST_USER", "admin:admin")
            .env("ST_KEY", API_KEY)
            .env("RESTIC_PASSWORD", "a password")
            .env("RESTIC_REPOSITORY", "swift:backups:/host")
            .env("RESTIC_CACHE_DIR", dir.join("cache"))
            .current_dir(&source)
            .args(words);
        command
    };
    write_files(&source, 1);
    succeed(&mut restic(&["init"]));
    succeed(&mut restic(&["backup", "."]));
    write_files(&source, 2);
    std::fs::remove_file(source.join("deep/größer/7.txt")).unwrap();
    succeed(&mut restic(&["backup", "."]));
    succeed(&mut restic(&["check", "--read-data"]));
    let size = || cloud_bytes(&cloud, "backups");
    let before = size();
    succeed(&mut restic(&["forget", "--keep-last", "1", "--prune"]));
    assert!(size() + 8_000_000 < before, "the first day's noise is gone: {before} then {}", size());
    succeed(&mut restic(&["check", "--read-data"]));
    let snapshots: serde_json::Value =
        serde_json::from_str(&succeed(&mut restic(&["snapshots", "--json"]))).unwrap();
    assert_eq!(snapshots.as_array().unwrap().len(), 1);
    let target = dir.join("restored");
    succeed(&mut restic(&["restore", "latest", "--target", target.to_str().unwrap()]));
    same(&source, &target);
    assert_eq!(read(&target.join("diary.txt")), b"day 2\n");
    let wrong = restic(&["snapshots"]).env("ST_KEY", "not the key").output().unwrap();
    assert!(!wrong.status.success(), "another key is rejected");
}

/// Returns a container's byte counter.
fn cloud_bytes(cloud: &Cloud, container: &str) -> u64 {
    let signed_in = tests::http::sign_in(&cloud.url, "admin", API_KEY);
    let token = format!("X-Auth-Token: {}", signed_in.header("x-auth-token"));
    let url = format!("{}/{container}", signed_in.header("x-storage-url"));
    tests::http::curl(&["-I", "-H", &token, &url]).header("x-container-bytes-used").parse().unwrap()
}

#[test]
fn duplicity_backs_up_fully_and_by_difference_verifies_and_restores() {
    let cloud = Cloud::start();
    let dir = cloud.dir.path();
    let (source, home) = (dir.join("source"), dir.join("home"));
    std::fs::create_dir_all(&home).unwrap();
    let duplicity = |words: &[&str]| {
        let mut command = Command::new("duplicity");
        clean(&mut command);
        command
            .env("SWIFT_AUTHURL", format!("{}/auth/v1.0", cloud.url))
            .env("SWIFT_AUTHVERSION", "1")
            .env("SWIFT_USERNAME", "admin:admin")
            .env("SWIFT_PASSWORD", API_KEY)
            .env("HOME", &home)
            .args(words)
            .args(["--no-encryption", "--no-print-statistics", "--volsize", "4", "--num-retries", "1"]);
        command
    };
    let from = source.to_str().unwrap();
    write_files(&source, 1);
    succeed(&mut duplicity(&["full", from, "swift://backups/host"]));
    let first_day = succeed(&mut duplicity(&["list-current-files", "swift://backups/host"]));
    assert!(first_day.contains("diary.txt") && first_day.contains("deep/größer/39.txt"), "{first_day}");
    let kept = dir.join("kept");
    succeed(Command::new("cp").args(["-a", from]).arg(&kept));
    write_files(&source, 2);
    succeed(&mut duplicity(&["incremental", from, "swift://backups/host"]));
    let verified = succeed(&mut duplicity(&["verify", "--compare-data", "swift://backups/host", from]));
    assert!(verified.contains("0 differences found"), "{verified}");
    std::fs::write(source.join("diary.txt"), "day 3\n").unwrap();
    let differs = duplicity(&["verify", "--compare-data", "swift://backups/host", from]).output().unwrap();
    assert!(!differs.status.success(), "verification detects a changed file");
    write_files(&source, 2);
    // Without the local state, so that everything comes from the cloud.
    std::fs::remove_dir_all(&home).unwrap();
    std::fs::create_dir_all(&home).unwrap();
    let status = succeed(&mut duplicity(&["collection-status", "swift://backups/host"]));
    assert!(status.contains("Full ") && status.contains("Incremental "), "{status}");
    let back = dir.join("back");
    succeed(&mut duplicity(&["restore", "swift://backups/host", back.to_str().unwrap()]));
    same(&source, &back);
}

#[test]
fn rackspaces_own_library_of_2011_tours_cloud_files() {
    let cloud = Cloud::start();
    let home =
        std::env::var_os("NEPHOS_TEST_CLIENTS").expect("NEPHOS_TEST_CLIENTS: run the tests by `make test`");
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let mut command = Command::new(PathBuf::from(home).join("python2/bin/python"));
    clean(&mut command);
    command.arg(here.join("cloudfiles_tour.py"));
    command.args([&format!("{}/v1.0", cloud.url), "admin", API_KEY]);
    assert_eq!(succeed(&mut command), "toured\n");
}
