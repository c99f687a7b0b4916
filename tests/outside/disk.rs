//! Disks that are full, fail, or are read-only.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tests::client::Client;
use tests::cloud::{API_KEY, Cloud, PATIENCE, succeed, until};
use tests::http::sign_in;

const OBJECT_BYTES: usize = 32 << 10;

fn connect(cloud: &Cloud) -> Client {
    let token = sign_in(&cloud.url, "admin", API_KEY).header("x-auth-token").to_owned();
    let mut client = Client::connect(cloud.port(), &token).unwrap();
    assert_eq!(client.send("PUT", "/v1/AUTH_100001/d", &[], b"").unwrap().status, 201);
    client
}

fn path(n: usize) -> String {
    format!("/v1/AUTH_100001/d/o-{n:05}")
}

/// A cloud whose data directory is on a small disk of its own.
struct SmallDisk {
    cloud: Cloud,
}

impl SmallDisk {
    fn start(size: &str) -> Self {
        // The fourth word of the command is the data directory.
        let script =
            format!("mkdir -p \"$4\" && mount -t tmpfs -o size={size},mode=700 tmpfs \"$4\" && exec \"$@\"");
        let wrapper = ["unshare", "--mount", "sh", "-c", &script, "--"];
        Self { cloud: Cloud::start_with(&["--hypervisor", "simulated:"], &wrapper) }
    }

    /// Returns the data directory as the program sees it.
    fn data(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.cloud.pid(), self.cloud.data().display()))
    }

    fn free_kib(&self) -> u64 {
        // Not df, which looks the path up among the mounts of its own namespace.
        let shown = succeed(Command::new("stat").args(["-f", "-c", "%a %S"]).arg(self.data()));
        let (blocks, size) = shown.trim().split_once(' ').unwrap();
        blocks.parse::<u64>().unwrap() * size.parse::<u64>().unwrap() / 1024
    }

    /// Fills the disk except for `kib`.
    fn leave_free_kib(&self, kib: u64) {
        let take = self.free_kib().saturating_sub(kib);
        succeed(
            Command::new("fallocate").args(["-l", &format!("{take}KiB")]).arg(self.data().join("filler")),
        );
    }

    fn volumes(&self) -> usize {
        volumes(&self.data())
    }
}

/// Counts the volumes.
fn volumes(data: &Path) -> usize {
    let names = std::fs::read_dir(data.join("blobs/volumes")).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|end| end == "vol")).count()
}

#[test]
fn a_full_disk_stores_what_fits_deletes_and_recovers() {
    let disk = SmallDisk::start("150m");
    let mut client = connect(&disk.cloud);
    let mut put = |n: usize, bytes: usize| client.send("PUT", &path(n), &[], &vec![7; bytes]).unwrap().status;
    let stored = (0..).find(|n| put(*n, OBJECT_BYTES) != 201).unwrap();
    assert!(stored * OBJECT_BYTES > 70 << 20, "only {stored} objects fit");
    for n in 0..400 {
        assert_eq!(put(stored + n, OBJECT_BYTES), 507);
    }
    assert!(disk.volumes() <= 2, "{} volumes", disk.volumes());
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", disk.cloud.pid())).unwrap().count();
    assert!(descriptors < 150, "{descriptors} descriptors are open");
    assert!(disk.free_kib() > 4 << 10, "{} KiB are held back", disk.free_kib());

    // Fill the reserved space too: every deletion must still succeed.
    disk.leave_free_kib(64);
    let mut client =
        Client::connect(disk.cloud.port(), sign_in(&disk.cloud.url, "admin", API_KEY).header("x-auth-token"))
            .unwrap();
    for n in (0..stored).filter(|n| n % 5 != 0) {
        let deleted = client.send("DELETE", &path(n), &[], b"").unwrap();
        assert_eq!(deleted.status, 204, "object {n} of {stored}: {deleted:?}");
    }
    // Compaction frees space on its own, although it has almost none to work with.
    until("compaction to free space", PATIENCE, || (disk.free_kib() > 80 << 10).then_some(()));
    std::fs::remove_file(disk.data().join("filler")).unwrap();
    let mut put = |n: usize, bytes: usize| client.send("PUT", &path(n), &[], &vec![8; bytes]).unwrap().status;
    until("uploads to succeed again", PATIENCE, || (put(1, OBJECT_BYTES) == 201).then_some(()));
    for n in (0..stored / 2).filter(|n| n % 5 != 0) {
        assert_eq!(put(n, OBJECT_BYTES), 201, "object {n}");
    }
    disk.leave_free_kib(20 << 10);
    assert_eq!(put(1, 100), 201, "100 bytes fit into 20 MiB");
    for n in (0..stored).filter(|n| n % 5 == 0) {
        let kept = client.send("GET", &path(n), &[], b"").unwrap();
        assert!(kept.status == 200 && kept.body == vec![7; OBJECT_BYTES], "object {n}: {}", kept.status);
    }
}

/// strace, attached to a running program to make system calls fail.
struct Failing {
    strace: Child,
    _dir: tempfile::TempDir,
    log: PathBuf,
}

