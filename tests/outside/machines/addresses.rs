//! Addresses are enforced: a guest can use only those that it was given, including shared ones.

use std::time::Duration;

use serde_json::json;
use tests::cloud::until;
use tests::lab::{BOOT, Guest, Lab};

/// Returns the host name of the guest that responds at an address, asked over ssh with a guest's password.
fn answers(lab: &Lab, address: &str, guest: &Guest) -> Option<String> {
    comes_alive(lab, address);
    // Forget the neighbour entries of before.
    let _ = lab.host().within(&["ip", "neigh", "flush", "all"]).status();
    let output = lab.host().ssh(address, &guest.password, "hostname");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns whether ssh responds at an address; tries three times.
fn is_there(lab: &Lab, address: &str) -> bool {
    let _ = lab.host().within(&["ip", "neigh", "flush", "all"]).status();
    let knock = format!(
        "for i in 1 2 3; do timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/22' && exit 0; done; exit 1"
    );
    lab.host().within(&["bash", "-c", &knock]).output().expect("bash").status.success()
}

#[track_caller]
fn comes_alive(lab: &Lab, address: &str) {
    let patience = Duration::from_secs(60);
    until(&format!("ssh to respond at {address}"), patience, || is_there(lab, address).then_some(()));
}

/// Returns whether the network's router receives packets that a guest sends from an address.
fn heard_with(lab: &Lab, guest: &Guest, address: &str) -> bool {
    let script = format!(
        "router=$(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')
         ip address add {address}/16 dev eth0 2>/dev/null && taken=yes
         ping -c 2 -W 2 -I {address} $router >/run/ping 2>&1 && echo heard || echo no
         [ -z \"$taken\" ] || ip address del {address}/16 dev eth0"
    );
    lab.says(guest, &script).trim() == "heard"
}

fn take(lab: &Lab, guest: &Guest, address: &str) {
    let said = lab.says(
        guest,
        &format!("ip address add {address}/16 dev eth0 2>/dev/null; ip -4 -o address show dev eth0"),
    );
    assert!(said.contains(address), "{said}");
}

fn let_go(lab: &Lab, guest: &Guest, address: &str) {
    let said = lab.says(
        guest,
        &format!("ip address del {address}/16 dev eth0 2>/dev/null; ip -4 -o address show dev eth0"),
    );
    assert!(!said.contains(address), "{said}");
}

#[test]
fn guests_can_use_only_the_addresses_that_they_were_given() {
    let lab = Lab::start();
    let alpha = lab.create("alpha", &json!({}));
    let group = lab.send(
        "POST",
        "/shared_ip_groups",
        &json!({ "sharedIpGroup": { "name": "ha", "server": alpha.id } }),
    );
    assert_eq!(group.status, 201, "{}", group.text());
    let group = group.json()["sharedIpGroup"]["id"].clone();
    let beta = lab.create("beta", &json!({ "sharedIpGroupId": group }));
    for guest in [&alpha, &beta] {
        lab.becomes(guest, "ACTIVE");
        lab.booted(guest, 1);
    }
    let vip = alpha.public.clone();
    // An address of the same network that no guest has.
    let nobodys = format!("{}.77.7", vip.split('.').take(2).collect::<Vec<_>>().join("."));

    // Guests reach each other on both networks.
    for address in [&beta.public, &beta.private] {
        assert_eq!(lab.says(&alpha, &format!("ping -c 1 -W 5 {address} >/dev/null && echo yes")), "yes\n");
    }
    // Packets from other addresses are dropped: another server's address, and an unassigned one.
    assert!(heard_with(&lab, &beta, &beta.public), "its own address");
    assert!(!heard_with(&lab, &beta, &vip), "packets from alpha's address sent by beta are dropped");
    assert!(!heard_with(&lab, &beta, &nobodys), "packets from an unassigned address are dropped");
    assert_eq!(answers(&lab, &vip, &alpha).as_deref(), Some("alpha"), "alpha keeps its address");

    // Sharing without configuration changes only the network's restrictions.
    let share = |guest: &Guest, configure: bool| {
        let body = json!({ "shareIp": { "sharedIpGroupId": group, "configureServer": configure } });
        let answer = lab.send("PUT", &format!("/servers/{}/ips/public/{vip}", guest.id), &body);
        assert_eq!(answer.status, 202, "{}", answer.text());
    };
    let stop = lab.stop_at("after.set_addresses");
    share(&beta, false);
    stop.reached();
    assert_eq!(lab.status(&beta), "SHARE_IP_NO_CONFIG");
    stop.release();
    lab.becomes(&beta, "ACTIVE");
    assert_eq!(lab.shown(&beta)["addresses"]["public"], json!([beta.public, vip]));
    assert_eq!(lab.boots(&beta), 1, "the guest is not rebooted");
    assert_eq!(answers(&lab, &vip, &alpha).as_deref(), Some("alpha"));

    // Fail over and back.
    let_go(&lab, &alpha, &vip);
    assert!(!is_there(&lab, &vip), "no guest uses it");
    take(&lab, &beta, &vip);
    assert_eq!(answers(&lab, &vip, &beta).as_deref(), Some("beta"));
    assert_eq!(answers(&lab, &beta.public, &beta).as_deref(), Some("beta"), "its own address too");
    assert!(!heard_with(&lab, &beta, &nobodys), "sharing one address permits no others");
    let_go(&lab, &beta, &vip);
    take(&lab, &alpha, &vip);
    assert_eq!(answers(&lab, &vip, &alpha).as_deref(), Some("alpha"));

    // Unshare the address while the guest uses it.
    let_go(&lab, &alpha, &vip);
    take(&lab, &beta, &vip);
    comes_alive(&lab, &vip);
    let stop = lab.stop_at("after.set_addresses");
    assert_eq!(lab.delete(&format!("/servers/{}/ips/public/{vip}", beta.id)).status, 202);
    stop.reached();
    assert_eq!(lab.status(&beta), "DELETE_IP");
    stop.release();
    lab.becomes(&beta, "ACTIVE");
    assert!(!is_there(&lab, &vip), "packets from an unshared address are dropped");
    assert_eq!(lab.shown(&beta)["addresses"]["public"], json!([beta.public]));
    let_go(&lab, &beta, &vip);
    take(&lab, &alpha, &vip);

    // Sharing with configuration: after a boot the guest has the address configured, but not enabled.
    let stop = lab.stop_at("before.ensure_config_drive");
    share(&beta, true);
    stop.reached();
    assert_eq!(lab.status(&beta), "SHARE_IP");
    stop.release();
    lab.becomes(&beta, "ACTIVE");
    lab.booted(&beta, 2);
    assert_eq!(lab.fact(&beta, "shared="), Some(vip.clone()));
    assert_eq!(lab.says(&beta, "cat /etc/network.shared"), format!("{vip}\n"));
    assert!(!lab.says(&beta, "ip -4 -o address show dev eth0").contains(&vip), "not enabled");
    assert_eq!(answers(&lab, &vip, &alpha).as_deref(), Some("alpha"));

    // The owner dies and the other server takes the address over.
    assert!(lab.host().crash_machine(&alpha.machine));
    lab.becomes(&alpha, "ERROR");
    take(&lab, &beta, &vip);
    assert_eq!(answers(&lab, &vip, &beta).as_deref(), Some("beta"));

    // Delete owner and user; nothing is left over.
    for guest in [&alpha, &beta] {
        assert_eq!(lab.delete(&format!("/servers/{}", guest.id)).status, 202);
    }
    for guest in [&alpha, &beta] {
        lab.vanishes(guest);
    }
    assert!(!is_there(&lab, &vip));
    until("the group to be empty", BOOT, || {
        let group = lab.get(&format!("/shared_ip_groups/{group}"));
        (group["sharedIpGroup"]["servers"] == json!([])).then_some(())
    });
    lab.clean();
}
