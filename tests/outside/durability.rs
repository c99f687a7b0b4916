//! Acknowledged writes are durable: after kill -9 under load, and every 2xx follows the syncs of its blob and its row.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tests::cloud::{API_KEY, Cloud, PATIENCE, clean, program, until};
use tests::http::{curl, sign_in};

/// One connection that stores objects one after another.
struct Sender {
    stream: BufReader<TcpStream>,
    token: String,
}

impl Sender {
    fn new(port: u16, token: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), token: token.to_owned() })
    }

    /// Stores an object; returns the status.
    fn put(&mut self, path: &str, body: &[u8]) -> std::io::Result<u16> {
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: {}\r\nContent-Length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(code) = line.strip_prefix("http/1.1 ") {
                status = code[..3].parse().unwrap_or(0);
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap_or(0);
            } else if line.is_empty() {
                break;
            }
        }
        self.stream.read_exact(&mut vec![0; length])?;
        Ok(status)
    }
}

/// Per name: the newest version that was acknowledged, and the newest that was sent.
type Versions = HashMap<String, (Option<u32>, u32)>;

/// Returns content that contains its name and version, long enough for a volume or for a file of its own.
fn content(name: &str, version: u32) -> Vec<u8> {
    let length = if version % 40 == 39 { 1_200_000 } else { 100 + (version as usize * 37) % 5000 };
    format!("{name} {version} ").into_bytes().into_iter().cycle().take(length).collect()
}

#[test]
fn kill_9_under_load_loses_nothing_acknowledged() {
    kill_under_load(Cloud::start());
}

#[test]
fn kill_9_under_load_loses_nothing_acknowledged_on_postgresql() {
    kill_under_load(Cloud::start_with(&["--hypervisor", "simulated:", "--database", &postgres()], &[]));
}

#[test]
fn a_second_process_on_one_postgresql_is_rejected_and_a_killed_one_blocks_nobody() {
    let database = postgres();
    let mut first = Cloud::start_with(&["--hypervisor", "simulated:", "--database", &database], &[]);
    let other = tempfile::tempdir().unwrap();
    let data = other.path().join("data");
    // Use the same master key, as another process of this cloud would.
    std::fs::create_dir(&data).unwrap();
    std::fs::copy(first.data().join("master.key"), data.join("master.key")).unwrap();
    let mut second = std::process::Command::new(program());
    let words = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--edge-listen",
        "off",
        "--hypervisor",
        "simulated:",
        "--database",
        &database,
    ];
    second.args(words).arg("--data-dir").arg(&data);
    clean(&mut second);
    let second = second.output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.lines().last().is_some_and(|line| line.starts_with("nephos: database: in use")), "{said}");
    first.kill();
    first.launch();
    assert_eq!(sign_in(&first.url, "admin", API_KEY).status, 204);
}

/// Returns the URL of new schemas on the tests' server.
pub fn postgres() -> String {
    let url =
        std::env::var("NEPHOS_TEST_POSTGRES").expect("NEPHOS_TEST_POSTGRES: run the tests by `make test`");
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{url}?options=-c%20search_path%3Dt{since}")
}

fn kill_under_load(mut cloud: Cloud) {
    let token = sign_in(&cloud.url, "admin", API_KEY).header("x-auth-token").to_owned();
    let header = &format!("X-Auth-Token: {token}");
    let container = format!("{}/v1/AUTH_100001/load", cloud.url);
    assert_eq!(curl(&["-X", "PUT", "-H", header, &container]).status, 201);
    let known: Arc<Mutex<Versions>> = Arc::default();
    for round in 0..3 {
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..8)
            .map(|sender| {
                let (known, stop, token, port) =
                    (Arc::clone(&known), Arc::clone(&stop), token.clone(), cloud.port());
                std::thread::spawn(move || {
                    let mut connection = Sender::new(port, &token).unwrap();
                    for n in 0u32.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        // Some names are written once, some repeatedly.
                        let name = if n % 3 == 0 {
                            format!("s{sender}-same")
                        } else {
                            format!("s{sender}-r{round}-{n}")
                        };
                        let version = round * 1_000_000 + n;
                        known.lock().unwrap().entry(name.clone()).or_insert((None, version)).1 = version;
                        match connection
                            .put(&format!("/v1/AUTH_100001/load/{name}"), &content(&name, version))
                        {
                            Ok(201) => known.lock().unwrap().get_mut(&name).unwrap().0 = Some(version),
                            Ok(other) => panic!("{other}"),
                            Err(_) => return,
                        }
                    }
                })
            })
            .collect();
        let enough = 600 * (round as usize + 1);
        until("objects to be stored", PATIENCE, || (known.lock().unwrap().len() > enough).then_some(()));
        cloud.kill();
        stop.store(true, Ordering::Relaxed);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        cloud.launch();
        // Tokens are durable too: the same one remains valid.
        check(&cloud, header, &container, &known.lock().unwrap());
    }
}

