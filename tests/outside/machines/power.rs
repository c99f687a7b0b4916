//! Boot, login, reboots and deletion; and kills during the first build.

use serde_json::json;
use tests::cloud::until;
use tests::lab::{BOOT, Guest, Lab};

#[test]
fn a_server_boots_accepts_logins_reboots_survives_restarts_and_is_deleted_without_trace() {
    let mut lab = Lab::start();
    let personality = json!([{ "path": "/etc/banner.txt", "contents": "TmVwaG9zIHdhcyBoZXJlCg==" }]);
    let steps = ["before.ensure_disk", "before.define", "before.start"].map(|step| lab.stop_at(step));
    let guest = lab.create("first-light", &json!({ "personality": personality }));
    let progress = steps.map(|step| {
        step.reached();
        let server = lab.shown(&guest);
        step.release();
        assert_eq!(server["status"], "BUILD");
        server["progress"].as_u64().unwrap()
    });
    assert_eq!(progress, [70, 85, 90]);
    lab.becomes(&guest, "ACTIVE");

    // Its console says so.
    lab.booted(&guest, 1);
    assert_eq!(lab.fact(&guest, "address=eth0:"), Some(guest.public.clone()));
    assert_eq!(lab.fact(&guest, "address=eth1:"), Some(guest.private.clone()));
    assert_eq!(lab.fact(&guest, "password="), Some("set".into()));
    let banner = lab.fact(&guest, "file=/etc/banner.txt ").expect("the personality file");
    assert!(banner.ends_with("mode=440 owner=root:root"), "{banner}");

    // It responds at its address, and accepts only its password.
    let there = lab.ssh(&guest, &guest.public, "hostname; cat /etc/banner.txt");
    assert_eq!(String::from_utf8_lossy(&there.stdout), "first-light\nNephos was here\n", "{there:?}");
    assert!(!lab.host().ssh(&guest.public, "wrong", "true").status.success());
    assert!(lab.ssh(&guest, &guest.public, "echo kept > /root/data; sync").status.success());

    // If the program stops or dies, the machine keeps running and can still be managed.
    lab.cloud.stop();
    assert!(lab.ssh(&guest, &guest.public, "cat /root/data").stdout == b"kept\n");
    lab.cloud.launch();
    assert_eq!(lab.status(&guest), "ACTIVE");
    lab.cloud.kill();
    lab.cloud.launch();
    assert_eq!(lab.status(&guest), "ACTIVE");

    // After a reboot the boot id is new, the disk's contents remain, and the personality is not applied again.
    for (kind, boots) in [("HARD", 2), ("SOFT", 3)] {
        let before = lab.fact(&guest, "boot-id=").unwrap();
        lab.act(&guest, &json!({ "reboot": { "type": kind } }));
        lab.booted(&guest, boots);
        assert_ne!(lab.fact(&guest, "boot-id="), Some(before), "{kind}");
        assert_eq!(lab.fact(&guest, "personality="), Some("kept".into()));
        lab.becomes(&guest, "ACTIVE");
    }
    assert_eq!(lab.ssh(&guest, &guest.public, "cat /root/data").stdout, b"kept\n");

    // Usage is metered: the first logins alone transfer kilobytes each way, and three boots take seconds.
    let used = lab.cloud.admin(&["usage", "--servers", "--json"]).stdout;
    let used: serde_json::Value =
        serde_json::from_slice(used.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!((&used["number"], &used["server"]), (&json!(guest.id), &json!(guest.machine)));
    let number = |key: &str| used[key].as_u64().unwrap();
    assert!(number("bytes_in") > 2000 && number("bytes_out") > 2000 && number("seconds") > 10, "{used}");
    assert_eq!(number("mib_seconds"), number("seconds") * 256);

    // After deletion nothing is left over, and its address is assigned again.
    assert_eq!(lab.delete(&format!("/servers/{}", guest.id)).status, 202);
    lab.vanishes(&guest);
    lab.clean();
    let again = lab.create("second", &json!({}));
    assert_ne!(again.machine, guest.machine);
}

#[test]
fn a_build_interrupted_by_kill_9_ends_in_a_running_server() {
    let mut lab = Lab::start();
    let body = r#"<server xmlns="http://docs.rackspacecloud.com/servers/api/v1.0" name="by-xml" imageId="1" flavorId="1"/>"#;
    let url = format!("{}/servers.xml", lab.base);
    let created = lab.call(&url, &["-X", "POST", "-H", "Content-Type: application/xml", "-d", body]);
    assert_eq!(created.status, 202, "{}", created.text());
    let attribute = |name: &str| {
        let text = created.text();
        text.split(&format!(" {name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let id = attribute("id").parse().unwrap();
    let server = lab.get(&format!("/servers/{id}"))["server"].clone();
    let address = |label: &str| server["addresses"][label][0].as_str().unwrap().to_owned();
    let guest = Guest {
        id,
        machine: lab.machine(id),
        password: attribute("adminPass"),
        public: address("public"),
        private: address("private"),
    };
    for progress in [1, 30] {
        until("the build to continue", BOOT, || {
            let server = lab.shown(&guest);
            (server["status"] != "BUILD" || server["progress"].as_u64() >= Some(progress)).then_some(())
        });
        lab.cloud.kill();
        lab.cloud.launch();
    }
    lab.host().crash_and_return();
    lab.becomes(&guest, "ACTIVE");
    assert_eq!(lab.says(&guest, "hostname"), "by-xml\n");
    let domains = lab.host().virsh(&["list", "--all", "--name"]);
    assert_eq!(domains.split_whitespace().count(), 1, "one machine, not two");
}
