//! `make soak`: kills the program at random moments with many clients, repeatedly. After each start every acknowledged write
//! must exist, and every few rounds all invariants must hold. `NEPHOS_SOAK_ROUNDS` and `NEPHOS_SOAK_SEED` select the number
//! of rounds and the seed; `NEPHOS_SOAK_DATABASE` selects a database other than SQLite.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tests::client::Client;
use tests::cloud::{API_KEY, Cloud};
use tests::http::sign_in;

const ROUNDS: u64 = 500;
const CLIENTS: usize = 32;
/// Number of names per client.
const NAMES: u64 = 12;
/// Rounds between two checks of all invariants.
const DEEP_EVERY: u64 = 10;
/// Maximum time between a start and its kill -9.
const LIFE_MAX: Duration = Duration::from_millis(600);
const CONTAINER: &str = "/v1/AUTH_100001/soak";

/// The version that a name contains; `None` if it does not exist.
type Version = Option<u64>;

/// What is known of a name's state.
#[derive(Clone, Copy, Default)]
struct Known {
    acknowledged: Version,
    /// The write that was in progress when the process was killed.
    sent: Option<Version>,
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

fn content(name: &str, version: u64) -> Vec<u8> {
    let length = match version % 50 {
        49 => 1_200_000,
        n => 40 + usize::try_from(n * n * 3).unwrap_or(0),
    };
    format!("{name} {version} ").into_bytes().into_iter().cycle().take(length).collect()
}

/// A client and its names, kept over all rounds.
struct Worker {
    id: usize,
    random: Random,
    known: BTreeMap<String, Known>,
    version: u64,
    acknowledged: u64,
}

impl Worker {
    fn path(&self, name: &str) -> String {
        format!("{CONTAINER}/{}-{name}", self.id)
    }