fn check(cloud: &Cloud, header: &str, container: &str, known: &Versions) {
    let mut listed: HashMap<String, serde_json::Value> = HashMap::new();
    let mut marker = String::new();
    loop {
        let page =
            curl(&["-H", header, &format!("{container}?format=json&limit=10000&marker={marker}")]).json();
        let Some(last) = page.as_array().unwrap().last() else { break };
        marker = last["name"].as_str().unwrap().to_owned();
        for entry in page.as_array().unwrap() {
            listed.insert(entry["name"].as_str().unwrap().to_owned(), entry.clone());
        }
    }
    let mut bytes = 0;
    for (name, (acknowledged, sent)) in known {
        let entry = listed.get(name);
        assert!(entry.is_some() || acknowledged.is_none(), "{name}: version {acknowledged:?} is lost");
        let Some(entry) = entry else { continue };
        bytes += entry["bytes"].as_u64().unwrap();
        let hash = entry["hash"].as_str().unwrap();
        // The object must be the acknowledged version or the one in progress when the process died, and never a mixture.
        let mut versions = acknowledged.iter().chain([sent]);
        assert!(
            versions.any(|version| hash == hex::encode(fast_md5::digest(&content(name, *version)))),
            "{name}: {acknowledged:?} was acknowledged, {sent} sent, but {hash} is stored"
        );
    }
    assert_eq!(listed.len(), listed.keys().filter(|name| known.contains_key(*name)).count());
    let head = curl(&["-I", "-H", header, container]);
    assert_eq!(
        head.header("x-container-object-count"),
        listed.len().to_string(),
        "counters are exact at once"
    );
    assert_eq!(head.header("x-container-bytes-used"), bytes.to_string(), "counters are exact at once");
    // Verify the bytes of a sample of the listing.
    for (name, entry) in listed.iter().take(60) {
        let get = curl(&["-H", header, &format!("{}/v1/AUTH_100001/load/{name}", cloud.url)]);
        assert_eq!(hex::encode(fast_md5::digest(&get.body)), entry["hash"].as_str().unwrap(), "{name}");
    }
}

#[test]
fn no_2xx_precedes_the_syncs_of_its_blob_and_its_row() {
    let trace_dir = tempfile::tempdir().unwrap();
    let trace = trace_dir.path().join("trace");
    let calls = "trace=fdatasync,fsync,pwrite64,pwritev,write,writev,sendto,sendmsg";
    let wrapper = ["strace", "-f", "-y", "-s", "24", "-e", calls, "-o", trace.to_str().unwrap()];
    let mut cloud = Cloud::start_with(&["--hypervisor", "simulated:"], &wrapper);
    let token = sign_in(&cloud.url, "admin", API_KEY).header("x-auth-token").to_owned();
    let header = &format!("X-Auth-Token: {token}");
    let container = format!("{}/v1/AUTH_100001/traced", cloud.url);
    assert_eq!(curl(&["-X", "PUT", "-H", header, &container]).status, 201);
    let mut sender = Sender::new(cloud.port(), &token).unwrap();
    for n in 0..20 {
        assert_eq!(sender.put(&format!("/v1/AUTH_100001/traced/{n}"), &vec![7; 4096]).unwrap(), 201);
    }
    assert_eq!(sender.put("/v1/AUTH_100001/traced/large", &vec![7; 3_000_000]).unwrap(), 201);
    // strace forwards a signal to the traced process only if strace itself gets it.
    stop_traced(&mut cloud);

    let text = std::fs::read_to_string(&trace).unwrap();
    let (mut small, mut large) = (0, 0);
    let mut blob = Synced::default();
    let mut row = Synced::default();
    let mut directory_synced = false;
    for line in finished_calls(&text) {
        if line.contains(".vol>") || line.contains("/single/") {
            // For a file of its own the directory must be synced too, so that the name is durable.
            directory_synced |=
                line.starts_with("fsync(") && path(&line).rsplit('/').nth(1) == Some("single");
            blob.note(&line);
        } else if line.contains("files.db-wal>") {
            // The checkpointer syncs the log at any time too; only writes to the log count.
            if line.contains("write") {
                assert!(
                    blob.written == 0 || blob.is_durable(),
                    "a row was written before its blob was durable: {line}"
                );
            }
            row.note(&line);
        } else if line.contains("HTTP/1.1 201") && blob.written > 0 {
            assert!(blob.is_durable(), "201 before the blob was synced: {blob:?}, {line}");
            assert!(row.written > 0 && row.is_durable(), "201 before the row was synced: {row:?}, {line}");
            if blob.bytes > 1_000_000 {
                assert!(directory_synced, "201 before the directory of a file of its own was synced");
                large += 1;
            } else {
                small += 1;
            }
            (blob, row) = Default::default();
        } else if line.contains("HTTP/1.1 2") {
            (blob, row) = Default::default();
        }
    }
    assert_eq!((small, large), (20, 1), "the trace contains every upload");
}