impl Failing {
    fn calls(cloud: &Cloud, calls: &str, error: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let strace = Command::new("strace")
            .args(["-f", "-y", "-p", &cloud.pid().to_string(), "-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:error={error}"), "-o"])
            .arg(&log)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let status = format!("/proc/{}/status", cloud.pid());
        until("strace to attach", PATIENCE, || {
            let status = std::fs::read_to_string(&status).unwrap();
            (!status.contains("TracerPid:\t0")).then_some(())
        });
        // All threads must be attached, not only the first.
        until("strace to follow every thread", PATIENCE, || {
            let mut tasks = std::fs::read_dir(format!("/proc/{}/task", cloud.pid())).unwrap();
            let traced = |task: std::io::Result<std::fs::DirEntry>| {
                let status = std::fs::read_to_string(task.unwrap().path().join("status"));
                status.map_or(true, |status| !status.contains("TracerPid:\t0"))
            };
            tasks.all(traced).then_some(())
        });
        Self { strace, _dir: dir, log }
    }

    /// Lets calls succeed again; returns the calls made meanwhile.
    fn end(mut self) -> String {
        succeed(Command::new("kill").args(["-s", "INT", &self.strace.id().to_string()]));
        self.strace.wait().unwrap();
        std::fs::read_to_string(&self.log).unwrap()
    }
}

#[test]
fn a_failed_sync_is_not_repeated_and_loses_nothing_acknowledged() {
    let cloud = Cloud::start();
    let mut client = connect(&cloud);
    let mut put = |n: usize, bytes: usize| client.send("PUT", &path(n), &[], &vec![7; bytes]).unwrap().status;
    assert_eq!((put(0, 1000), put(1, 1_500_000)), (201, 201));
    // SQLite uses fsync; fdatasync is for volumes and files with one blob.
    let failing = Failing::calls(&cloud, "fdatasync", "EIO");
    for n in 2..12 {
        assert_eq!(put(n, 1000), 503);
    }
    assert_eq!(put(12, 1_500_000), 503);
    let tried = failing.end();
    let mut files: Vec<&str> = tried
        .lines()
        .filter_map(|line| Some(line.split_once("fdatasync(")?.1.split_once('<')?.1.split_once('>')?.0))
        .collect();
    assert!(files.len() >= 11, "{tried}");
    files.sort_unstable();
    let count = files.len();
    files.dedup();
    assert_eq!(files.len(), count, "no file was synced again after its sync had failed: {tried}");
    let volumes = volumes(&cloud.data());
    assert!(volumes <= 2, "volumes without anything acknowledged are removed: {volumes}");
    assert_eq!((put(13, 1000), put(14, 1_500_000)), (201, 201));
    for n in [0, 1, 13, 14] {
        assert_eq!(client.send("GET", &path(n), &[], b"").unwrap().status, 200, "object {n}");
    }
    for n in 2..13 {
        assert_eq!(client.send("GET", &path(n), &[], b"").unwrap().status, 404, "object {n}");
    }
}

#[test]
fn a_disk_that_rejects_writes_is_reported_as_unavailable_and_recovers() {
    let cloud = Cloud::start();
    let mut client = connect(&cloud);
    assert_eq!(client.send("PUT", &path(0), &[], b"before").unwrap().status, 201);
    let failing = Failing::calls(&cloud, "pwrite64,fallocate", "EROFS");
    for (method, path, body) in [
        ("PUT", path(1), &b"small"[..]),
        ("PUT", path(1), &[7; 2_000_000]),
        ("PUT", path(1), b""),
        ("POST", path(0), b""),
        ("DELETE", path(0), b""),
        ("PUT", "/v1/AUTH_100001/other".into(), b""),
    ] {
        let answer = client.send(method, &path, &[("X-Object-Meta-A", "b")], body).unwrap();
        let length = body.len();
        // A large file is written by other calls than those that fail here, but its row is not.
        assert!([503, 507].contains(&answer.status), "{method} {path} of {length}: {answer:?}");
    }
    assert_eq!(client.send("GET", &path(0), &[], b"").unwrap().body, b"before");
    failing.end();
    until("writes to work again", PATIENCE, || {
        (client.send("PUT", &path(1), &[], b"after").unwrap().status == 201).then_some(())
    });
    assert_eq!(client.send("GET", &path(1), &[], b"").unwrap().body, b"after");
}

#[test]
fn damage_is_reported_by_doctor_and_metrics_and_affects_one_object() {
    let mut cloud = Cloud::start();
    let mut client = connect(&cloud);
    for n in 0..20 {
        assert_eq!(
            client.send("PUT", &path(n), &[], &vec![u8::try_from(n).unwrap(); 3000]).unwrap().status,
            201
        );
    }
    cloud.stop();
    let volume = cloud.data().join("blobs/volumes/00000001.vol");
    let mut bytes = std::fs::read(&volume).unwrap();
    let eighth = bytes.windows(3000).position(|window| window.iter().all(|byte| *byte == 7)).unwrap();
    bytes[eighth + 1000] ^= 4;
    std::fs::write(&volume, bytes).unwrap();
    cloud.launch();
    assert!(cloud.admin(&["doctor"]).status.success(), "the damage was not read yet");
    let mut client =
        Client::connect(cloud.port(), sign_in(&cloud.url, "admin", API_KEY).header("x-auth-token")).unwrap();
    for n in 0..20 {
        let found = client.send("GET", &path(n), &[], b"").unwrap();
        assert_eq!(found.status, if n == 7 { 500 } else { 200 }, "object {n}");
    }
    let doctor = cloud.admin(&["doctor"]);
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        !doctor.status.success() && said.lines().filter(|line| line.starts_with("damaged ")).count() == 1,
        "{said}"
    );
    until("the metric to report the damage", PATIENCE, || {
        let metrics = client.send("GET", "/metrics", &[], b"").unwrap();
        String::from_utf8_lossy(&metrics.body).contains("nephos_damaged_blobs 1\n").then_some(())
    });
    assert_eq!(client.send("PUT", &path(7), &[], b"restored").unwrap().status, 201);
    assert!(cloud.admin(&["doctor", "--deep"]).status.success());
}
