//! Resizes to another host of a guest with data on its disk, with kills of processes on the way.

use serde_json::json;
use tests::cloud::until;
use tests::lab::{BOOT, Guest, Lab};

use super::remote::over_the_wire;

/// A local and a remote host, with a guest on the first, which has no capacity left.
struct Pair {
    lab: Lab,
    guest: Guest,
    /// The hosts' URIs as configured.
    uris: [String; 2],
}

impl Pair {
    fn start() -> Self {
        let (lab, uris) = over_the_wire();
        drain(&lab, &uris[1], &[]);
        let guest = lab.boot("nomad", &json!({}));
        drain(&lab, &uris[1], &["--end"]);
        crowd(&lab, &uris[0], '+');
        Self { lab, guest, uris }
    }

    /// Waits for a status of the server.
    fn becomes(&self, status: &str) {
        self.lab.becomes(&self.guest, status);
    }

    fn act(&self, action: &serde_json::Value) {
        self.lab.act(&self.guest, action);
    }

    /// Checks that the guest runs on the first host or the second, and nowhere else.
    fn runs_on(&self, number: usize) {
        let on = self.lab.running_on(&self.guest).expect("it runs");
        assert_eq!(on.name, self.lab.hosts[number].name);
    }

    /// Checks that only this host has any resources of the guest.
    fn is_only_on(&self, number: usize) {
        self.runs_on(number);
        let (here, other) = (&self.lab.hosts[number], &self.lab.hosts[1 - number]);
        until("the other host to be cleaned up", BOOT, || {
            let left = [other.volumes(), here.volumes()].concat();
            let foreign = |name: &&String| name.starts_with("snapshot-");
            (!other.volumes().iter().any(|name| name.contains(&self.guest.machine))
                && !left.iter().any(|name| foreign(&name)))
            .then_some(())
        });
        assert!(!other.virsh(&["list", "--all", "--uuid"]).contains(&self.guest.machine));
    }

    /// Checks that this host keeps the guest shut off and does not allow its addresses.
    fn is_kept_on(&self, number: usize) {
        let host = &self.lab.hosts[number];
        assert!(host.virsh(&["list", "--state-shutoff", "--uuid"]).contains(&self.guest.machine));
        assert_eq!(host.reservations(), Vec::<String>::new(), "a reservation is left over");
        let filters = host.virsh(&["nwfilter-list"]);
        let names = filters.split_whitespace().filter(|word| word.starts_with("nephos-")).collect::<Vec<_>>();
        assert_eq!(names.len(), 2, "{filters}");
        for name in names {
            let filter = host.virsh(&["nwfilter-dumpxml", name]);
            for address in [&self.guest.public, &self.guest.private] {
                assert!(!filter.contains(address.as_str()), "{filter}");
            }
        }
    }

    fn end(self) {
        crowd(&self.lab, &self.uris[0], '-');
        assert_eq!(self.lab.delete(&format!("/servers/{}", self.guest.id)).status, 202);
        self.lab.vanishes(&self.guest);
        self.lab.clean();
    }
}

/// Returns a host's name in the cloud: its URI without Nephos's own keys.
fn name_of(uri: &str) -> &str {
    let keys = uri.find("accel=").expect("our own keys come last");
    &uri[..keys - 1]
}

fn drain(lab: &Lab, uri: &str, more: &[&str]) {
    let drained = lab.cloud.admin(&[&["host", "drain", name_of(uri)], more].concat());
    assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
}

/// Books more capacity on a host than it has, or releases that.
fn crowd(lab: &Lab, uri: &str, sign: char) {
    let statement = format!(
        "UPDATE hosts SET used_memory_mib = used_memory_mib {sign} 1000000 WHERE name = '{}' RETURNING name",
        name_of(uri)
    );
    assert_eq!(lab.cloud.query("compute", &statement).len(), 1, "{uri}");
}

