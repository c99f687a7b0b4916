//! Simulates power cuts. The program runs under strace, which records each change of its data directory. From the record the
//! test reconstructs what a disk may contain if the power fails at any moment: what is covered by syncs that had returned, and
//! any part of later changes, torn and out of order, including directory entries. The program is then started on it, and
//! everything that was acknowledged must exist.
//!
//! The same record shows that each sync is necessary: the check must fail if the syncs of one kind have no effect.
//!
//! `NEPHOS_POWER_CUTS` is the number of cuts, `NEPHOS_POWER_CUT_SEED` chooses them.

mod disk;
mod trace;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use disk::{Disk, Keep, kind_of_sync};
use tests::client::Client;
use tests::cloud::{API_KEY, Cloud, PASSWORD, PATIENCE, clean, free_port, program, until};
use tests::http::sign_in;
use trace::{CALLS, Change, Trace};
use workload::{History, Value, allowed};

const ACCOUNT: &str = "/v1/AUTH_100001";
const PUBLISHED: &str = "/cdn/v1/AUTH_100001/c";
/// Number of cuts in an ordinary test run; `make powercuts` makes more.
const CUTS: usize = 80;
/// Maximum number of cuts tried for each kind of sync to show that it is necessary.
const TRIES: usize = 40;
const AT_ONCE: usize = 2;
/// Changes of the disk before a volume is removed, some of which are its compaction, and which are candidates for cuts.
const COMPACTION_EVENTS: usize = 120;
const CUTS_AROUND_COMPACTION: usize = 30;
/// Time limit for building a simulated server.
const BUILT_WITHIN: Duration = Duration::from_secs(20);
/// Syncs without which this workload loses nothing, since what they make durable is not acknowledged to its clients.
const NOT_SEEN: [&str; 8] = [
    // A simulated host represents another machine, whose power is not cut.
    "hosts",
    // If it cannot be read, numbers are skipped.
    "the highest number of a volume",
    // SQLite writes these while it creates a database; an interrupted creation is started again.
    "-journal",
    // Nothing is stored there.
    "blobs/policy-1",
    // If it is missing, the operator sets another password with `nephos user set`.
    "openrc.new",
    // The edge's own certificate is created again if it is absent; no client of the run reads it.
    "edge-",
    // Usage of the last seconds may be lost.
    "db/meter.db",
    // The first images and networks are created again if they are absent.
    "db/images.db",
];

/// A recorded run.
struct Record {
    trace: Trace,
    root: std::path::PathBuf,
    histories: Vec<History>,
    token: String,
    /// The line at which the user's token was sent.
    signed_in: usize,
    /// The line at which publishing a container was acknowledged.
    published: usize,
    /// The server's id, and the line at which its creation was acknowledged.
    server: (String, usize),
}

