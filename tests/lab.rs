//! Real machines: a cloud over libvirt hosts in namespaces, with guests that report what they see.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cloud::{API_KEY, Cloud, until};
use crate::host::{Host, guest};
use crate::http::{Answer, curl_within, sign_in_within};

/// Time limit for a boot. Emulated machines are slow, more so on a busy machine.
pub const BOOT: Duration = Duration::from_secs(300);

/// A cloud over libvirt hosts, with the guest as image 1.
pub struct Lab {
    /// The running program.
    pub cloud: Cloud,
    /// Its hosts, usually one.
    pub hosts: Vec<Host>,
    /// The URL of the servers' API.
    pub base: String,
    /// The URL of the objects.
    pub files: String,
    /// The header with the token.
    pub token: String,
    /// The network namespace that the program runs in, if any.
    within: Option<String>,
    stops: tempfile::TempDir,
}

/// A server, with what is known from its creation.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its id in v1.0.
    pub id: u64,
    /// Its machine's UUID on the host.
    pub machine: String,
    /// Its administrative password.
    pub password: String,
    /// Its own public address.
    pub public: String,
    /// Its private address.
    pub private: String,
}

impl Lab {
    /// Starts a cloud with one host.
    #[must_use]
    pub fn start() -> Self {
        let host = Host::start();
        let hypervisor = host.hypervisor();
        Self::over(vec![host], &[&hypervisor], None)
    }

    /// Starts a cloud with these hosts and hypervisor URIs, optionally in a network namespace.
    ///
    /// # Panics
    /// If it does not become ready or does not accept the guest image.
    #[must_use]
    pub fn over(hosts: Vec<Host>, hypervisors: &[&str], within: Option<&str>) -> Self {
        let stops = tempfile::tempdir().expect("a directory");
        let arguments: Vec<&str> = hypervisors.iter().flat_map(|uri| ["--hypervisor", uri]).collect();
        let wrapper = within.map_or(Vec::new(), |name| vec!["ip", "netns", "exec", name]);
        let path = stops.path().display().to_string();
        let variables = [("NEPHOS_CLOCK", "+0"), ("NEPHOS_STOPS", path.as_str())];
        let cloud = Cloud::start_saying(&arguments, &wrapper, &variables);
        let within = within.map(str::to_owned);
        let (base, files, token) = (String::new(), String::new(), String::new());
        let mut lab = Self { cloud, hosts, base, files, token, within, stops };
        lab.import_guest();
        lab.sign_in();
        lab
    }

    fn import_guest(&self) {
        let file = |name: &str| guest().join(name).display().to_string();
        let command_line =
            std::fs::read_to_string(guest().join("cmdline")).expect("the guest's command line");
        let image = self.cloud.admin_json(&[
            "image",
            "import",
            &file("guest.qcow2"),
            "--format",
            "qcow2",
            "--name",
            "Tiny",
            "--kernel",
            &file("vmlinuz"),
            "--initrd",
            &file("initrd.gz"),
            "--cmdline",
            command_line.trim(),
        ]);
        assert_eq!(image["id"], 1);
    }

    /// Gets a new token; needed after a day.
    pub fn sign_in(&mut self) {
        let answer = sign_in_within(self.within.as_deref(), &self.cloud.url, "admin", API_KEY);
        self.base = answer.header("x-server-management-url").to_owned();
        self.files = answer.header("x-storage-url").to_owned();
        self.token = format!("X-Auth-Token: {}", answer.header("x-auth-token"));
    }

