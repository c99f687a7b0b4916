//! Behaviour of machines and calls when processes on the host are killed.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hypervisor::{
    Boot, Digest, DiskFormat, Error, Event, Forward, Hypervisor, ImageSource, ImageSpec, Mac, MachineSpec,
    NetworkSpec, Nic, Options, Power, Progress, Reader, Reboot, open,
};
use tokio::sync::broadcast::Receiver;
use uuid::Uuid;

/// A private libvirt host of the test.
struct Daemon {
    script: String,
    name: String,
    directory: tempfile::TempDir,
    uri: String,
}

impl Daemon {
    /// `letter` tells the daemons of one run apart.
    fn start(letter: char) -> Self {
        let script = std::env::var("NEPHOS_TEST_LIBVIRTD")
            .expect("NEPHOS_TEST_LIBVIRTD is not set: run the tests by `tests/hosts/hypervisor.sh`");
        let name = format!("hv{letter}{}", std::process::id());
        let mut daemon = Self { script, name, directory: tempfile::tempdir().unwrap(), uri: String::new() };
        daemon.uri = daemon.call("start");
        daemon
    }

    fn call(&self, command: &str) -> String {
        let mut call = Command::new(&self.script);
        let output = call.args([command, &self.name]).arg(self.directory.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Kills the processes of the host whose program has this name.
    fn kill(&self, program: &str) {
        let pids = Command::new("ip").args(["netns", "pids", &self.name]).output().unwrap();
        let pids = String::from_utf8(pids.stdout).unwrap();
        let named = |pid: &&str| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(program))
        };
        let pids: Vec<_> = pids.split_whitespace().filter(named).collect();
        assert!(!pids.is_empty(), "no {program} runs");
        assert!(Command::new("kill").arg("-KILL").args(pids).status().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.call("stop");
    }
}

/// Each `open` has its own connections, like two processes on one host.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn concurrent_creations_of_the_pool_succeed() {
    let daemon = Daemon::start('p');
    for round in 0..10 {
        let state = tempfile::tempdir().unwrap();
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let options = Options { state_dir: Some(state.path().to_owned()), ..Options::default() };
                let host = open(&format!("{}&accel=tcg", daemon.uri), &options).unwrap().remove(0);
                tokio::spawn(async move { host.capacity().await.map(|capacity| capacity.memory_mib > 0) })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), Ok(true), "round {round}");
        }
        for command in ["pool-destroy", "pool-undefine"] {
            let virsh =
                Command::new("virsh").args(["-q", "-c", &daemon.uri, command, "nephos"]).output().unwrap();
            assert!(virsh.status.success(), "{}", String::from_utf8_lossy(&virsh.stderr));
        }
    }
}

async fn wait_for(events: &mut Receiver<Event>, what: &str, wanted: impl Fn(&Event) -> bool) {
    let wait = async { while !wanted(&events.recv().await.unwrap()) {} };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: no such event"));
}

async fn wait_for_power(events: &mut Receiver<Event>, wanted: Power) {
    wait_for(
        events,
        &format!("{wanted:?}"),
        |event| matches!(event, Event::Machine(state) if state.power == wanted),
    )
    .await;
}

fn blank() -> (ImageSpec, ImageSource) {
    let digest: Digest = "00000000000000000000000000000000".parse().unwrap();
    let size_bytes = 1 << 20;
    let spec = ImageSpec {
        digest,
        format: DiskFormat::Raw,
        size_bytes,
        virtual_bytes: size_bytes,
        kernel_bytes: None,
        initrd_bytes: None,
    };
    let disk: Reader = Box::pin(std::io::Cursor::new(vec![0; 1 << 20]));
    (spec, ImageSource { disk, kernel: None, initrd: None })
}