fn record(dir: &Path) -> Record {
    let path = dir.join("trace");
    let shown = path.to_str().expect("a path");
    // -D: the program is the child that the test signals and waits for, strace its own child's tracer.
    let wrapper = ["strace", "-D", "-f", "-y", "-xx", "-s", "4000000", "-e", CALLS, "-o", shown];
    let mut cloud =
        Cloud::start_with(&["--hypervisor", "simulated:?delay=20", "--files-scrub-rate", "0"], &wrapper);
    let signed = sign_in(&cloud.url, "admin", API_KEY);
    let (token, transaction) =
        (signed.header("x-auth-token").to_owned(), signed.header("x-trans-id").to_owned());
    let mut histories = workload::run(cloud.port(), &token, ACCOUNT);
    let mut client = Client::connect(cloud.port(), &token).expect("a connection");
    let made = client.send("PUT", PUBLISHED, &[("X-TTL", "3600")], b"").expect("a response");
    assert_eq!(made.status, 201, "{}", String::from_utf8_lossy(&made.body));
    let published = made.header("x-trans-id").to_ascii_lowercase();
    let body = br#"{"server": {"name": "first", "imageId": 1, "flavorId": 1}}"#;
    let headers = [("Content-Type", "application/json")];
    let built = client.send("POST", "/servers/v1.0/100001/servers", &headers, body).expect("a response");
    assert_eq!(built.status, 202, "{}", String::from_utf8_lossy(&built.body));
    let created = built.header("x-trans-id").to_ascii_lowercase();
    let answer: serde_json::Value = serde_json::from_slice(&built.body).expect("JSON");
    let server = format!("/servers/v1.0/100001/servers/{}", answer["server"]["id"]);
    active(&mut client, &server).expect("a server");
    let root = cloud.data();
    until("the first volume to be compacted", PATIENCE, || {
        (!root.join("blobs/volumes/00000001.vol").exists()).then_some(())
    });
    cloud.kill();
    // strace exits after the program that it traces.
    until("the trace to be complete", PATIENCE, || {
        let ended = std::fs::read(&path).ok()?;
        let tail = ended.len().saturating_sub(4096);
        String::from_utf8_lossy(&ended[tail..]).contains("+++ killed by SIGKILL").then_some(())
    });
    let trace = Trace::read(&std::fs::read_to_string(&path).expect("a trace"), &root);
    assert!(removed_volume(&trace).is_some(), "no volume was removed");
    for step in histories.iter_mut().flatten() {
        assert!(trace.responses.contains_key(&step.transaction), "{step:?} left no trace");
    }
    assert_model_matches(&trace, &root);
    let signed_in = trace.responses[&transaction.to_ascii_lowercase()];
    let server = (server, trace.responses[&created]);
    let published = trace.responses[&published];
    Record { trace, root, histories, token, signed_in, published, server }
}

/// Returns the index of the event that removes the first volume.
fn removed_volume(trace: &Trace) -> Option<usize> {
    let is_volume = |path: &Path| path.extension().is_some_and(|end| end == "vol");
    trace.events.iter().position(|event| matches!(&event.change, Change::Unlink { path } if is_volume(path)))
}

/// Returns cuts at the changes that compact a volume: copies, rows, and the volume's removal.
fn cuts_around_compaction(trace: &Trace, seed: u64) -> Vec<(usize, Keep)> {
    let removed = removed_volume(trace).expect("a volume was removed");
    let around =
        &trace.events[removed.saturating_sub(COMPACTION_EVENTS)..trace.events.len().min(removed + 8)];
    let step = (around.len() / CUTS_AROUND_COMPACTION).max(1);
    let lines = around.iter().step_by(step).map(|event| event.ended);
    lines.enumerate().map(|(n, line)| (line, kept(n, seed))).collect()
}

/// Returns what the `n`th cut keeps.
fn kept(n: usize, seed: u64) -> Keep {
    match n % 4 {
        0 => Keep::Nothing,
        1 => Keep::Everything,
        _ => Keep::Some(seed.wrapping_mul(1_000_003).wrapping_add(n as u64)),
    }
}

/// Checks that the model with all changes kept equals the real disk; otherwise it would prove nothing.
fn assert_model_matches(trace: &Trace, root: &Path) {
    let dir = tempfile::tempdir().expect("a directory");
    Disk::at(trace, root, trace.lines, &|_| false).write(dir.path(), Keep::Everything);
    let mut compared = 0;
    let mut waiting = vec![root.to_owned()];
    while let Some(real) = waiting.pop() {
        let modelled = dir.path().join(real.strip_prefix(root).expect("a path below"));
        if real.is_dir() {
            waiting.extend(
                std::fs::read_dir(&real).expect("a directory").map(|entry| entry.expect("an entry").path()),
            );
            assert!(modelled.is_dir(), "{} is missing from the model", real.display());
        } else if real.is_file() && !real.to_string_lossy().ends_with("-shm") {
            let (expected, found) = (tests::cloud::read(&real), std::fs::read(&modelled).unwrap_or_default());
            let differs = expected.iter().zip(&found).position(|(a, b)| a != b);
            let lengths = (expected.len(), found.len());
            assert!(expected == found, "{} differs at {differs:?} of {lengths:?}", real.display());
            compared += 1;
        }
    }
    assert!(compared > 15, "{compared} files were compared");
}

