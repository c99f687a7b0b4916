//! Two hosts: one on the program's machine, by socket, and a remote one, by TCP, in network, mount and UTS namespaces of its
//! own. For clients, the remote one behaves the same.

use std::process::Command;
use std::thread;

use serde_json::json;
use tests::cloud::{succeed, until};
use tests::host::{Host, new_name};
use tests::lab::{BOOT, Lab};

/// Addresses of the program and of the remote daemon, on a separate link (RFC 2544's range for tests).
const NEAR: &str = "198.18.0.1";
const FAR: &str = "198.18.0.2";

fn ip(words: &[&str]) {
    succeed(Command::new("ip").args(words));
}

/// Creates two namespaces with a link between them.
fn wired() -> (String, String) {
    let (near, far) = (new_name(), new_name());
    for name in [&near, &far] {
        ip(&["netns", "add", name]);
    }
    ip(&["-n", &near, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &far]);
    for (name, address) in [(&near, NEAR), (&far, FAR)] {
        ip(&["-n", name, "address", "add", &format!("{address}/30"), "dev", "wire"]);
        ip(&["-n", name, "link", "set", "wire", "up"]);
    }
    (near, far)
}

/// Starts a cloud with a local and a remote host and waits until both respond; also returns their URIs.
pub(super) fn over_the_wire() -> (Lab, [String; 2]) {
    let (near, far) = wired();
    let hosts = vec![Host::start_in(&near, None), Host::start_in(&far, Some(FAR))];
    let uris = [hosts[0].hypervisor(), hosts[1].remote_hypervisor()];
    let lab = Lab::over(hosts, &[&uris[0], &uris[1]], Some(&near));
    let known = || lab.cloud.admin(&["host", "list", "--json"]).stdout;
    until("both hosts to respond", BOOT, || {
        (String::from_utf8_lossy(&known()).matches("\"up\":true").count() == 2).then_some(())
    });
    (lab, uris)
}

#[test]
fn a_remote_host_is_the_same_as_a_local_one() {
    let (lab, uris) = over_the_wire();
    let [near, far] = [0, 1].map(|number: usize| lab.hosts[number].name.clone());

    // A tenant's servers are spread over the hosts, and their hostIds differ.
    let guests = [lab.create("one", &json!({})), lab.create("two", &json!({}))];
    assert_ne!(lab.shown(&guests[0])["hostId"], lab.shown(&guests[1])["hostId"]);
    for guest in &guests {
        lab.becomes(guest, "ACTIVE");
        lab.booted(guest, 1);
    }
    let remote = guests.iter().find(|guest| lab.host_of(guest).name == far).expect("one on the far host");
    let local = guests.iter().find(|guest| lab.host_of(guest).name == near).expect("one on the near host");
    lab.keep(remote, "far away");

    // Everything that is transferred to the remote host: passwords, disks, images, consoles.
    let mut changed = remote.clone();
    "far-and-new".clone_into(&mut changed.password);
    let path = format!("/servers/{}", remote.id);
    assert_eq!(lab.send("PUT", &path, &json!({ "server": { "adminPass": changed.password } })).status, 202);
    lab.becomes(remote, "ACTIVE");
    assert_eq!(lab.kept(&changed), "far away");
    let image = lab.send("POST", "/images", &json!({ "image": { "serverId": remote.id, "name": "moves" } }));
    let id = image.json()["image"]["id"].clone();
    until("the image to be ACTIVE", BOOT, || {
        (lab.get(&format!("/images/{id}"))["image"]["status"] == "ACTIVE").then_some(())
    });

    // The link fails: remote servers are UNKNOWN, local ones are not affected. Then everything is as before.
    ip(&["-n", &near, "link", "set", "wire", "down"]);
    ip(&["-n", &far, "link", "set", "wire", "down"]);
    lab.becomes(remote, "UNKNOWN");
    assert_eq!(lab.status(local), "ACTIVE");
    for name in [&near, &far] {
        ip(&["-n", name, "link", "set", "wire", "up"]);
    }
    lab.becomes(remote, "ACTIVE");
    assert_eq!(lab.boots(remote), 1, "it was running all the time");

    // The image of the remote server is used for a server on the local host.
    let far_host = uris[1].split('?').next().expect("a name");
    assert!(lab.cloud.admin(&["host", "drain", far_host]).status.success());
    let moved = lab.boot("moved", &json!({ "imageId": id }));
    assert_eq!(lab.host_of(&moved).name, near);
    assert_eq!(lab.kept(&moved), "far away");

    // The remote host does not return: once it is evacuated, its server is rebuilt on the local host with its addresses.
    let link = |state: &str| [&near, &far].map(|name| ip(&["-n", name, "link", "set", "wire", state]));
    let give_up = |more: &[&str]| lab.cloud.admin(&[&["host", "give-up", far_host], more].concat());
    let refused = give_up(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is reachable: drain it"), "{refused:?}");
    let _ = lab.hosts[1].virsh(&["destroy", &remote.machine]);
    lab.becomes(remote, "SUSPENDED");
    link("down");
    lab.becomes(remote, "UNKNOWN");
    let unsure = give_up(&[]);
    assert!(String::from_utf8_lossy(&unsure.stderr).contains("--powered-off"), "{unsure:?}");
    assert!(give_up(&["--powered-off"]).status.success());
    lab.becomes(remote, "ERROR");
    lab.act(remote, &json!({ "rebuild": {} }));
    lab.becomes(remote, "ACTIVE");
    assert_eq!(lab.host_of(remote).name, near);
    lab.booted(remote, 1);
    assert_eq!(lab.shown(remote)["name"], lab.says(&changed, "hostname").trim());
    // When it is reinstated, what is left of the server is removed from it.
    link("up");
    assert!(give_up(&["--end"]).status.success());
    until("the remote host to be cleaned up", BOOT, || {
        let machines = lab.hosts[1].virsh(&["list", "--all", "--uuid"]);
        machines.trim().is_empty().then_some(())
    });
    assert_eq!(lab.hosts[1].reservations(), Vec::<String>::new());
    assert_eq!(lab.status(remote), "ACTIVE");

    thread::scope(|scope| {
        for guest in guests.iter().chain([&moved]) {
            let lab = &lab;
            scope.spawn(move || {
                assert_eq!(lab.delete(&format!("/servers/{}", guest.id)).status, 202);
                lab.vanishes(guest);
            });
        }
    });
    lab.clean();
}