/// Creates a machine that finds nothing to boot and keeps running.
async fn build(host: &dyn Hypervisor, nics: Vec<Nic>) -> Uuid {
    let (image, source) = blank();
    if !host.holds_image(&image.digest).await.unwrap() {
        host.upload_image(&image, source, &Progress::new()).await.unwrap();
    }
    let machine = MachineSpec {
        id: Uuid::new_v4(),
        name: "idle".to_owned(),
        memory_mib: 64,
        vcpus: 1,
        cpu_shares: 1024,
        disk_bytes: 4 << 20,
        image: image.digest,
        boot: Boot::Disk,
        nics,
    };
    host.ensure_disk(&machine).await.unwrap();
    host.ensure_config_drive(machine.id, &vec![]).await.unwrap();
    host.define(&machine).await.unwrap();
    machine.id
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_processes() {
    let daemon = Daemon::start('k');
    let pool = daemon.directory.path().join("pool");
    let uri = format!("{}&accel=tcg&pool={}", daemon.uri, pool.display());
    let host = open(&uri, &Options::default()).unwrap().remove(0);
    let mut events = host.events();
    let machine = build(host.as_ref(), vec![]).await;
    host.start(machine).await.unwrap();
    wait_for_power(&mut events, Power::Running).await;

    daemon.kill("qemu-system");
    wait_for_power(&mut events, Power::Crashed).await;
    assert_eq!(host.state(machine).await.unwrap().power, Power::Crashed);
    host.start(machine).await.unwrap();
    assert_eq!(host.state(machine).await.unwrap().power, Power::Running);

    daemon.kill("libvirtd");
    wait_for(&mut events, "HostLost", |event| *event == Event::HostLost).await;
    let answer = host.state(machine).await;
    assert!(matches!(answer, Err(Error::Unreachable { .. })), "{answer:?}");
    daemon.call("start");
    wait_for(&mut events, "HostBack", |event| *event == Event::HostBack).await;
    assert_eq!(host.state(machine).await.unwrap().power, Power::Running);
    host.pause(machine).await.unwrap();
    wait_for_power(&mut events, Power::Paused).await;

    daemon.kill("libvirtd");
    daemon.call("start");
    assert_eq!(
        host.state(machine).await.unwrap().power,
        Power::Paused,
        "a call must wait for a restarting daemon"
    );
    host.delete(machine).await.unwrap();
    assert_eq!(host.machines().await.unwrap(), []);
    assert_eq!(std::fs::read_dir(&pool).unwrap().count(), 2, "the image and its seal remain");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_upload_is_not_complete_and_can_be_retried() {
    let daemon = Daemon::start('u');
    let pool = daemon.directory.path().join("pool");
    let uri = format!("{}&accel=tcg&pool={}", daemon.uri, pool.display());
    let host = open(&uri, &Options::default()).unwrap().remove(0);
    let (image, source) = blank();
    let (mut half, slow) = tokio::io::duplex(1 << 16);
    let uploading = {
        let (host, image) = (Arc::clone(&host), image.clone());
        let source = ImageSource { disk: Box::pin(slow), ..blank().1 };
        tokio::spawn(async move { host.upload_image(&image, source, &Progress::new()).await })
    };
    tokio::io::AsyncWriteExt::write_all(&mut half, &vec![0; 1 << 19]).await.unwrap();
    daemon.kill("libvirtd");
    let _ = tokio::io::AsyncWriteExt::write_all(&mut half, &vec![0; 1 << 19]).await;
    drop(half);
    assert!(uploading.await.unwrap().is_err());
    daemon.call("start");
    assert!(!host.holds_image(&image.digest).await.unwrap());
    host.upload_image(&image, source, &Progress::new()).await.unwrap();
    assert!(host.holds_image(&image.digest).await.unwrap());
    host.drop_image(&image.digest).await.unwrap();
    assert_eq!(std::fs::read_dir(&pool).unwrap().count(), 0);
}

/// Returns a network and a card with one address in it.
fn wired(name: &str, number: u8) -> (NetworkSpec, Nic) {
    let network = NetworkSpec {
        name: name.to_owned(),
        bridge: format!("{name}0"),
        subnet: "203.0.113.0/24".parse().unwrap(),
        gateway: Ipv4Addr::new(203, 0, 113, 1),
        forward: Forward::Nat,
    };
    let lease = Ipv4Addr::new(203, 0, 113, 10 + number);
    let mac = Mac([0x52, 0x54, 0, 0, 1, number]);
    let nic = Nic { mac, network: name.to_owned(), lease: Some(lease), allowed: vec![IpAddr::V4(lease)] };
    (network, nic)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_call_completes_an_interrupted_start() {
    let daemon = Daemon::start('p');
    let pool = daemon.directory.path().join("pool");
    let uri = format!("{}&accel=tcg&pool={}", daemon.uri, pool.display());
    let host = open(&uri, &Options::default()).unwrap().remove(0);
    let virsh = |arguments: &[&str]| {
        let output = Command::new("virsh").args(["-q", "-c", &daemon.uri]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (network, nic) = wired("half", 1);
    host.ensure_network(&network).await.unwrap();
    let mut second = nic.clone();
    (second.mac, second.lease) = (Mac([0x52, 0x54, 0, 0, 2, 1]), None);
    let machine = build(host.as_ref(), vec![nic.clone(), second.clone()]).await;
    let domain = machine.to_string();
    // Connected cards with filters, and reservations besides the gateway's.
    let plugged = || {
        let running = virsh(&["dumpxml", &domain]);
        let behind = running.split("<interface ").skip(1).filter(|card| {
            card.contains(&format!("<filterref filter='nephos-{machine}-"))
                && card.contains("<link state='up'/>")
        });
        (behind.count(), virsh(&["net-dumpxml", "half"]).matches("<host ").count() - 1)
    };
    host.start(machine).await.unwrap();
    assert_eq!(plugged(), (2, 1));
    host.start(machine).await.unwrap();
    assert_eq!(plugged(), (2, 1), "a repetition must change nothing");

    // A card that an operator has disconnected stays disconnected.
    virsh(&["domif-setlink", &domain, &nic.mac.to_string(), "down"]);
    host.start(machine).await.unwrap();
    assert_eq!(plugged(), (1, 1));

    // Start the domain directly: this is the state after a crash during the start.
    for next in ["start", "soft reboot", "resume", "resume of a running machine"] {
        host.stop(machine).await.unwrap();
        virsh(&["start", &domain]);
        assert_eq!(plugged().0, 0, "{next}");
        match next {
            "start" => host.start(machine).await.unwrap(),
            "soft reboot" => host.reboot(machine, Reboot::Soft).await.unwrap(),
            "resume" => {
                host.pause(machine).await.unwrap();
                host.resume(machine).await.unwrap();
            }
            _ => host.resume(machine).await.unwrap(),
        }
        assert_eq!(plugged(), (2, 1), "{next}");
    }

    // A machine whose cards cannot be connected is powered off.
    host.stop(machine).await.unwrap();
    let filter = virsh(&["nwfilter-list"]);
    let filter = filter.split_whitespace().find(|word| word.ends_with("525400000201")).unwrap();
    virsh(&["nwfilter-undefine", filter]);
    let failed = host.start(machine).await;
    assert!(matches!(&failed, Err(Error::Failed { .. })), "{failed:?}");
    assert_eq!(host.state(machine).await.unwrap().power, Power::ShutOff);
    host.set_addresses(machine, second.mac, &second.allowed).await.unwrap();
    host.start(machine).await.unwrap();
    assert_eq!(plugged(), (2, 1));

    host.delete(machine).await.unwrap();
    assert!(!virsh(&["nwfilter-list"]).contains("nephos-"), "no filter is left");
    assert_eq!(virsh(&["list", "--all", "--name"]).trim(), "", "no machine is left");
}

const MANY: u8 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn many_machines_at_once_on_one_network() {
    let daemon = Daemon::start('m');
    let pool = daemon.directory.path().join("pool");
    let uri = format!("{}&accel=tcg&pool={}", daemon.uri, pool.display());
    let host = open(&uri, &Options::default()).unwrap().remove(0);
    let (image, source) = blank();
    host.upload_image(&image, source, &Progress::new()).await.unwrap();
    let mut lives = tokio::task::JoinSet::new();
    for number in 0..MANY {
        let host = Arc::clone(&host);
        lives.spawn(async move {
            let (network, nic) = wired("many", number);
            host.ensure_network(&network).await.unwrap();
            let mac = nic.mac;
            let machine = build(host.as_ref(), vec![nic]).await;
            host.start(machine).await.unwrap();
            assert_eq!(host.state(machine).await.unwrap().power, Power::Running);
            host.set_addresses(machine, mac, &[]).await.unwrap();
            machine
        });
    }
    let machines = lives.join_all().await;
    assert_eq!(host.machines().await.unwrap().len(), usize::from(MANY));
    let virsh = |arguments: &[&str]| {
        let output = Command::new("virsh").args(["-q", "-c", &daemon.uri]).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // The gateway's reservation stays.
    let reserved = || virsh(&["net-dumpxml", "many"]).matches("<host ").count();
    assert_eq!(reserved(), 1 + usize::from(MANY));
    let mut ends = tokio::task::JoinSet::new();
    for machine in machines {
        let host = Arc::clone(&host);
        ends.spawn(async move { host.delete(machine).await.unwrap() });
    }
    ends.join_all().await;
    assert_eq!(host.machines().await.unwrap(), []);
    assert_eq!(reserved(), 1, "no reservation is left");
    assert!(!virsh(&["nwfilter-list"]).contains("nephos-"), "no filter is left");
    host.drop_image(&image.digest).await.unwrap();
    assert_eq!(std::fs::read_dir(&pool).unwrap().count(), 0, "no file is left");
}

#[tokio::test]
async fn the_error_for_an_unreachable_host_has_a_hint() {
    let host =
        open("qemu+unix:///system?socket=/nowhere/libvirt-sock", &Options::default()).unwrap().remove(0);
    match host.machines().await {
        Err(Error::Unreachable { hint, .. }) => assert!(hint.contains("libvirt"), "{hint}"),
        other => panic!("{other:?}"),
    }
}