#[derive(Debug, Default)]
struct Synced {
    written: u32,
    bytes: u64,
    /// Files with writes that were not synced.
    dirty: BTreeSet<String>,
}

impl Synced {
    fn note(&mut self, line: &str) {
        if line.contains("sync(") {
            self.dirty.remove(path(line));
        } else if line.contains("write") {
            self.written += 1;
            self.dirty.insert(path(line).to_owned());
            self.bytes += line.rsplit(" = ").next().and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0);
        }
    }

    fn is_durable(&self) -> bool {
        self.dirty.is_empty()
    }
}

/// Returns the path of the file that a call refers to, as strace shows it.
fn path(line: &str) -> &str {
    line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path)
}

/// Returns a trace's calls in the order in which they ended; interrupted ones are joined.
fn finished_calls(trace: &str) -> Vec<String> {
    let mut open: HashMap<&str, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix("<unfinished ...>") {
            open.insert(pid, begun.to_owned());
        } else if call.starts_with("<... ") {
            let rest = call.split_once("resumed>").map_or("", |(_, rest)| rest);
            calls.push(open.remove(pid).unwrap_or_default() + rest);
        } else {
            calls.push(call.to_owned());
        }
    }
    calls
}

fn stop_traced(cloud: &mut Cloud) {
    let children = format!("/proc/{0}/task/{0}/children", cloud.pid());
    let traced = std::fs::read_to_string(children).unwrap();
    let traced: u32 = traced.split_whitespace().next().expect("the traced program").parse().unwrap();
    assert!(std::process::Command::new("kill").arg(traced.to_string()).status().unwrap().success());
    cloud.ended();
}

#[test]
fn a_client_that_disconnects_leaves_nothing_behind() {
    let cloud = Cloud::start();
    let token = sign_in(&cloud.url, "admin", API_KEY).header("x-auth-token").to_owned();
    let header = &format!("X-Auth-Token: {token}");
    let container = format!("{}/v1/AUTH_100001/left", cloud.url);
    assert_eq!(curl(&["-X", "PUT", "-H", header, &container]).status, 201);
    let single = cloud.data().join("blobs/single");
    let singles = || {
        let shards = std::fs::read_dir(&single).unwrap().map(|shard| shard.unwrap().path());
        shards.map(|shard| std::fs::read_dir(shard).unwrap().count()).sum::<usize>()
    };
    for (announced, sent) in [(5_000_000, 3_000_000), (5000, 100)] {
        let mut stream = TcpStream::connect(("127.0.0.1", cloud.port())).unwrap();
        let head = format!(
            "PUT /v1/AUTH_100001/left/o HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: {token}\r\nContent-Length: {announced}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), &vec![1; sent]].concat()).unwrap();
        if sent > 1_000_000 {
            until("the upload to reach the disk", PATIENCE, || (singles() == 1).then_some(()));
        }
        drop(stream);
        until("its bytes to be removed", PATIENCE, || (singles() == 0).then_some(()));
    }
    assert_eq!(curl(&["-H", header, &format!("{container}/o")]).status, 404);
    assert_eq!(curl(&["-I", "-H", header, &container]).header("x-container-bytes-used"), "0");
}

#[test]
fn everything_remains_after_a_clean_stop() {
    let mut cloud = Cloud::start();
    let token = sign_in(&cloud.url, "admin", API_KEY).header("x-auth-token").to_owned();
    let header = &format!("X-Auth-Token: {token}");
    let account = format!("{}/v1/AUTH_100001", cloud.url);
    assert_eq!(
        curl(&["-X", "PUT", "-H", header, "-H", "X-Container-Meta-A: 1", &format!("{account}/c")]).status,
        201
    );
    assert_eq!(curl(&["-X", "PUT", "-H", header, "-d", "kept", &format!("{account}/c/o")]).status, 201);
    cloud.stop();
    cloud.launch();
    assert_eq!(curl(&["-H", header, &format!("{account}/c/o")]).text(), "kept");
    assert_eq!(curl(&["-I", "-H", header, &format!("{account}/c")]).header("x-container-meta-a"), "1");
    let used = cloud.admin(&["usage"]);
    assert!(String::from_utf8_lossy(&used.stdout).contains("files_bytes_in"), "{used:?}");
}
