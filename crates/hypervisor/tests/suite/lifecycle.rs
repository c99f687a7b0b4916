//! A machine's lifecycle: create, start, change, stop, delete.

use std::net::IpAddr;

use hypervisor::{Error, Event, Hypervisor, Mac, MachineSpec, Power, Reboot};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::config::{
    ADDRESS, FORBIDDEN, SuiteConfig, TestObjects, assert_no_machine, assert_not_found, assert_refused,
    eventually,
};
use super::console::{wait_for_boot, whole};

async fn power(host: &dyn Hypervisor, machine: Uuid) -> Power {
    host.state(machine).await.unwrap().power
}

pub async fn wait_for_power(host: &dyn Hypervisor, machine: Uuid, wanted: Power) {
    let what = format!("{wanted:?}");
    eventually(&what, || async { (power(host, machine).await == wanted).then_some(()) }).await;
}

async fn wait_for_event(events: &mut broadcast::Receiver<Event>, machine: Uuid, wanted: Power) {
    loop {
        match events.recv().await.unwrap() {
            Event::Machine(state) if state.id == machine && state.power == wanted => return,
            _ => {}
        }
    }
}

pub async fn build(host: &dyn Hypervisor, _: &SuiteConfig, objects: &TestObjects) {
    let machine = &objects.machine;
    assert_eq!(power(host, machine.id).await, Power::Absent);
    assert_no_machine(host.start(machine.id).await);
    assert_no_machine(host.stop(machine.id).await);
    assert_no_machine(host.console(machine.id, 0, 10).await);

    let of_no_image =
        MachineSpec { image: "0123456789abcdef0123456789abcdef".parse().unwrap(), ..machine.clone() };
    assert_not_found(host.ensure_disk(&of_no_image).await);
    assert_not_found(host.define(machine).await);
    host.ensure_disk(machine).await.unwrap();
    host.ensure_disk(machine).await.unwrap();
    assert_not_found(host.define(machine).await);
    host.ensure_config_drive(machine.id, &vec![("old".to_owned(), vec![0; 9000])]).await.unwrap();
    host.ensure_config_drive(machine.id, &objects.config_drive()).await.unwrap();
    let mut nowhere = machine.clone();
    nowhere.nics[0].network = "nowhere".to_owned();
    assert_not_found(host.define(&nowhere).await);
    host.define(machine).await.unwrap();
    host.define(machine).await.unwrap();
    assert_eq!(power(host, machine.id).await, Power::ShutOff);
    assert_refused(host.reboot(machine.id, Reboot::Soft).await);
    assert_refused(host.pause(machine.id).await);
    assert_refused(host.resume(machine.id).await);
    host.stop(machine.id).await.unwrap();
    assert!(host.machines().await.unwrap().iter().any(|found| found.id == machine.id));
}

pub async fn first_boot(host: &dyn Hypervisor, config: &SuiteConfig, objects: &TestObjects) {
    let id = objects.machine.id;
    let mut events = host.events();
    host.start(id).await.unwrap();
    host.start(id).await.unwrap();
    wait_for_event(&mut events, id, Power::Running).await;
    assert_eq!(power(host, id).await, Power::Running);
    assert_eq!(host.usage(id).await.unwrap().nics.len(), 2);
    if !config.runs_guests {
        assert!(whole(host, id).await.contains("booted"));
        return;
    }
    let report = wait_for_boot(host, id, 1).await;
    for said in [
        "name=web",
        &format!("address=eth0:{ADDRESS}"),
        "address=eth1:203.0.114.10",
        &format!("instance={id}"),
        "password=set",
        "file=/etc/banner.txt",
        "mode=440 owner=root:root",
        "personality=applied",
        "vcpus=1",
    ] {
        assert!(report.contains(said), "{said} is missing in: {report}");
    }
    let usage = host.usage(id).await.unwrap();
    assert!(usage.cpu_ns > 0 && usage.nics[0].sent_bytes > 0, "{usage:?}");
}

