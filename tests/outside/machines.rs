//! Real machines: QEMU under libvirt, in a namespace of the test's own.

use std::time::Duration;

use tests::cloud::{API_KEY, Cloud, until};
use tests::host::{Host, guest};
use tests::http::{curl, sign_in};

/// Emulated machines take their time, more so on a busy machine.
const BOOT: Duration = Duration::from_secs(240);

struct Lab {
    cloud: Cloud,
    host: Host,
    base: String,
    token: String,
}

impl Lab {
    /// A cloud over one libvirt host, with the guest as image 1.
    fn start() -> Self {
        let host = Host::start();
        let cloud = Cloud::start_with(&["--hypervisor", &host.hypervisor()], &[]);
        let guest = guest();
        let file = |name: &str| guest.join(name).display().to_string();
        let command_line = std::fs::read_to_string(guest.join("cmdline")).unwrap();
        let image = cloud.admin_json(&[
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
        let answer = sign_in(&cloud.url, "admin", API_KEY);
        let base = answer.header("x-server-management-url").to_owned();
        let token = format!("X-Auth-Token: {}", answer.header("x-auth-token"));
        Self { cloud, host, base, token }
    }

    fn get(&self, path: &str) -> serde_json::Value {
        curl(&["-H", &self.token, &format!("{}{path}", self.base)]).json()
    }

    fn post(&self, path: &str, content_type: &str, body: &str) -> tests::http::Answer {
        let header = format!("Content-Type: {content_type}");
        curl(&["-X", "POST", "-H", &self.token, "-H", &header, "-d", body, &format!("{}{path}", self.base)])
    }

    /// Waits for ACTIVE and answers every progress that was seen on the way.
    fn active(&self, id: u64) -> Vec<u64> {
        let mut seen = Vec::new();
        until("the server to be ACTIVE", BOOT, || {
            let server = &self.get(&format!("/servers/{id}"))["server"];
            let status = server["status"].as_str().unwrap();
            assert_ne!(status, "ERROR", "{server}");
            if let Some(progress) = server["progress"].as_u64()
                && seen.last() != Some(&progress)
            {
                seen.push(progress);
            }
            (status == "ACTIVE").then_some(())
        });
        seen
    }

    /// The machine of a server, by the name that its guest was given.
    fn machine(&self, name: &str) -> String {
        let domains = self.host.virsh(&["list", "--all", "--uuid"]);
        let mut found = domains
            .split_whitespace()
            .filter(|uuid| self.host.console(uuid).contains(&format!("NEPHOS-GUEST name={name}\n")));
        found.next().unwrap_or_else(|| panic!("no machine calls itself {name}: {domains}")).to_owned()
    }

    /// A fact that a guest told on its console, the last one.
    fn fact(&self, machine: &str, key: &str) -> Option<String> {
        let prefix = format!("NEPHOS-GUEST {key}");
        self.host
            .console(machine)
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix(&prefix))
            .map(str::to_owned)
    }

    fn boots(&self, machine: &str) -> usize {
        self.host.console(machine).matches("NEPHOS-GUEST ready").count()
    }
}

#[test]
fn a_server_boots_is_reached_rebooted_survives_restarts_and_leaves_nothing() {
    let mut lab = Lab::start();
    let created = lab.post(
        "/servers",
        "application/json",
        r#"{"server": {"name": "first-light", "imageId": 1, "flavorId": 1,
            "personality": [{"path": "/etc/banner.txt", "contents": "TmVwaG9zIHdhcyBoZXJlCg=="}]}}"#,
    );
    assert_eq!(created.status, 202, "{}", created.text());
    let server = created.json()["server"].clone();
    let (id, password) = (server["id"].as_u64().unwrap(), server["adminPass"].as_str().unwrap().to_owned());
    let public = server["addresses"]["public"][0].as_str().unwrap().to_owned();
    let private = server["addresses"]["private"][0].as_str().unwrap().to_owned();
    let progress = lab.active(id);
    assert!(progress.len() >= 3 && progress.is_sorted(), "progress moves: {progress:?}");

    // It says so on its console.
    let machine = until("the guest to say its name", BOOT, || {
        let domains = lab.host.virsh(&["list", "--uuid"]);
        domains.split_whitespace().find(|uuid| lab.boots(uuid) == 1).map(str::to_owned)
    });
    assert_eq!(machine, lab.machine("first-light"));
    assert_eq!(lab.fact(&machine, "address=eth0:"), Some(public.clone()));
    assert_eq!(lab.fact(&machine, "address=eth1:"), Some(private.clone()));
    assert_eq!(lab.fact(&machine, "password="), Some("set".into()));
    let banner = lab.fact(&machine, "file=/etc/banner.txt ").expect("the personality file");
    assert!(banner.ends_with("mode=440 owner=root:root"), "{banner}");

    // It answers on its address, with its password and no other.
    let there = lab.host.ssh(&public, &password, "hostname; cat /etc/banner.txt");
    assert_eq!(String::from_utf8_lossy(&there.stdout), "first-light\nNephos was here\n", "{there:?}");
    assert!(!lab.host.ssh(&public, "wrong", "true").status.success());
    assert!(lab.host.ssh(&public, &password, "echo kept > /root/data; sync").status.success());

    // The program may stop or die: the machine goes on, and so does its administration.
    lab.cloud.stop();
    assert!(lab.host.ssh(&public, &password, "cat /root/data").stdout == b"kept\n");
    lab.cloud.launch();
    assert_eq!(lab.get(&format!("/servers/{id}"))["server"]["status"], "ACTIVE");
    lab.cloud.kill();
    lab.cloud.launch();
    assert_eq!(lab.get(&format!("/servers/{id}"))["server"]["status"], "ACTIVE");

    // Reboots: the boot id changes, what is on the disk stays, the personality is not applied again.
    for (kind, boots) in [("HARD", 2), ("SOFT", 3)] {
        let before = lab.fact(&machine, "boot-id=").unwrap();
        let body = format!("{{\"reboot\": {{\"type\": \"{kind}\"}}}}");
        assert_eq!(lab.post(&format!("/servers/{id}/action"), "application/json", &body).status, 202);
        until("the guest to be up again", BOOT, || (lab.boots(&machine) == boots).then_some(()));
        assert_ne!(lab.fact(&machine, "boot-id="), Some(before), "{kind}");
        assert_eq!(lab.fact(&machine, "personality="), Some("kept".into()));
        lab.active(id);
    }
    assert_eq!(lab.host.ssh(&public, &password, "cat /root/data").stdout, b"kept\n");

    // Deleted, it leaves nothing behind.
    let answer = curl(&["-X", "DELETE", "-H", &lab.token, &format!("{}/servers/{id}", lab.base)]);
    assert_eq!(answer.status, 202);
    until("the server to be gone", BOOT, || {
        let answer = curl(&["-H", &lab.token, &format!("{}/servers/{id}", lab.base)]);
        (answer.status == 404).then_some(())
    });
    until("the host to be clean", BOOT, || {
        let clean = lab.host.virsh(&["list", "--all", "--name"]).trim().is_empty()
            && !lab.host.virsh(&["nwfilter-list"]).contains("nephos-")
            && !std::fs::read_dir(lab.host.pool())
                .unwrap()
                .any(|entry| entry.unwrap().file_name().to_string_lossy().contains(&machine));
        clean.then_some(())
    });
    for network in lab.host.virsh(&["net-list", "--all", "--name"]).split_whitespace() {
        let xml = lab.host.virsh(&["net-dumpxml", network]);
        assert!(!xml.contains(&public) && !xml.contains(&private), "{xml}");
    }
    // The address is given again.
    let again = lab.post(
        "/servers",
        "application/json",
        r#"{"server": {"name": "second", "imageId": 1, "flavorId": 1}}"#,
    );
    assert_eq!(again.status, 202);
}

