//! `make soak-memory`: reports a process's memory with mixed clients for some minutes (`NEPHOS_SOAK_MINUTES`, 60). Anonymous
//! resident memory, as the kernel counts it, must be below `NEPHOS_SOAK_MEMORY_MAX` MiB (150) at the end.
//!
//! `make soak-sign-ins`: reports its memory after `NEPHOS_SOAK_SIGN_INS` sign-ins with a password; it must be below 100 MiB.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tests::client::Client;
use tests::cloud::{API_KEY, Cloud, PASSWORD};
use tests::http::sign_in;

const CLIENTS: u64 = 16;
const REPORT_EVERY: Duration = Duration::from_secs(15);
/// Number of objects per client.
const NAMES: u64 = 200;
const ACCOUNT: &str = "/v1/AUTH_100001";
const SERVERS: &str = "/servers/v1.0/100001/servers";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Returns the anonymous resident memory of a process, in KiB.
fn memory(pid: u32) -> u64 {
    status(pid, "RssAnon:")
}

/// Returns a value from a process's status in /proc, in KiB.
fn status(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Signs in `count` times with a password, getting a new token each time, and reports the resident memory afterwards.
fn sign_ins(count: u64) -> ExitCode {
    let most = number("NEPHOS_SOAK_MEMORY_MAX", 100);
    let cloud = Cloud::start();
    let resident = |name: &str| status(cloud.pid(), name) >> 10;
    println!(
        "at the start: {} MiB resident, {} MiB of it anonymous",
        resident("VmRSS:"),
        resident("RssAnon:")
    );
    let body = format!(
        "{{\"auth\": {{\"identity\": {{\"methods\": [\"password\"], \"password\": {{\"user\": {{\"name\": \"admin\", \
         \"password\": \"{PASSWORD}\", \"domain\": {{\"id\": \"default\"}}}}}}}}}}}}"
    );
    let (begun, good) = (AtomicU64::new(0), AtomicU64::new(0));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = None;
                while begun.fetch_add(1, Relaxed) < count {
                    let Some(connected) = client.take().or_else(|| Client::connect(cloud.port(), "").ok())
                    else {
                        continue;
                    };
                    let mut connected = connected;
                    let json = [("Content-Type", "application/json")];
                    let answer = connected.send("POST", "/v3/auth/tokens", &json, body.as_bytes());
                    if answer.is_ok_and(|answer| answer.status == 201) {
                        good.fetch_add(1, Relaxed);
                        client = Some(connected);
                    }
                }
            });
        }
    });
    let end = resident("VmRSS:");
    println!(
        "after {} of {count} sign-ins by {CLIENTS} clients in {} s: {end} MiB resident, {} MiB of it anonymous, peak {} MiB",
        good.load(Relaxed),
        started.elapsed().as_secs(),
        resident("RssAnon:"),
        resident("VmHWM:")
    );
    if good.load(Relaxed) < count || end > most {
        eprintln!("expected {count} sign-ins and at most {most} MiB");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Sends one request of a kind that real clients send; returns its status.
fn one(client: &mut Client, random: &mut Random, id: u64, server: &mut Option<u64>) -> std::io::Result<u16> {
    let object = format!("{ACCOUNT}/memory/{id}-{}", random.below(NAMES));
    let small = random.below(64 << 10);
    let length = |bytes: u64| vec![b'x'; usize::try_from(bytes).unwrap_or(0)];
    let json = [("Content-Type", "application/json")];
    let answer = match random.below(40) {
        0..12 => client.send("PUT", &object, &[("X-Object-Meta-Soak", "yes")], &length(small)),
        12 => client.send("PUT", &object, &[], &length((1 << 20) + random.below(4 << 20))),
        13..22 => client.send("GET", &object, &[], b""),
        22 => client.send("GET", &object, &[("Range", "bytes=10-99,200-")], b""),
        23..26 => client.send("HEAD", &object, &[], b""),
        26 => client.send("DELETE", &object, &[], b""),
        27 => client.send("COPY", &object, &[("Destination", &format!("memory/{id}-copy"))], b""),
        28 => client.send("GET", &format!("{ACCOUNT}/memory?limit=500&format=json"), &[], b""),
        29 => client.send("POST", &object, &[("X-Object-Meta-Soak", "again")], b""),
        30 => client.send("GET", &format!("{ACCOUNT}?format=xml"), &[], b""),
        31 => {
            let manifest = format!("[{{\"path\": \"/memory/{id}-0\"}}, {{\"path\": \"/memory/{id}-1\"}}]");
            client.send("PUT", &format!("{object}-slo?multipart-manifest=put"), &[], manifest.as_bytes())
        }
        32 => client.send("GET", &format!("{object}-slo"), &[], b""),
        33 => client.send("POST", &format!("{ACCOUNT}?bulk-delete"), &[], object.as_bytes()),
        34 => {
            let auth = format!(
                "{{\"auth\": {{\"passwordCredentials\": {{\"username\": \"admin\", \"password\": \"{PASSWORD}\"}}}}}}"
            );
            client.send("POST", "/v2.0/tokens", &json, auth.as_bytes())
        }
        35 => client.send("GET", "/v1.0", &[("X-Auth-User", "admin"), ("X-Auth-Key", API_KEY)], b""),
        36 => client.send("GET", &format!("{SERVERS}/detail"), &[], b""),
        37 => match server.take() {
            Some(number) => client.send("DELETE", &format!("{SERVERS}/{number}"), &[], b""),
            None => {
                let create = br#"{"server": {"name": "soak", "imageId": 1, "flavorId": 1}}"#;
                let answer = client.send("POST", SERVERS, &json, create)?;
                let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                *server = body["server"]["id"].as_u64();
                Ok(answer)
            }
        },
        38 => client.send("PUT", "/v1/AUTH_100001", &[("X-Auth-Token", "bad")], &length(small)),
        _ => client.send("GET", "/nothing/here", &[], b""),
    };
    answer.map(|answer| answer.status)
}

/// Sends requests until it is told to stop, reconnecting now and then; counts them by status class.
fn work(port: u16, token: &str, id: u64, stop: &AtomicBool, counts: &[AtomicU64; 6]) {
    let (mut random, mut server) = (Random(id + 1), None);
    while !stop.load(Relaxed) {
        let Ok(mut client) = Client::connect(port, token) else { continue };
        for _ in 0..100 {
            let status = one(&mut client, &mut random, id, &mut server).unwrap_or(0);
            counts[usize::from(status / 100).min(5)].fetch_add(1, Relaxed);
            // After a status that closes the connection, the next request needs a new one.
            if status == 0 || stop.load(Relaxed) {
                break;
            }
        }
    }
}

fn main() -> ExitCode {
    let count = number("NEPHOS_SOAK_SIGN_INS", 0);
    if count > 0 {
        return sign_ins(count);
    }
    let minutes = number("NEPHOS_SOAK_MINUTES", 60);
    let most = number("NEPHOS_SOAK_MEMORY_MAX", 150);
    let cloud = Cloud::start();
    let signed = sign_in(&cloud.url, "admin", API_KEY);
    let token = signed.header("x-auth-token").to_owned();
    let made = Client::connect(cloud.port(), &token)
        .and_then(|mut client| client.send("PUT", &format!("{ACCOUNT}/memory"), &[], b""));
    if let Err(error) = made {
        eprintln!("no container: {error}");
        return ExitCode::FAILURE;
    }
    let (stop, counts) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 6]);
    let started = Instant::now();
    println!("at the start: {} MiB", memory(cloud.pid()) >> 10);
    let mut peak = 0;
    std::thread::scope(|scope| {
        for id in 0..CLIENTS {
            let (stop, counts, token, port) = (&stop, &counts, &token, cloud.port());
            scope.spawn(move || work(port, token, id, stop, counts));
        }
        while started.elapsed() < Duration::from_secs(minutes * 60) {
            // The measurement lasts a fixed time; there is no condition to wait for.
            let rest = Duration::from_secs(minutes * 60).saturating_sub(started.elapsed());
            std::thread::park_timeout(REPORT_EVERY.min(rest));
            let now = memory(cloud.pid());
            peak = peak.max(now);
            let counts: Vec<u64> = counts.iter().map(|count| count.load(Relaxed)).collect();
            println!(
                "{:>5} s: {:>5} MiB, answers by class {counts:?}",
                started.elapsed().as_secs(),
                now >> 10
            );
        }
        stop.store(true, Relaxed);
    });
    let end = memory(cloud.pid());
    println!(
        "memory after {minutes} minutes of {CLIENTS} mixed clients: {} MiB, peak {} MiB",
        end >> 10,
        peak >> 10
    );
    if end >> 10 > most {
        eprintln!("more than {most} MiB");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