pub async fn password_and_addresses(host: &dyn Hypervisor, config: &SuiteConfig, objects: &TestObjects) {
    let id = objects.machine.id;
    eventually("the guest's agent", || async {
        match host.set_password(id, "root", "second-Secret2").await {
            Ok(()) => Some(()),
            Err(Error::GuestSilent { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    if config.runs_guests {
        assert_refused(host.set_password(id, "nobody-of-that-name", "x").await);
    }
    let card = objects.machine.nics[0].mac;
    let (own, shared) = (IpAddr::V4(ADDRESS), IpAddr::V4(FORBIDDEN));
    let assert_reachable = |wanted: &[IpAddr], why: &str| {
        if let Some(namespace) = &config.namespace {
            assert_eq!(reachable(namespace, &[own, shared]), wanted, "{why}");
        }
    };
    assert_reachable(&[own], "an address that is not allowed must not work");
    host.set_addresses(id, card, &[own, shared]).await.unwrap();
    eventually("the additional allowed address", || async {
        let namespace = config.namespace.as_ref();
        namespace.is_none_or(|namespace| reachable(namespace, &[own, shared]) == [own, shared]).then_some(())
    })
    .await;
    host.set_addresses(id, card, &[shared]).await.unwrap();
    assert_reachable(&[shared], "a removed address must not work");
    host.set_addresses(id, card, &[own]).await.unwrap();
    assert_reachable(&[own], "only the restored address must work");
    assert_not_found(host.set_addresses(id, Mac([2, 0, 0, 0, 0, 9]), &[shared]).await);
}

/// Connects to the guest's ssh server from the host's network namespace, at all addresses at once. The second_machine
/// table is flushed first, so that the guest must reply to ARP again. Addresses without a connection one second after
/// the first result count as unreachable.
const CONNECT: &str = r#"
ip neigh flush all
for address; do
    timeout 20 bash -c 'read -r -n 3 <>"/dev/tcp/$0/22" && echo "$0"' "$address" &
done
wait -n
sleep 1
kill $(jobs -p)
wait
"#;

/// Returns the reachable addresses.
fn reachable(namespace: &str, addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut dial = std::process::Command::new("ip");
    dial.args(["netns", "exec", namespace, "bash", "-c", CONNECT, "dial"]);
    dial.args(addresses.iter().map(IpAddr::to_string));
    let answers = String::from_utf8(dial.output().unwrap().stdout).unwrap();
    addresses
        .iter()
        .filter(|address| answers.lines().any(|line| line == address.to_string()))
        .copied()
        .collect()
}

pub async fn pause_and_reboot(host: &dyn Hypervisor, config: &SuiteConfig, objects: &TestObjects) {
    let id = objects.machine.id;
    host.pause(id).await.unwrap();
    host.pause(id).await.unwrap();
    assert_eq!(power(host, id).await, Power::Paused);
    assert_refused(host.ask_to_shut_down(id).await);
    host.resume(id).await.unwrap();
    host.resume(id).await.unwrap();
    assert_eq!(power(host, id).await, Power::Running);
    host.reboot(id, Reboot::Soft).await.unwrap();
    if config.runs_guests {
        let report = wait_for_boot(host, id, 2).await;
        assert!(report.contains("NEPHOS-GUEST down"), "it went down by itself: {report}");
        assert!(report.contains("personality=kept"), "{report}");
    }
    host.reboot(id, Reboot::Hard).await.unwrap();
    if config.runs_guests {
        wait_for_boot(host, id, 3).await;
    }
    let mut events = host.events();
    host.ask_to_shut_down(id).await.unwrap();
    wait_for_event(&mut events, id, Power::ShutOff).await;
    wait_for_power(host, id, Power::ShutOff).await;
    host.ask_to_shut_down(id).await.unwrap();
}

pub async fn delete(host: &dyn Hypervisor, objects: &TestObjects) {
    let id = objects.machine.id;
    assert_refused(host.remove_network(&objects.public.name).await);
    host.delete(id).await.unwrap();
    host.delete(id).await.unwrap();
    assert_eq!(power(host, id).await, Power::Absent);
    assert!(host.machines().await.unwrap().iter().all(|found| found.id != id));
    host.drop_image(&objects.image).await.unwrap();
    host.drop_image(&objects.image).await.unwrap();
    assert!(!host.holds_image(&objects.image).await.unwrap());
    for network in [&objects.public, &objects.private, &objects.public] {
        host.remove_network(&network.name).await.unwrap();
    }
}
