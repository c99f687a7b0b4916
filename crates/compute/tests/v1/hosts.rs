//! Hosts: placement of servers, and failures of hosts and machines.

use std::collections::HashSet;
use std::time::Duration;

use compute::{Compute, Settings};
use hypervisor::Hypervisor;
use hypervisor::faulty::Fault;
use hypervisor::simulated::Settings as HostSettings;
use images::Images;

use crate::bed::{TENANT, TestBed};

fn unlimited() -> Settings {
    Settings { rate_limits: false, ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_hypervisor_only_create_fails_and_says_what_to_install() {
    let bed = TestBed::hostless().await;
    for path in ["/servers", "/flavors/detail", "/images", "/limits", "/shared_ip_groups"] {
        assert_eq!(bed.get(path).await.status, 200, "{path}");
    }
    let answer = bed.post("/servers", r#"{"server": {"name": "x", "imageId": 1, "flavorId": 1}}"#).await;
    assert_eq!(answer.status, 503);
    let message = answer.json()["serviceUnavailable"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("libvirt-daemon-system") && message.contains("--hypervisor simulated"),
        "{message}"
    );
    assert_eq!(bed.get("/servers").await.json()["servers"].as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_servers_are_spread_over_hosts_until_all_are_full() {
    let three = HostSettings { hosts: 3, memory_mib: 1024, ..HostSettings::default() };
    let bed = TestBed::with(three, unlimited()).await;
    bed.eventually("all hosts are known", || async { bed.compute.hosts().await.unwrap().len() == 3 }).await;
    let mut hosts = HashSet::new();
    let mut ids = HashSet::new();
    for _ in 0..3 {
        let (server, machine) = bed.active("s", 2).await;
        hosts.insert(bed.host_of(machine).host().to_owned());
        ids.insert(bed.get(&format!("/servers/{server}")).await.json()["server"]["hostId"].to_string());
    }
    assert_eq!((hosts.len(), ids.len()), (3, 3));
    for _ in 0..3 {
        bed.active("s", 2).await;
    }
    let answer = bed.post("/servers", r#"{"server": {"name": "x", "imageId": 1, "flavorId": 1}}"#).await;
    assert_eq!(answer.status, 503);
    let message = answer.json()["serverCapacityUnavailable"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("256 MB RAM"), "{message}");
    assert_eq!(bed.delete("/servers/2").await.status, 202);
    bed.until(2, "gone").await;
    bed.active("s", 2).await;
    // The host id differs per account.
    assert_ne!(Compute::host_id(TENANT, "simulated-1"), Compute::host_id("1", "simulated-1"));
    // A resize fails on full hosts.
    let answer = bed.post("/servers/1/action", r#"{"resize": {"flavorId": 3}}"#).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_host_gets_no_new_servers() {
    let two = HostSettings { hosts: 2, ..HostSettings::default() };
    let bed = TestBed::with(two, unlimited()).await;
    bed.eventually("all hosts are known", || async { bed.compute.hosts().await.unwrap().len() == 2 }).await;
    bed.compute.drain("simulated-1", true).await.unwrap();
    for _ in 0..3 {
        let (_, machine) = bed.active("s", 1).await;
        assert_eq!(bed.host_of(machine).host(), "simulated-2");
    }
    bed.compute.drain("simulated-1", false).await.unwrap();
    let (_, machine) = bed.active("s", 1).await;
    assert_eq!(bed.host_of(machine).host(), "simulated-1");
    assert!(bed.compute.drain("simulated-9", true).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_an_unreachable_host_show_unknown_until_it_is_back() {
    let bed = TestBed::with(HostSettings::default(), unlimited()).await;
    let (server, _) = bed.active("web", 1).await;
    bed.hosts[0].disconnect();
    bed.until(server, "UNKNOWN").await;
    let answer = bed.post("/servers", r#"{"server": {"name": "x", "imageId": 1, "flavorId": 1}}"#).await;
    assert_eq!(answer.status, 503);
    // Actions requested meanwhile run once it is reachable.
    assert_eq!(bed.delete(&format!("/servers/{server}")).await.status, 202);
    assert_eq!(bed.status(server).await, "DELETED");
    bed.hosts[0].reconnect();
    bed.eventually("the deletion continues", || async {
        bed.advance(Duration::from_secs(1)).await;
        bed.status(server).await == "gone"
    })
    .await;
    bed.assert_clean().await;
    bed.active("again", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_on_a_failing_host_moves_to_another_and_leaves_nothing_on_the_first() {
    let two = HostSettings { hosts: 2, ..HostSettings::default() };
    let bed = TestBed::with(two, unlimited()).await;
    bed.eventually("all hosts are known", || async { bed.compute.hosts().await.unwrap().len() == 2 }).await;
    // The first host becomes unreachable once the machine is defined there.
    bed.compute.drain("simulated-2", true).await.unwrap();
    bed.fail_next("start", Fault::Hang);
    let launch = r#"{"server": {"name": "s", "imageId": 1, "flavorId": 1}}"#;
    let server = bed.post("/servers", launch).await.json()["server"]["id"].as_i64().unwrap();
    let machine = bed.uuid(server).await;
    bed.eventually("the machine is defined", || async { bed.calls("start") == 1 }).await;
    let addresses = bed.server(server).await.interfaces;
    bed.compute.drain("simulated-2", false).await.unwrap();
    bed.hosts[0].disconnect();
    let mut bed = bed;
    bed.crash_and_reopen().await;
    bed.eventually("another host is chosen", || async {
        bed.advance(Duration::from_secs(10)).await;
        bed.status(server).await == "ACTIVE"
    })
    .await;
    let moved = bed.server(server).await;
    assert_eq!((moved.host.as_str(), &moved.interfaces), ("simulated-2", &addresses));
    let room = |hosts: Vec<compute::Host>| hosts.iter().map(|host| host.used_memory_mib).collect::<Vec<_>>();
    assert_eq!(room(bed.compute.hosts().await.unwrap()), [0, 256]);
    // It becomes reachable again and still has the machine.
    bed.hosts[0].reconnect();
    bed.eventually("the first host is clean", || async {
        bed.advance(Duration::from_secs(10)).await;
        bed.hosts[0].spec(machine).is_none()
    })
    .await;
    assert!(bed.hosts[1].spec(machine).is_some());
    assert_eq!(bed.status(server).await, "ACTIVE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_machine_shows_error_and_can_be_rebooted() {
    let bed = TestBed::with(HostSettings::default(), unlimited()).await;
    let (server, machine) = bed.active("web", 1).await;
    let action = format!("/servers/{server}/action");
    bed.hosts[0].crash(machine);
    bed.until(server, "ERROR").await;
    let fault = bed.server(server).await.fault.unwrap();
    assert!(fault.message.contains("stopped unexpectedly"), "{}", fault.message);
    assert_eq!(bed.post(&action, r#"{"reboot": {"type": "SOFT"}}"#).await.status, 409);
    assert_eq!(bed.post(&action, r#"{"reboot": {"type": "HARD"}}"#).await.status, 202);
    bed.until(server, "ACTIVE").await;
    assert!(bed.server(server).await.fault.is_none());
    bed.hosts[0].shut_down_from_within(machine);
    bed.until(server, "SUSPENDED").await;
    assert_eq!(bed.post(&action, r#"{"reboot": {"type": "SOFT"}}"#).await.status, 202);
    bed.until(server, "ACTIVE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_during_a_downtime_are_detected_at_the_start() {
    let mut bed = TestBed::with(HostSettings::default(), unlimited()).await;
    let (crashed, machine) = bed.active("crashed", 1).await;
    let (shut, other) = bed.active("shut", 1).await;
    let (deleted, leftover) = bed.active("deleted", 1).await;
    let (kept, running) = bed.active("kept", 1).await;
    let spec = bed.hosts[0].spec(leftover).unwrap();
    assert_eq!(bed.delete(&format!("/servers/{deleted}")).await.status, 202);
    bed.until(deleted, "gone").await;
    bed.compute.stop().await;
    bed.hosts[0].crash(machine);
    bed.hosts[0].shut_down_from_within(other);
    // A machine of a deleted server is removed, an unknown machine is kept.
    let foreign = hypervisor::MachineSpec { id: uuid::Uuid::new_v4(), ..spec.clone() };
    for spec in [&spec, &foreign] {
        bed.hosts[0].ensure_disk(spec).await.unwrap();
        bed.hosts[0].ensure_config_drive(spec.id, &Vec::new()).await.unwrap();
        bed.hosts[0].define(spec).await.unwrap();
    }
    bed.reopen().await;
    bed.until(crashed, "ERROR").await;
    bed.until(shut, "SUSPENDED").await;
    bed.eventually("the orphaned machine is removed", || async { bed.hosts[0].spec(leftover).is_none() })
        .await;
    assert!(bed.hosts[0].spec(foreign.id).is_some());
    assert!(bed.hosts[0].spec(running).is_some());
    assert_eq!(bed.status(kept).await, "ACTIVE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_of_deleted_servers_are_kept_if_configured() {
    let bed = TestBed::with(HostSettings::default(), Settings { keep_images: true, ..unlimited() }).await;
    let (server, _) = bed.active("web", 1).await;
    let body = format!(r#"{{"image": {{"serverId": {server}, "name": "gold"}}}}"#);
    let image = bed.post("/images", &body).await.json()["image"]["id"].as_i64().unwrap();
    let status = async |images: &Images| images.get(TENANT, images::Id::Number(image)).await.unwrap().status;
    bed.eventually("the image is ACTIVE", || async { status(bed.images()).await == images::Status::Active })
        .await;
    assert_eq!(bed.delete(&format!("/servers/{server}")).await.status, 202);
    bed.until(server, "gone").await;
    assert_eq!(status(bed.images()).await, images::Status::Active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_creates_are_spread_over_hosts() {
    const MANY: u32 = 200;
    let bed = TestBed::with(HostSettings { hosts: MANY, ..HostSettings::default() }, unlimited()).await;
    let all = usize::try_from(MANY).unwrap();
    bed.eventually("all hosts are known", || async { bed.compute.hosts().await.unwrap().len() == all }).await;
    let launch = r#"{"server": {"name": "s", "imageId": 1, "flavorId": 1}}"#;
    for answer in bed.all_at_once(launch, all).await {
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    bed.eventually("all servers are ACTIVE", || async {
        let list = bed.get("/servers/detail").await.json();
        list["servers"].as_array().unwrap().iter().all(|server| server["status"] == "ACTIVE")
    })
    .await;
    let hosts = bed.compute.hosts().await.unwrap();
    assert!(hosts.iter().all(|host| host.used_memory_mib == 256), "{hosts:?}");
    // The account's limit of 50 GB is reached.
    assert_eq!(bed.post("/servers", launch).await.status, 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_deletes_removed_images_once_no_disk_needs_them() {
    let mut bed = TestBed::with(HostSettings::default(), unlimited()).await;
    let (server, _) = bed.active("web", 1).await;
    let body = format!(r#"{{"image": {{"serverId": {server}, "name": "gold"}}}}"#);
    assert_eq!(bed.post("/images", &body).await.status, 202);
    bed.eventually("the image is ACTIVE", || async {
        bed.get("/images/2").await.json()["image"]["status"] == "ACTIVE"
    })
    .await;
    let launch = r#"{"server": {"name": "copy", "imageId": 2, "flavorId": 1}}"#;
    let copy = bed.post("/servers", launch).await.json()["server"]["id"].as_i64().unwrap();
    bed.until(copy, "ACTIVE").await;
    let held = async |bed: &TestBed| bed.hosts[0].images().await.unwrap().len();
    assert_eq!(held(&bed).await, 2);
    assert_eq!(bed.delete("/images/2").await.status, 204);
    let (calls, needed) = (bed.calls("drop_image"), held(&bed).await);
    bed.compute.stop().await;
    bed.reopen().await;
    bed.eventually("the host was called", || async { bed.calls("drop_image") > calls }).await;
    assert_eq!((held(&bed).await, bed.status(copy).await.as_str()), (needed, "ACTIVE"));
    assert_eq!(bed.delete(&format!("/servers/{copy}")).await.status, 202);
    bed.until(copy, "gone").await;
    bed.compute.stop().await;
    bed.reopen().await;
    bed.eventually("only the other is left", || async { held(&bed).await == 1 }).await;
    assert_eq!(bed.status(server).await, "ACTIVE");
}
