//! Features of simulated hosts only: step mode, stored state, injected faults.

mod suite;

use std::time::Duration;

use hypervisor::faulty::{Fault, Faulty};
use hypervisor::simulated::{Settings, SimulatedHost};
use hypervisor::{Error, Event, Hypervisor, MachineSpec, Options, Power, Progress, open};
use suite::{SuiteConfig, TestObjects};

/// A defined machine on a host.
async fn build(host: &dyn Hypervisor) -> MachineSpec {
    let config = SuiteConfig::simulated();
    let objects = TestObjects::new(&config);
    host.ensure_network(&objects.public).await.unwrap();
    host.ensure_network(&objects.private).await.unwrap();
    let image = config.image_spec(&objects.image);
    host.upload_image(&image, config.image_source(), &Progress::new()).await.unwrap();
    host.ensure_disk(&objects.machine).await.unwrap();
    host.ensure_config_drive(objects.machine.id, &objects.config_drive()).await.unwrap();
    host.define(&objects.machine).await.unwrap();
    objects.machine
}

#[tokio::test]
async fn each_change_waits_for_its_step() {
    let host = SimulatedHost::immediate();
    let machine = build(&host).await.id;
    host.steps().hold();
    let starting = {
        let host = host.clone();
        tokio::spawn(async move { host.start(machine).await })
    };
    let step = host.steps().next_for(machine).await;
    assert_eq!(step.operation, "start");
    assert_eq!(host.state(machine).await.unwrap().power, Power::ShutOff);
    step.release();
    starting.await.unwrap().unwrap();
    assert_eq!(host.state(machine).await.unwrap().power, Power::Running);

    let progress = Progress::new();
    let saving = {
        let (host, progress) = (host.clone(), progress.clone());
        tokio::spawn(async move { host.take_snapshot(machine, machine, &progress).await })
    };
    let step = host.steps().next_of("take_snapshot").await;
    assert_eq!(progress.percent(), 50);
    step.release();
    saving.await.unwrap().unwrap();
    assert_eq!(progress.percent(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_process_finds_its_machines() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { state_dir: Some(directory.path().to_owned()), ..Options::default() };
    let uri = "simulated:?hosts=3&delay=10000";
    let machine = {
        let hosts = open(uri, &options).unwrap();
        let machine = build(hosts[1].as_ref()).await.id;
        hosts[1].start(machine).await.unwrap();
        hosts[1].set_password(machine, "root", "a secret password").await.unwrap();
        machine
    };
    let (mut left, mut files) = (vec![directory.path().to_owned()], 0);
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let kept = std::fs::read(&path).unwrap();
        assert!(!kept.windows(17).any(|bytes| bytes == b"a secret password"), "{}", path.display());
        files += 1;
    }
    assert!(files > 0);
    let hosts = open(uri, &options).unwrap();
    let names: Vec<_> = hosts.iter().map(|host| host.host()).collect();
    assert_eq!(names, ["simulated-1", "simulated-2", "simulated-3"]);
    assert_eq!(hosts[1].state(machine).await.unwrap().power, Power::Running);
    assert_eq!(hosts[0].machines().await.unwrap(), []);
}

#[tokio::test]
async fn starting_a_machine_fails_without_enough_memory() {
    let settings = Settings { memory_mib: 300, delay: Duration::ZERO, ..Settings::default() };
    let host = SimulatedHost::fleet(&settings, None).unwrap().remove(0);
    let (first, second) = (build(&host).await.id, build(&host).await.id);
    host.start(first).await.unwrap();
    assert!(matches!(host.start(second).await, Err(Error::NoCapacity { .. })));
    host.stop(first).await.unwrap();
    host.start(second).await.unwrap();
}

#[tokio::test]
async fn crashes_and_unreachable_hosts_send_events() {
    let host = SimulatedHost::immediate();
    let machine = build(&host).await.id;
    host.start(machine).await.unwrap();
    let mut events = host.events();
    host.crash(machine);
    let crashed = host.state(machine).await.unwrap();
    assert_eq!(crashed.power, Power::Crashed);
    assert_eq!(events.recv().await.unwrap(), Event::Machine(crashed));
    host.disconnect();
    assert_eq!(events.recv().await.unwrap(), Event::HostLost);
    assert!(matches!(host.start(machine).await, Err(Error::Unreachable { .. })));
    host.reconnect();
    assert_eq!(events.recv().await.unwrap(), Event::HostBack);
    host.start(machine).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_guest_shuts_down_on_request_even_if_its_host_becomes_unreachable() {
    let host = SimulatedHost::immediate();
    let machine = build(&host).await.id;
    host.start(machine).await.unwrap();
    host.steps().hold();
    host.ask_to_shut_down(machine).await.unwrap();
    let step = host.steps().next_of("ask_to_shut_down").await;
    host.disconnect();
    step.release();
    let shut_off = async {
        while host.all_machines()[0].0 != Power::ShutOff {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), shut_off).await.expect("the guest shuts down");
    host.reconnect();
    assert_eq!(host.state(machine).await.unwrap().power, Power::ShutOff);
}

#[tokio::test(start_paused = true)]
async fn faults_affect_only_the_chosen_call() {
    let host = Faulty::new(SimulatedHost::immediate());
    let machine = build(&host).await.id;
    let lost = Error::Timeout { operation: "start", after: Duration::from_secs(1) };
    host.inject("start", 1, Fault::After(lost.clone()));
    assert_eq!(host.start(machine).await, Err(lost));
    assert_eq!(host.state(machine).await.unwrap().power, Power::Running, "the start took effect");
    host.inject("stop", 1, Fault::Hang);
    assert!(tokio::time::timeout(Duration::from_secs(3600), host.stop(machine)).await.is_err());
    assert_eq!(host.state(machine).await.unwrap().power, Power::Running, "the stop had no effect");
}