#[test]
fn kill_9_in_the_middle_of_a_build_ends_in_a_server() {
    let mut lab = Lab::start();
    let created = lab.post(
        "/servers.xml",
        "application/xml",
        r#"<server xmlns="http://docs.rackspacecloud.com/servers/api/v1.0" name="by-xml" imageId="1" flavorId="1"/>"#,
    );
    assert_eq!(created.status, 202, "{}", created.text());
    let attribute = |name: &str| {
        let text = created.text();
        text.split(&format!(" {name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let (id, password) = (attribute("id").parse().unwrap(), attribute("adminPass"));
    for progress in [1, 30] {
        until("the build to go on", BOOT, || {
            let server = lab.get(&format!("/servers/{id}"))["server"].clone();
            (server["status"] != "BUILD" || server["progress"].as_u64() >= Some(progress)).then_some(())
        });
        lab.cloud.kill();
        lab.cloud.launch();
    }
    lab.host.crash_and_return();
    lab.active(id);
    let address =
        lab.get(&format!("/servers/{id}"))["server"]["addresses"]["public"][0].as_str().unwrap().to_owned();
    let hostname = until("the guest to take its password", BOOT, || {
        let answer = lab.host.ssh(&address, &password, "hostname");
        answer.status.success().then_some(answer.stdout)
    });
    assert_eq!(hostname, b"by-xml\n");
    assert_eq!(
        lab.host.virsh(&["list", "--all", "--name"]).split_whitespace().count(),
        1,
        "one machine, not two"
    );
}