    /// Sends requests until the process is killed.
    fn work(&mut self, port: u16, token: &str, stop: &AtomicBool) -> Result<(), String> {
        let Ok(mut client) = Client::connect(port, token) else { return Ok(()) };
        while !stop.load(Ordering::Relaxed) {
            let name = format!("n{}", self.random.next(NAMES));
            let path = self.path(&name);
            self.version += 1;
            let version = self.version;
            let known = self.known.get(&name).copied().unwrap_or_default();
            let (result, value) = match (self.random.next(10), known.acknowledged) {
                (0, Some(_)) => {
                    self.known.entry(name.clone()).or_default().sent = Some(None);
                    (client.send("DELETE", &path, &[], b""), None)
                }
                (1, Some(old)) => {
                    // A copy shares its bytes.
                    let to = format!("n{}", self.random.next(NAMES));
                    if to == name {
                        continue;
                    }
                    let target = format!("soak/{}-{to}", self.id);
                    self.known.entry(to.clone()).or_default().sent = Some(Some(old));
                    let copied = client.send("COPY", &path, &[("Destination", &target)], b"");
                    if !self.note(&to, copied, Some(old))? {
                        return Ok(());
                    }
                    continue;
                }
                _ => {
                    self.known.entry(name.clone()).or_default().sent = Some(Some(version));
                    (client.send("PUT", &path, &[], &content(&origin(version), version)), Some(version))
                }
            };
            if !self.note(&name, result, value)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Records the outcome of a write; returns false if the process was killed.
    fn note(
        &mut self,
        name: &str,
        result: std::io::Result<tests::client::Response>,
        value: Version,
    ) -> Result<bool, String> {
        let Ok(response) = result else { return Ok(false) };
        if !matches!(response.status, 201 | 204) {
            return Err(format!("{name}: {} {}", response.status, String::from_utf8_lossy(&response.body)));
        }
        self.known.insert(name.to_owned(), Known { acknowledged: value, sent: None });
        self.acknowledged += 1;
        Ok(true)
    }

    /// Compares the stored state with the known one, and finds out which of the unanswered writes took effect.
    fn check(&mut self, port: u16, token: &str) -> Result<(), String> {
        let mut client = Client::connect(port, token).map_err(|e| e.to_string())?;
        let names: Vec<String> = self.known.keys().cloned().collect();
        for name in names {
            let path = self.path(&name);
            let known = self.known[&name];
            let found = client.send("GET", &path, &[], b"").map_err(|e| format!("{path}: {e}"))?;
            let possible = std::iter::once(known.acknowledged).chain(known.sent);
            let matches = |version: &Version| match version {
                None => found.status == 404,
                Some(version) => found.status == 200 && found.body == content(&origin(*version), *version),
            };
            let Some(now) = possible.clone().find(matches) else {
                let (status, bytes) = (found.status, found.body.len());
                return Err(format!(
                    "{path}: {status}, {bytes} bytes; expected one of {:?}",
                    possible.collect::<Vec<_>>()
                ));
            };
            self.known.insert(name, Known { acknowledged: now, sent: None });
        }
        Ok(())
    }
}

/// Returns the prefix of a version's content. Copies have other names, so it contains only the version.
fn origin(version: u64) -> String {
    format!("version-{version}")
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> ExitCode {
    let rounds = variable("NEPHOS_SOAK_ROUNDS", ROUNDS);
    let seed = variable("NEPHOS_SOAK_SEED", std::process::id().into());
    println!("{rounds} rounds, {CLIENTS} clients, seed {seed}");
    match soak(rounds, seed) {
        Ok(acknowledged) => {
            println!(
                "soak: {rounds} rounds of kill -9, {acknowledged} acknowledged writes, 0 lost, 0 invariants broken"
            );
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("soak: seed {seed}: {what}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the moment of the kill is random; nothing is waited for")]
fn wait_until_killed(life: Duration) {
    std::thread::sleep(life);
}

fn soak(rounds: u64, seed: u64) -> Result<u64, String> {
    let database = std::env::var("NEPHOS_SOAK_DATABASE").unwrap_or_else(|_| "sqlite:".into());
    let mut cloud = Cloud::start_with(&["--hypervisor", "simulated:", "--database", &database], &[]);
    let token = sign_in(&cloud.url, "admin", API_KEY).header("x-auth-token").to_owned();
    let made =
        Client::connect(cloud.port(), &token).and_then(|mut client| client.send("PUT", CONTAINER, &[], b""));
    made.map_err(|e| e.to_string())?;
    let worker = |id: usize| Worker {
        id,
        random: Random(seed.wrapping_mul(1_000_003).wrapping_add(id as u64)),
        known: BTreeMap::new(),
        // Versions of different clients differ, so that contents are never equal by chance.
        version: id as u64 * 1_000_000,
        acknowledged: 0,
    };
    let mut workers: Vec<Worker> = (0..CLIENTS).map(worker).collect();
    let mut random = Random(seed);
    let began = Instant::now();
    for round in 1..=rounds {
        let stop = AtomicBool::new(false);
        let life = Duration::from_millis(random.next(u64::try_from(LIFE_MAX.as_millis()).unwrap_or(1)));
        let port = cloud.port();
        let outcome: Result<(), String> = std::thread::scope(|scope| {
            let (stop, token) = (&stop, &token);
            let working: Vec<_> = workers
                .iter_mut()
                .map(|worker| scope.spawn(move || worker.work(port, token, stop)))
                .collect();
            wait_until_killed(life);
            cloud.kill();
            stop.store(true, Ordering::Relaxed);
            working
                .into_iter()
                .try_for_each(|worker| worker.join().map_err(|_| "a client panicked".to_owned())?)
        });
        outcome?;
        cloud.launch();
        for worker in &mut workers {
            worker.check(port, &token).map_err(|what| format!("round {round}: {what}"))?;
        }
        if round % DEEP_EVERY == 0 || round == rounds {
            let report = cloud.admin_json(&["doctor", "--deep"]);
            for field in ["broken", "repaired"] {
                if report[field].as_array().is_none_or(|found| !found.is_empty()) {
                    return Err(format!("round {round}: {field}: {}", report[field]));
                }
            }
            let acknowledged: u64 = workers.iter().map(|worker| worker.acknowledged).sum();
            println!("round {round}: {acknowledged} acknowledged, {} s", began.elapsed().as_secs());
        }
    }
    Ok(workers.iter().map(|worker| worker.acknowledged).sum())
}