    /// Returns the first host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.hosts[0]
    }

    /// Sends a request to this URL.
    #[must_use]
    pub fn call(&self, url: &str, words: &[&str]) -> Answer {
        curl_within(self.within.as_deref(), &[&["-H", &self.token, url], words].concat())
    }

    /// Gets a path of the servers' API.
    #[must_use]
    pub fn get(&self, path: &str) -> Value {
        self.call(&format!("{}{path}", self.base), &[]).json()
    }

    /// Sends a request with a JSON body.
    #[must_use]
    pub fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let (url, body) = (format!("{}{path}", self.base), body.to_string());
        self.call(&url, &["-X", method, "-H", "Content-Type: application/json", "-d", &body])
    }

    /// Sends a DELETE.
    #[must_use]
    pub fn delete(&self, path: &str) -> Answer {
        self.call(&format!("{}{path}", self.base), &["-X", "DELETE"])
    }

    /// Performs an action on a server.
    ///
    /// # Panics
    /// If it is not accepted.
    pub fn act(&self, guest: &Guest, action: &Value) {
        let answer = self.send("POST", &format!("/servers/{}/action", guest.id), action);
        // Only Confirm Resized Server returns 204.
        let expected = if action.get("confirmResize").is_some() { 204 } else { 202 };
        assert_eq!(answer.status, expected, "{action}: {}", answer.text());
    }

    /// Creates a server from the guest image, or as `more` specifies.
    ///
    /// # Panics
    /// If it is not accepted.
    #[must_use]
    pub fn create(&self, name: &str, more: &Value) -> Guest {
        let mut server = json!({ "name": name, "imageId": 1, "flavorId": 1 });
        for (key, value) in more.as_object().into_iter().flatten() {
            server[key] = value.clone();
        }
        let answer = self.send("POST", "/servers", &json!({ "server": server }));
        assert_eq!(answer.status, 202, "{}", answer.text());
        let server = answer.json()["server"].clone();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let id = server["id"].as_u64().expect("a number");
        Guest {
            id,
            machine: self.machine(id),
            password: text(&server["adminPass"]),
            public: text(&server["addresses"]["public"][0]),
            private: text(&server["addresses"]["private"][0]),
        }
    }

    /// Creates a server and waits until it has booted.
    #[must_use]
    pub fn boot(&self, name: &str, more: &Value) -> Guest {
        let guest = self.create(name, more);
        self.becomes(&guest, "ACTIVE");
        self.booted(&guest, 1);
        guest
    }

    /// Returns the UUID of a server's machine, which v1.0 does not show.
    #[must_use]
    pub fn machine(&self, id: u64) -> String {
        let found = self.cloud.query("compute", &format!("SELECT id FROM servers WHERE number = {id}"));
        found[0][0].clone()
    }

    /// Returns a server as the API shows it.
    #[must_use]
    pub fn shown(&self, guest: &Guest) -> Value {
        self.get(&format!("/servers/{}", guest.id))["server"].clone()
    }

    /// Returns its status.
    #[must_use]
    pub fn status(&self, guest: &Guest) -> String {
        self.shown(guest)["status"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits for a status; returns all progress values seen meanwhile.
    ///
    /// # Panics
    /// If the server gets the status ERROR and that was not expected.
    pub fn becomes(&self, guest: &Guest, status: &str) -> Vec<u64> {
        let mut seen = Vec::new();
        until(&format!("server {} to be {status}", guest.id), BOOT, || {
            let server = self.shown(guest);
            assert!(status == "ERROR" || server["status"] != "ERROR", "{server}");
            if let Some(progress) = server["progress"].as_u64()
                && seen.last() != Some(&progress)
            {
                seen.push(progress);
            }
            (server["status"] == status).then_some(())
        });
        seen
    }

    /// Waits until a server no longer exists.
    pub fn vanishes(&self, guest: &Guest) {
        let url = format!("{}/servers/{}", self.base, guest.id);
        until("the server to be deleted", BOOT, || (self.call(&url, &[]).status == 404).then_some(()));
    }

    /// Returns the host that has a machine. If a resize between hosts left it on two, returns the one on which it runs.
    ///
    /// If no host has it.
    /// When none has.
    #[must_use]
    pub fn host_of(&self, guest: &Guest) -> &Host {
        let all = self.hosts.iter().filter(|host| host.console_path(&guest.machine).exists());
        let all: Vec<&Host> = all.collect();
        let running = if all.len() > 1 { self.running_on(guest) } else { None };
        let found = running.or(all.first().copied());
        found.unwrap_or_else(|| panic!("no host has machine {}", guest.machine))
    }

    /// Returns the host on which a machine runs.
    ///
    /// # Panics
    /// If it runs on two.
    #[must_use]
    pub fn running_on(&self, guest: &Guest) -> Option<&Host> {
        let runs = |host: &&Host| {
            host.virsh(&["list", "--state-running", "--state-paused", "--uuid"]).contains(&guest.machine)
        };
        let on: Vec<&Host> = self.hosts.iter().filter(runs).collect();
        assert!(on.len() < 2, "machine {} runs twice", guest.machine);
        on.first().copied()
    }

    fn console(&self, guest: &Guest) -> String {
        let has = |host: &&Host| host.console_path(&guest.machine).exists();
        let there = self.hosts.iter().filter(has).count();
        if there == 0 { String::new() } else { self.host_of(guest).console(&guest.machine) }
    }

    /// Returns how often a guest has reported that it booted.
    #[must_use]
    pub fn boots(&self, guest: &Guest) -> usize {
        self.console(guest).matches("NEPHOS-GUEST ready").count()
    }

    /// Waits until a guest has booted that many times.
    pub fn booted(&self, guest: &Guest, times: usize) {
        until("the guest to boot", BOOT, || (self.boots(guest) >= times).then_some(()));
    }

    /// Returns the last value of a fact that a guest reported on its console.
    #[must_use]
    pub fn fact(&self, guest: &Guest, key: &str) -> Option<String> {
        let prefix = format!("NEPHOS-GUEST {key}");
        self.console(guest).lines().rev().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
    }

    /// Returns a fact as a number.
    ///
    /// # Panics
    /// If it was not reported.
    #[must_use]
    pub fn number(&self, guest: &Guest, key: &str) -> u64 {
        let fact = self.fact(guest, key);
        fact.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{key} of server {}", guest.id))
    }

    /// Runs a script over ssh at an address of a guest, with its password.
    #[must_use]
    pub fn ssh(&self, guest: &Guest, address: &str, script: &str) -> Output {
        self.host_of(guest).ssh(address, &guest.password, script)
    }

    /// Returns the output of a script in a guest; retries until ssh succeeds.
    ///
    /// # Panics
    /// If ssh does not succeed in time.
    #[must_use]
    pub fn says(&self, guest: &Guest, script: &str) -> String {
        until(&format!("server {} to run {script:?}", guest.id), BOOT, || {
            let output = self.ssh(guest, &guest.private, script);
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        })
    }

    /// Writes a file in a guest and syncs it to disk.
    pub fn keep(&self, guest: &Guest, text: &str) {
        let said = self.says(guest, &format!("echo {text} >/root/kept && sync && cat /root/kept"));
        assert_eq!(said, format!("{text}\n"));
    }

    /// Returns what [`Lab::keep`] wrote; empty if it is missing.
    #[must_use]
    pub fn kept(&self, guest: &Guest) -> String {
        self.says(guest, "cat /root/kept 2>/dev/null || echo nothing").trim().to_owned()
    }

    /// Makes the next call of `step`, such as `before.start`, pause.
    ///
    /// # Panics
    /// If the request fails.
    #[must_use]
    pub fn stop_at(&self, step: &str) -> Stop {
        let stop = Stop {
            asked: self.stops.path().join(step),
            reached: self.stops.path().join(format!("reached.{step}")),
        };
        std::fs::write(&stop.asked, "").expect("a file");
        stop
    }

    /// Advances the cloud's clock.
    pub fn advance(&self, seconds: u64) {
        self.cloud.admin_json(&["clock", "--advance", &seconds.to_string()]);
    }

    /// Returns descriptions of everything that must not exist once all servers are deleted; empty if all is as it should be.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for host in &self.hosts {
            let domains = host.virsh(&["list", "--all", "--name"]);
            found.extend(domains.split_whitespace().map(|name| format!("domain {name}")));
            let filters = host.virsh(&["nwfilter-list"]);
            found.extend(
                filters.lines().filter(|line| line.contains("nephos-")).map(|line| format!("filter {line}")),
            );
            let volumes = host.volumes().into_iter().filter(|name| !name.starts_with("image-"));
            found.extend(volumes.map(|name| format!("volume {name}")));
            found.extend(host.reservations());
        }
        let mut ask = |database: &str, what: &str, statement: &str| {
            let rows = self.cloud.query(database, statement);
            found.extend(rows.iter().map(|row| format!("{what} {row:?}")));
        };
        ask("networks", "port", "SELECT server FROM ports");
        ask("networks", "address", "SELECT label, address FROM holdings");
        ask("compute", "job", "SELECT kind, subject FROM jobs");
        ask("compute", "secret", "SELECT server, name FROM secrets");
        ask("compute", "room", "SELECT name FROM hosts WHERE used_memory_mib <> 0 OR used_disk_gib <> 0");
        ask("compute", "open action", "SELECT server, action FROM actions WHERE finished IS NULL");
        ask("compute", "server", "SELECT id, vm, task FROM servers WHERE gone = 0");
        found
    }

    /// Waits until nothing is left over.
    pub fn clean(&self) {
        let mut left = Vec::new();
        let clean = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("everything to be removed", Duration::from_secs(150), || {
                left = self.leftovers();
                left.is_empty().then_some(())
            });
        }));
        assert!(clean.is_ok(), "left over: {left:#?}");
    }
}

/// A step that was asked to pause.
#[derive(Debug)]
pub struct Stop {
    asked: PathBuf,
    reached: PathBuf,
}

impl Stop {
    /// Returns whether the step was reached.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.reached.exists()
    }

    /// Waits until the step is reached.
    pub fn reached(&self) {
        until(&format!("{}", self.asked.display()), BOOT, || self.is_reached().then_some(()));
    }

    /// Lets the step continue, or cancels the pause if it was not reached.
    pub fn release(&self) {
        let _ = std::fs::remove_file(&self.asked);
        let _ = std::fs::remove_file(&self.reached);
    }
}