#[test]
fn a_guest_is_resized_to_another_host_reverted_and_confirmed() {
    let pair = Pair::start();
    let (lab, guest) = (&pair.lab, &pair.guest);
    let before = lab.shown(guest);
    lab.keep(guest, "small");
    pair.act(&json!({ "resize": { "flavorId": 2 } }));
    let progress = lab.becomes(guest, "VERIFY_RESIZE");
    assert!(progress.is_sorted() && progress.len() >= 2, "{progress:?}");
    pair.runs_on(1);
    lab.booted(guest, 1);
    assert_eq!(lab.kept(guest), "small");
    pair.is_kept_on(0);
    let after = lab.shown(guest);
    assert_ne!(after["hostId"], before["hostId"]);
    for same in ["id", "name", "addresses", "imageId"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    let (memory, disk) = (lab.number(guest, "memory="), lab.number(guest, "root-size="));
    assert!(memory > 432 << 20 && disk > 18 << 30, "{memory} {disk}");
    assert_eq!(lab.fact(guest, "personality="), Some("kept".into()), "it is the same guest");
    lab.keep(guest, "large");

    pair.act(&json!({ "revertResize": null }));
    pair.becomes("ACTIVE");
    pair.is_only_on(0);
    lab.booted(guest, 2);
    assert_eq!(lab.kept(guest), "small");
    let memory = lab.number(guest, "memory=");
    assert!(memory <= 256 << 20, "{memory}");
    assert_eq!(lab.shown(guest)["hostId"], before["hostId"]);

    pair.act(&json!({ "resize": { "flavorId": 2 } }));
    pair.becomes("VERIFY_RESIZE");
    lab.keep(guest, "large for good");
    pair.act(&json!({ "confirmResize": null }));
    pair.becomes("ACTIVE");
    pair.is_only_on(1);
    // All other operations work for a server whose disk was copied from another host.
    pair.act(&json!({ "reboot": { "type": "HARD" } }));
    pair.becomes("ACTIVE");
    lab.booted(guest, 2);
    assert_eq!(lab.kept(guest), "large for good");
    let image = lab.send("POST", "/images", &json!({ "image": { "serverId": guest.id, "name": "moved" } }));
    let id = image.json()["image"]["id"].clone();
    until("the image to be ACTIVE", BOOT, || {
        (lab.get(&format!("/images/{id}"))["image"]["status"] == "ACTIVE").then_some(())
    });
    pair.act(&json!({ "resize": { "flavorId": 3 } }));
    pair.becomes("VERIFY_RESIZE");
    pair.act(&json!({ "confirmResize": null }));
    pair.becomes("ACTIVE");
    pair.is_only_on(1);
    assert_eq!(lab.kept(guest), "large for good");
    pair.end();
}

/// The process to kill at a step.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Nephos,
    /// libvirt on the first host or the second.
    Libvirt(usize),
    /// The machine's QEMU on that host.
    Qemu(usize),
}