fn active(client: &mut Client, server: &str) -> Result<(), String> {
    let deadline = Instant::now() + BUILT_WITHIN;
    loop {
        let shown =
            client.send("GET", server, &[("Accept", "application/json")], b"").map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&shown.body).into_owned();
        if shown.status != 200 {
            return Err(format!("the server that was created: {} {text}", shown.status));
        }
        let shown: serde_json::Value = serde_json::from_slice(&shown.body).map_err(|e| e.to_string())?;
        if shown["server"]["status"] == "ACTIVE" {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("the server that was created is not built: {text}"));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Cuts the power at `line` and starts the program on what remains; returns what is wrong, if anything.
fn cut(record: &Record, line: usize, keep: Keep, ignored: &dyn Fn(&Path) -> bool) -> Result<(), String> {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    Disk::at(&record.trace, &record.root, line, ignored).write(&data, keep);
    let port = free_port();
    let log = std::fs::File::create(dir.path().join("log")).expect("a log");
    let mut command = Command::new(program());
    command.arg("serve").arg("--data-dir").arg(&data).args([
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--edge-listen",
        "off",
    ]);
    command.args(["--hypervisor", "simulated:?delay=1", "--files-scrub-rate", "0"]);
    clean(&mut command);
    command.env("NEPHOS_ADMIN_PASSWORD", PASSWORD).env("NEPHOS_ADMIN_API_KEY", API_KEY);
    command.env("NEPHOS_SERVERS_RATE_LIMITS", "off");
    let mut child =
        command.stdout(Stdio::piped()).stderr(log).stdin(Stdio::null()).spawn().expect("it starts");
    let mut said = String::new();
    let _ = BufReader::new(child.stdout.take().expect("its output")).read_line(&mut said);
    let outcome = if said.starts_with("ready ") {
        check(record, line, port, &data)
    } else {
        Err("the program does not start".into())
    };
    let _ = child.kill();
    let _ = child.wait();
    let log = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    outcome.map_err(|what| format!("{what}\n{}", log()))
}

fn check(record: &Record, line: usize, port: u16, data: &Path) -> Result<(), String> {
    let broken = |e: std::io::Error| format!("no response: {e}");
    if record.signed_in > line {
        return Ok(());
    }
    let mut client = Client::connect(port, &record.token).map_err(broken)?;
    let acknowledged = |transaction: &str| record.trace.responses[transaction] <= line;
    for history in &record.histories {
        for (path, values) in allowed(history, &acknowledged) {
            let response = client.send("GET", &path, &[], b"").map_err(broken)?;
            let meta = response.header("x-object-meta-n").to_owned();
            let found = match response.status {
                404 => Value::Absent,
                200 => Value::Content { bytes: response.body, meta },
                other => return Err(format!("{path}: {other}")),
            };
            if !values.contains(&found) {
                return Err(format!(
                    "{path}: {} instead of {:?}",
                    short(&found),
                    values.iter().map(short).collect::<Vec<_>>()
                ));
            }
        }
    }
    if record.published <= line {
        let shown = client.send("HEAD", PUBLISHED, &[], b"").map_err(broken)?;
        if (shown.status, shown.header("x-ttl")) != (204, "3600") {
            return Err(format!("the container that was published: {}", shown.status));
        }
    }
    if record.server.1 <= line {
        active(&mut client, &record.server.0)?;
    }
    let mut doctor = Command::new(program());
    doctor.args(["doctor", "--deep", "--json", "--data-dir"]).arg(data);
    clean(&mut doctor);
    let report = doctor.output().expect("the doctor");
    let report: serde_json::Value = serde_json::from_slice(&report.stdout)
        .map_err(|_| String::from_utf8_lossy(&report.stderr).into_owned())?;
    for field in ["broken", "repaired"] {
        if report[field].as_array().is_none_or(|found| !found.is_empty()) {
            return Err(format!("{field}: {}", report[field]));
        }
    }
    Ok(())
}

fn short(value: &Value) -> String {
    match value {
        Value::Absent => "nothing".into(),
        Value::Content { bytes, meta } => {
            format!(
                "{} bytes, {:?}, meta {meta}",
                bytes.len(),
                String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
            )
        }
    }
}

/// Tries cuts, several in parallel, until all were tried or `enough` returns true for the faults found.
fn try_cuts(
    record: &Record,
    cuts: &[(usize, Keep)],
    ignored: &(dyn Fn(&Path) -> bool + Sync),
    enough: impl Fn(&[String]) -> bool + Sync,
) -> Vec<String> {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((line, keep)) = cuts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if enough(&wrong.lock().expect("what was wrong")) {
                        return;
                    }
                    if let Err(what) = cut(record, *line, *keep, ignored) {
                        let what = format!("cut at line {line}, kept {keep:?}: {what}");
                        wrong.lock().expect("what was wrong").push(what);
                    }
                }
            });
        }
    });
    wrong.into_inner().expect("what was wrong")
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn a_power_cut_loses_nothing_acknowledged_and_every_sync_is_necessary() {
    let dir = tempfile::tempdir().expect("a directory");
    let record = record(dir.path());
    let trace = &record.trace;
    let seed = variable("NEPHOS_POWER_CUT_SEED", 1);
    let count = usize::try_from(variable("NEPHOS_POWER_CUTS", CUTS as u64)).expect("a number");
    // A cut makes a difference only at a change of the disk or at a response.
    let mut lines: BTreeSet<usize> =
        trace.events.iter().flat_map(|event| [event.begun, event.ended]).collect();
    lines.extend(trace.responses.values());
    let lines: Vec<usize> = lines.into_iter().collect();
    let mut cuts: Vec<(usize, Keep)> = (0..count)
        .map(|n| {
            // Spread over the whole run, shifted a little by the seed.
            let step = lines.len() / count.max(1);
            let at = n * step + usize::try_from(seed).unwrap_or(0) * 7919 % step.max(1);
            (lines[at.min(lines.len() - 1)], kept(n, seed))
        })
        .collect();
    cuts.extend(cuts_around_compaction(trace, seed));
    let wrong = try_cuts(&record, &cuts, &|_| false, |_| false);
    println!("{} cuts among {} changes (seed {seed})", cuts.len(), trace.events.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let mut syncs: BTreeMap<String, usize> = BTreeMap::new();
    for event in &trace.events {
        if let Change::Sync { path } = &event.change {
            *syncs.entry(kind_of_sync(path, &record.root)).or_default() += 1;
        }
    }
    println!("syncs: {syncs:?}");
    // Without the syncs of one kind, some cut just after a response must lose something.
    let mut acknowledged: Vec<usize> =
        trace.responses.values().copied().filter(|line| *line > record.signed_in).collect();
    acknowledged.sort_unstable();
    let tries = TRIES.min(acknowledged.len());
    // What a service acknowledged once alone may be in its database's file, not only in the log, soon afterwards.
    let once = [record.signed_in, record.published, record.server.1];
    let spread = (1..=tries).map(|n| acknowledged[n * acknowledged.len() / tries - 1]);
    let after: Vec<(usize, Keep)> =
        once.into_iter().chain(spread).map(|line| (line, Keep::Nothing)).collect();
    let mut needless = Vec::new();
    for kind in syncs.keys().filter(|kind| !NOT_SEEN.iter().any(|not_seen| kind.contains(not_seen))) {
        let ignored = |path: &Path| kind_of_sync(path, &record.root) == *kind;
        let wrong = try_cuts(&record, &after, &ignored, |wrong| !wrong.is_empty());
        match wrong.first() {
            Some(what) => {
                println!("without the syncs of {kind:?}: {}", what.lines().next().unwrap_or_default())
            }
            None => needless.push(kind.clone()),
        }
    }
    assert_eq!(
        needless,
        Vec::<String>::new(),
        "nothing is lost without these syncs, so the test does not see them"
    );
}