/// Kills a process during a resize or revert. The server must end on one host with its data, and leave nothing on the other.
fn run_kill(pair: &mut Pair, action: &serde_json::Value, step: &str, victim: Victim) {
    let returns = action.get("revertResize").is_some();
    let resize = json!({ "resize": { "flavorId": 2 } });
    if returns {
        pair.act(&resize);
        pair.becomes("VERIFY_RESIZE");
    }
    let (when, call) = step.split_once('.').expect("a step has a point");
    let stop = pair.lab.stop_at(&format!("{}.{call}", if when == "during" { "before" } else { when }));
    pair.act(action);
    stop.reached();
    if when == "during" {
        stop.release();
    }
    match victim {
        Victim::Nephos => {
            pair.lab.cloud.kill();
            stop.release();
            pair.lab.cloud.launch();
        }
        Victim::Libvirt(number) => {
            pair.lab.hosts[number].crash();
            stop.release();
            pair.lab.hosts[number].back();
        }
        Victim::Qemu(number) => {
            assert!(pair.lab.hosts[number].crash_machine(&pair.guest.machine), "no QEMU at {step}");
            stop.release();
        }
    }
    let lab = &pair.lab;
    let mut last = String::new();
    until(&format!("{step} {victim:?} to end"), BOOT, || {
        let _ = lab.running_on(&pair.guest);
        let busy = format!("SELECT 1 FROM servers WHERE number = {} AND task IS NOT NULL", pair.guest.id);
        let free = lab.cloud.query("compute", &busy).is_empty();
        last = lab.status(&pair.guest);
        (free && ["ACTIVE", "VERIFY_RESIZE", "ERROR", "SUSPENDED"].contains(&last.as_str())).then_some(())
    });
    println!("{action} {step} {victim:?}: {last}");
    if last == "ERROR" || last == "SUSPENDED" {
        pair.act(&json!({ "reboot": { "type": "HARD" } }));
        until("the machine to recover", BOOT, || {
            last = lab.status(&pair.guest);
            ["ACTIVE", "VERIFY_RESIZE"].contains(&last.as_str()).then_some(())
        });
    }
    if last == "VERIFY_RESIZE" {
        pair.runs_on(1);
        assert_eq!(lab.kept(&pair.guest), "kept");
        pair.act(&json!({ "revertResize": null }));
        pair.becomes("ACTIVE");
    }
    pair.is_only_on(0);
    assert_eq!(lab.kept(&pair.guest), "kept");
    assert_eq!(lab.shown(&pair.guest)["flavorId"], 1);
}

/// Returns every kill during a resize and a revert.
fn all_kills() -> Vec<(&'static str, String, Victim)> {
    let over = [
        "ensure_network",
        "ask_to_shut_down",
        "stop",
        "take_snapshot",
        "open_snapshot",
        "receive_disk",
        "ensure_config_drive",
        "define",
        "start",
    ];
    let mut kills = Vec::new();
    for (order, steps) in [(OVER, &over[..]), (BACK, &["stop", "define", "start"])] {
        for (step, when) in
            steps.iter().flat_map(|step| ["before", "during", "after"].map(|when| (step, when)))
        {
            let victims = [Victim::Nephos, Victim::Libvirt(0), Victim::Libvirt(1)];
            kills.extend(victims.map(|victim| (order, format!("{when}.{step}"), victim)));
        }
    }
    let guests = [("before.ensure_network", 0), ("before.ask_to_shut_down", 0), ("after.start", 1)];
    kills.extend(guests.map(|(step, host)| (OVER, step.to_owned(), Victim::Qemu(host))));
    kills
}

const OVER: &str = r#"{"resize": {"flavorId": 2}}"#;
const BACK: &str = r#"{"revertResize": null}"#;

/// Runs a selection of four kills or, with `NEPHOS_TEST_KILLS`, all whose names contain its value.
#[test]
fn a_server_runs_once_and_keeps_its_data_if_a_process_is_killed_during_a_resize_to_another_host() {
    let kills = match std::env::var("NEPHOS_TEST_KILLS") {
        Ok(wanted) => {
            let mut all = all_kills();
            all.retain(|(order, step, victim)| format!("{order} {step} {victim:?}").contains(&wanted));
            all
        }
        Err(_) => vec![
            (OVER, "during.receive_disk".to_owned(), Victim::Nephos),
            (OVER, "during.receive_disk".to_owned(), Victim::Libvirt(1)),
            (OVER, "after.start".to_owned(), Victim::Qemu(1)),
            (BACK, "after.stop".to_owned(), Victim::Nephos),
        ],
    };
    let mut pair = Pair::start();
    pair.lab.keep(&pair.guest, "kept");
    for (action, step, victim) in kills {
        run_kill(&mut pair, &serde_json::from_str(action).unwrap(), &step, victim);
    }
    pair.end();
}
