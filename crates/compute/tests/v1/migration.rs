//! Resizes to another host because the server's own is full: statuses, reservations, and behaviour with unreachable hosts.

use std::time::Duration;

use compute::model::{Id, Server, Vm};
use database::on_each_engine;
use hypervisor::faulty::Fault;
use hypervisor::{Hypervisor, Power};

use crate::bed::TestBed;

const ACTION: &str = "/servers/1/action";
const RESIZE: &str = r#"{"resize": {"flavorId": 2}}"#;
const CONFIRM: &str = r#"{"confirmResize": null}"#;
const REVERT: &str = r#"{"revertResize": null}"#;
/// Upper bound of the number of steps of a resize.
const STEPS_MAX: usize = 30;

async fn act(bed: &TestBed, body: &str) {
    bed.order(ACTION, body).await;
}

async fn resize(bed: &TestBed) {
    act(bed, RESIZE).await;
    bed.until(1, "VERIFY_RESIZE").await;
}

/// Memory reserved on the first and the second host.
async fn reserved(bed: &TestBed) -> (i64, i64) {
    let hosts = bed.compute.hosts().await.unwrap();
    (hosts[0].used_memory_mib, hosts[1].used_memory_mib)
}

async fn host_id(bed: &TestBed) -> String {
    bed.get("/servers/1").await.json()["server"]["hostId"].as_str().unwrap().to_owned()
}

async fn power(bed: &TestBed, host: usize, server: &Server) -> Power {
    bed.hosts[host].state(server.id).await.unwrap().power
}

/// Waits until only this host has the server's machine and no host has its snapshot.
async fn wait_until_only_on(bed: &TestBed, host: usize) {
    let machine = bed.uuid(1).await;
    bed.eventually("the other host is cleaned up", || async {
        bed.advance(Duration::from_millis(100)).await;
        let other = &bed.hosts[1 - host];
        other.spec(machine).is_none()
            && other.snapshots().await.is_ok_and(|left| left.is_empty())
            && bed.hosts[host].snapshots().await.is_ok_and(|left| left.is_empty())
    })
    .await;
    assert_eq!(bed.assert_runs_once(machine).await, Some(host));
    assert!(bed.server(1).await.other.is_none());
}

async fn delete_all(bed: &TestBed) {
    for server in [1, 2] {
        assert_eq!(bed.delete(&format!("/servers/{server}")).await.status, 202);
        bed.eventually("the server is deleted", || async {
            bed.advance(Duration::from_secs(1)).await;
            bed.status(server).await == "gone"
        })
        .await;
    }
    bed.wait_until_cleaned().await;
    bed.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_status_is_shown_and_only_the_host_changes() {
    let bed = TestBed::with_full_host().await;
    let (before, first) = (bed.server(1).await, host_id(&bed).await);
    assert_eq!(reserved(&bed).await, (1280, 0));
    bed.steps.hold();
    act(&bed, RESIZE).await;
    assert!(["QUEUE_RESIZE", "PREP_RESIZE"].contains(&bed.status(1).await.as_str()));
    bed.until(1, "PREP_RESIZE").await;
    assert_eq!(reserved(&bed).await, (1280, 512));
    let (mut seen, mut progress) = (Vec::new(), Vec::new());
    loop {
        let step = tokio::select! {
            step = bed.steps.next() => step,
            () = bed.until(1, "VERIFY_RESIZE") => break,
        };
        let shown = bed.get("/servers/1").await.json()["server"].clone();
        if let Some(percent) = shown["progress"].as_u64() {
            assert_eq!(shown["status"], "PREP_RESIZE", "at {}", step.operation);
            progress.push(percent);
        }
        bed.assert_runs_once(before.id).await;
        seen.push(step.operation);
        step.release();
    }
    bed.steps.free();
    for needed in ["ask_to_shut_down", "stop", "take_snapshot", "receive_disk", "define", "start"] {
        assert!(seen.contains(&needed), "{needed} in {seen:?}");
    }
    assert!(progress.is_sorted() && progress.len() > 5, "{progress:?}");

    let after = bed.server(1).await;
    assert_ne!(host_id(&bed).await, first);
    assert_eq!((after.host.as_str(), after.number, after.id), ("simulated-2", 1, before.id));
    assert_eq!((&after.interfaces, &after.name), (&before.interfaces, &before.name));
    let (old, new) = (bed.hosts[0].spec(before.id).unwrap(), bed.hosts[1].spec(before.id).unwrap());
    assert_eq!(
        (old.memory_mib, old.disk_bytes, new.memory_mib, new.disk_bytes),
        (256, 10 << 30, 512, 20 << 30)
    );
    let macs = |spec: &hypervisor::MachineSpec| spec.nics.iter().map(|nic| nic.mac).collect::<Vec<_>>();
    assert_eq!(macs(&old), macs(&new));
    assert_eq!(bed.hosts[1].config_drive(before.id), bed.hosts[0].config_drive(before.id));
    assert_eq!(
        (power(&bed, 0, &after).await, power(&bed, 1, &after).await),
        (Power::ShutOff, Power::Running)
    );
    for (path, body) in [(ACTION, RESIZE), (ACTION, r#"{"reboot": {"type": "HARD"}}"#)] {
        assert_eq!(bed.post(path, body).await.status, 409);
    }

    act(&bed, REVERT).await;
    bed.until(1, "ACTIVE").await;
    wait_until_only_on(&bed, 0).await;
    let back = bed.hosts[0].spec(before.id).unwrap();
    assert_eq!((back.memory_mib, back.nics.clone()), (256, networks::machine_nics(&before.interfaces)));
    assert_eq!((host_id(&bed).await, reserved(&bed).await), (first.clone(), (1280, 0)));
    assert_eq!(bed.server(1).await.flavor.number, 1);

    resize(&bed).await;
    act(&bed, CONFIRM).await;
    bed.until(1, "ACTIVE").await;
    wait_until_only_on(&bed, 1).await;
    assert_eq!((reserved(&bed).await, bed.server(1).await.flavor.number), ((1024, 512), 2));
    // Later resizes stay on the new host, which has enough capacity.
    act(&bed, r#"{"resize": {"flavorId": 3}}"#).await;
    bed.until(1, "VERIFY_RESIZE").await;
    act(&bed, CONFIRM).await;
    bed.until(1, "ACTIVE").await;
    act(&bed, r#"{"rebuild": {}}"#).await;
    bed.until(1, "ACTIVE").await;
    assert_eq!((reserved(&bed).await, bed.server(1).await.host.as_str()), ((1024, 1024), "simulated-2"));
    delete_all(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_capacity_on_any_host_nothing_changes() {
    let bed = TestBed::with_full_host().await;
    let before = bed.server(1).await;
    for obstacle in ["too large", "drained", "unreachable"] {
        match obstacle {
            "drained" => bed.compute.drain("simulated-2", true).await.unwrap(),
            "unreachable" => {
                bed.compute.drain("simulated-2", false).await.unwrap();
                bed.hosts[1].disconnect();
                bed.eventually("the outage is known", || async { !bed.compute.hosts().await.unwrap()[1].up })
                    .await;
            }
            _ => {}
        }
        let flavor = if obstacle == "too large" { 4 } else { 2 };
        let answer = bed.post(ACTION, &format!(r#"{{"resize": {{"flavorId": {flavor}}}}}"#)).await;
        assert_eq!(answer.status, 503, "{obstacle}: {}", answer.body);
        let message = answer.json()["serverCapacityUnavailable"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("no host has"), "{message}");
        let after = bed.server(1).await;
        assert_eq!(
            (after.state, after.updated, after.other),
            (before.state, before.updated, None),
            "{obstacle}"
        );
        assert_eq!(reserved(&bed).await, (1280, 0));
    }
    bed.hosts[1].reconnect();
    bed.eventually("the outage is known", || async { bed.compute.hosts().await.unwrap()[1].up }).await;
    resize(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_original_is_kept_shut_off_until_the_resize_is_confirmed() {
    let mut bed = TestBed::with_full_host().await;
    resize(&bed).await;
    let server = bed.server(1).await;
    // Neither a check of the host nor a restart removes it.
    for _ in 0..2 {
        let checks = bed.calls_on(0, "images");
        bed.crash_and_reopen().await;
        bed.eventually("the host was checked", || async { bed.calls_on(0, "images") > checks }).await;
        assert_eq!(power(&bed, 0, &server).await, Power::ShutOff);
        assert_eq!((bed.status(1).await.as_str(), reserved(&bed).await), ("VERIFY_RESIZE", (1280, 512)));
    }
    // If somebody starts it by hand, it is stopped again.
    bed.hosts[0].start(server.id).await.unwrap();
    bed.eventually("the original is off again", || async { power(&bed, 0, &server).await == Power::ShutOff })
        .await;
    assert_eq!(power(&bed, 1, &server).await, Power::Running);
    // Its addresses stay allocated: the new machine has them.
    bed.networks().sweep(&AllServersExist, Duration::ZERO).await.unwrap();
    assert_eq!(bed.networks().ports(server.id).await.unwrap(), server.interfaces);

    // A confirmation fails while the host of the new machine is unreachable.
    bed.hosts[1].disconnect();
    bed.until(1, "UNKNOWN").await;
    bed.clock.advance(Duration::from_secs(86_400));
    bed.eventually("the confirmation fails", || async {
        bed.advance(Duration::from_secs(30)).await;
        let log = bed.compute.actions(&bed.context(), Id::Number(1)).await.unwrap();
        log.iter().any(|entry| entry.action == "confirmResize" && entry.message.is_some())
    })
    .await;
    assert!(bed.hosts[0].spec(server.id).is_some(), "the original is kept");
    bed.hosts[1].reconnect();
    bed.until(1, "VERIFY_RESIZE").await;
    // The host of the original may be unreachable.
    bed.hosts[0].disconnect();
    bed.clock.advance(Duration::from_secs(86_400));
    bed.until(1, "ACTIVE").await;
    assert_eq!(reserved(&bed).await, (1024, 512));
    bed.hosts[0].reconnect();
    wait_until_only_on(&bed, 1).await;
    delete_all(&bed).await;
}

/// Reports every server as existing.
struct AllServersExist;

#[async_trait::async_trait]
impl networks::Servers for AllServersExist {
    async fn existing(
        &self,
        ids: &[uuid::Uuid],
    ) -> Result<std::collections::HashSet<uuid::Uuid>, database::Error> {
        Ok(ids.iter().copied().collect())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_transfer_is_retried_and_a_resize_whose_machine_does_not_start_is_undone() {
    let bed = TestBed::with_full_host().await;
    let server = bed.server(1).await;
    let broken = |operation| {
        Fault::Before(hypervisor::Error::Failed { operation, reason: "the cable is broken".into() })
    };
    bed.fail_on(1, "receive_disk", 1, broken("receive_disk"));
    act(&bed, RESIZE).await;
    bed.eventually("the transfer breaks", || async { bed.calls_on(1, "receive_disk") == 1 }).await;
    // The retry is due a second later. Do not advance the clock further: the job's deadline must not pass.
    bed.eventually("the resize continues", || async {
        if bed.calls_on(1, "receive_disk") == 1 {
            bed.advance(Duration::from_millis(10)).await;
        }
        bed.status(1).await == "VERIFY_RESIZE"
    })
    .await;
    assert_eq!((bed.calls_on(0, "take_snapshot"), bed.calls_on(1, "receive_disk")), (2, 2));
    act(&bed, REVERT).await;
    bed.until(1, "ACTIVE").await;
    wait_until_only_on(&bed, 0).await;

    for operation in ["start", "define"] {
        let boots = bed.hosts[0].boots(server.id);
        bed.fail_on(1, operation, bed.calls_on(1, operation) + 1, broken(operation));
        act(&bed, RESIZE).await;
        bed.until(1, "ACTIVE").await;
        wait_until_only_on(&bed, 0).await;
        assert_eq!(bed.hosts[0].boots(server.id), boots + 1);
        assert_eq!((reserved(&bed).await, bed.server(1).await.flavor.number), ((1280, 0), 1));
        let fault = bed.server(1).await.fault;
        let log = bed.compute.actions(&bed.context(), Id::Number(1)).await.unwrap();
        assert!(log[0].message.as_deref().unwrap().contains("the cable is broken"), "{:?}", log[0]);
        assert!(fault.is_some_and(|fault| fault.message.contains("the cable is broken")));
    }
    // If starting the original fails too, it is started later, with its addresses; only then the other host is cleaned up.
    let assert_restored = async || {
        bed.eventually("the original is started again", || async {
            let log = bed.compute.actions(&bed.context(), Id::Number(1)).await.unwrap();
            log[0].action == "reboot" && log[0].finished.is_some()
        })
        .await;
        bed.until(1, "ACTIVE").await;
        wait_until_only_on(&bed, 0).await;
        assert_eq!(bed.hosts[0].spec(server.id).unwrap().nics, networks::machine_nics(&server.interfaces));
    };
    bed.fail_on(1, "start", bed.calls_on(1, "start") + 1, broken("start"));
    bed.fail_on(0, "define", bed.calls_on(0, "define") + 2, broken("define"));
    act(&bed, RESIZE).await;
    assert_restored().await;
    resize(&bed).await;
    bed.fail_on(0, "start", bed.calls_on(0, "start") + 1, broken("start"));
    act(&bed, REVERT).await;
    assert_restored().await;
    assert_eq!((reserved(&bed).await, bed.server(1).await.flavor.number), ((1280, 0), 1));
    delete_all(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_server_at_any_step_of_a_resize_leaves_nothing_on_either_host() {
    let mut steps = 0;
    while steps < STEPS_MAX {
        let bed = TestBed::with_full_host().await;
        bed.steps.hold();
        act(&bed, RESIZE).await;
        let mut reached = true;
        for _ in 0..steps {
            tokio::select! {
                step = bed.steps.next() => step.release(),
                () = bed.until(1, "VERIFY_RESIZE") => reached = false,
            }
        }
        assert_eq!(bed.delete("/servers/1").await.status, 202);
        bed.steps.free();
        bed.until(1, "gone").await;
        assert_eq!(bed.delete("/servers/2").await.status, 202);
        bed.until(2, "gone").await;
        bed.assert_clean().await;
        if !reached {
            break;
        }
        steps += 1;
    }
    assert!((8..STEPS_MAX).contains(&steps), "{steps}");
}

/// When a host becomes unreachable, and for how long.
#[derive(Clone, Copy, Debug)]
struct Outage {
    order: &'static str,
    step: usize,
    host: usize,
    is_long: bool,
}

/// Runs an action with a host that becomes unreachable before a step, and checks that the server runs once the host
/// is back, in its old or new size. Returns `false` if the action has fewer steps.
async fn disconnect_at(outage: Outage) -> bool {
    let order = outage.order;
    let bed = TestBed::with_full_host().await;
    let machine = bed.uuid(1).await;
    if order != RESIZE {
        resize(&bed).await;
    }
    bed.steps.hold();
    act(&bed, order).await;
    for _ in 0..outage.step {
        tokio::select! {
            step = bed.steps.next() => step.release(),
            () = async {
                while bed.server(1).await.state.task.is_some() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            } => return false,
        }
        bed.assert_runs_once(machine).await;
    }
    bed.hosts[outage.host].disconnect();
    bed.steps.free();
    if outage.is_long {
        bed.eventually(&format!("{outage:?}: the task ends"), || async {
            bed.advance(Duration::from_secs(60)).await;
            bed.assert_runs_once(machine).await;
            bed.server(1).await.state.task.is_none()
        })
        .await;
    }
    bed.assert_runs_once(machine).await;
    bed.hosts[outage.host].reconnect();
    bed.eventually(&format!("{outage:?}: the server runs"), || async {
        bed.advance(Duration::from_secs(1)).await;
        bed.assert_runs_once(machine).await;
        let (server, status) = (bed.server(1).await, bed.status(1).await);
        if status == "ERROR" && order == REVERT {
            // The revert is done but starting the machine failed: the owner starts it.
            bed.post(ACTION, r#"{"reboot": {"type": "HARD"}}"#).await;
        }
        let ended = server.state.task.is_none() && ["ACTIVE", "VERIFY_RESIZE"].contains(&status.as_str());
        ended && bed.assert_runs_once(machine).await.is_some()
    })
    .await;
    let server = bed.server(1).await;
    match server.state.vm {
        Vm::Active => {
            let here = usize::from(order == CONFIRM);
            assert_eq!(server.flavor.number, if order == CONFIRM { 2 } else { 1 }, "{outage:?}");
            wait_until_only_on(&bed, here).await;
            let log = bed.compute.actions(&bed.context(), Id::Number(1)).await.unwrap();
            let is_logged = log.iter().any(|entry| entry.action == "resize" && entry.message.is_some());
            assert!(is_logged || order != RESIZE, "{outage:?}: {log:?}");
        }
        _ => {
            assert_eq!((server.flavor.number, server.host.as_str()), (2, "simulated-2"), "{outage:?}");
            assert_eq!(bed.assert_runs_once(machine).await, Some(1), "{outage:?}");
            assert_eq!(power(&bed, 0, &server).await, Power::ShutOff, "{outage:?}");
            // It can still be reverted.
            act(&bed, REVERT).await;
            bed.until(1, "ACTIVE").await;
            wait_until_only_on(&bed, 0).await;
        }
    }
    delete_all(&bed).await;
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_becomes_unreachable_at_any_step_leaves_one_running_server() {
    let mut table = Vec::new();
    for (name, order) in [("resize", RESIZE), ("revert", REVERT), ("confirm", CONFIRM)] {
        for host in [0, 1] {
            for is_long in [false, true] {
                let mut step = 0;
                while step < STEPS_MAX && disconnect_at(Outage { order, step, host, is_long }).await {
                    step += 1;
                }
                table.push((name, host, is_long, step));
            }
        }
    }
    println!("operation, unreachable host, long outage, steps\n{table:?}");
    assert!(table.iter().all(|row| row.0 == "confirm" || (2..STEPS_MAX).contains(&row.3)), "{table:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_free_disk_space_the_guest_is_not_shut_down() {
    let bed = TestBed::with_full_host().await;
    let server = bed.server(1).await;
    // Let the second host have the image too.
    bed.compute.drain("simulated-1", true).await.unwrap();
    bed.active("third", 1).await;
    bed.compute.drain("simulated-1", false).await.unwrap();
    for (failed, full) in [0, 1].into_iter().enumerate() {
        let mut ballast = bed.hosts[0].spec(server.id).unwrap();
        ballast.id = uuid::Uuid::from_u128(7);
        ballast.disk_bytes = bed.hosts[full].capacity().await.unwrap().disk_free_bytes - (1 << 30);
        bed.hosts[full].ensure_disk(&ballast).await.unwrap();
        act(&bed, RESIZE).await;
        bed.until(1, "ACTIVE").await;
        let log = bed.compute.actions(&bed.context(), Id::Number(1)).await.unwrap();
        let message = log[0].message.as_deref().unwrap_or_default();
        assert!(message.contains("the snapshot needs 10240 MiB, 1024 MiB are free"), "{:?}", log[0]);
        assert_eq!(log.iter().filter(|entry| entry.message.is_some()).count(), failed + 1);
        assert_eq!((bed.calls_on(0, "ask_to_shut_down"), bed.calls_on(0, "take_snapshot")), (0, 0));
        assert_eq!((bed.hosts[0].boots(server.id), power(&bed, 0, &server).await), (1, Power::Running));
        bed.hosts[full].delete(ballast.id).await.unwrap();
        bed.eventually("the other host is cleaned up", || async {
            bed.advance(Duration::from_millis(100)).await;
            bed.server(1).await.other.is_none()
        })
        .await;
    }
    resize(&bed).await;
}

/// Waits until an action has failed `times` times according to the action log.
async fn wait_for_failures(bed: &TestBed, action: &str, times: usize) {
    bed.eventually(&format!("{action} fails"), || async {
        bed.advance(Duration::from_secs(30)).await;
        let log = bed.compute.actions(&bed.context(), Id::Number(1)).await.unwrap();
        log.iter().filter(|entry| entry.action == action && entry.message.is_some()).count() == times
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_that_fails_because_the_new_host_is_unreachable_can_be_repeated() {
    let bed = TestBed::with_full_host().await;
    resize(&bed).await;
    let server = bed.server(1).await;
    bed.hosts[1].disconnect();
    bed.until(1, "UNKNOWN").await;
    for times in 1..=2 {
        act(&bed, REVERT).await;
        wait_for_failures(&bed, "revertResize", times).await;
        bed.until(1, "UNKNOWN").await;
        let after = bed.server(1).await;
        assert_eq!((after.state.vm, after.state.task), (Vm::Resized, None));
        assert!(after.resize.is_some() && after.other.is_some_and(|other| other.host == "simulated-1"));
        assert!(after.fault.is_some_and(|fault| fault.message.contains("not finished within")));
    }
    // Actions that would lose the original are rejected until the resize is confirmed or reverted.
    for body in [r#"{"rebuild": {}}"#, r#"{"reboot": {"type": "HARD"}}"#] {
        let answer = bed.post(ACTION, body).await;
        assert_eq!(answer.status, 409, "{body}: {}", answer.body);
    }
    assert_eq!((power(&bed, 0, &server).await, reserved(&bed).await), (Power::ShutOff, (1280, 512)));
    bed.hosts[1].reconnect();
    bed.until(1, "VERIFY_RESIZE").await;
    assert_eq!(bed.assert_runs_once(server.id).await, Some(1));
    act(&bed, REVERT).await;
    bed.until(1, "ACTIVE").await;
    wait_until_only_on(&bed, 0).await;

    // The automatic confirmation still happens.
    resize(&bed).await;
    bed.hosts[1].disconnect();
    bed.until(1, "UNKNOWN").await;
    act(&bed, REVERT).await;
    wait_for_failures(&bed, "revertResize", 3).await;
    bed.hosts[1].reconnect();
    bed.until(1, "VERIFY_RESIZE").await;
    bed.clock.advance(Duration::from_secs(86_400));
    bed.until(1, "ACTIVE").await;
    wait_until_only_on(&bed, 1).await;
    delete_all(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_removes_what_is_reachable_and_waits_for_the_rest() {
    for unreachable in [0, 1] {
        let bed = TestBed::with_full_host().await;
        resize(&bed).await;
        let server = bed.server(1).await;
        bed.hosts[unreachable].disconnect();
        bed.eventually("the outage is known", || async {
            !bed.compute.hosts().await.unwrap()[unreachable].up
        })
        .await;
        assert_eq!(bed.delete("/servers/1").await.status, 202);
        bed.eventually(&format!("host {unreachable} is unreachable and the other is cleaned up"), || async {
            bed.hosts[1 - unreachable].spec(server.id).is_none()
                && reserved(&bed).await == if unreachable == 0 { (1280, 0) } else { (1024, 512) }
        })
        .await;
        assert!(bed.hosts[unreachable].all_machines().iter().any(|(_, spec)| spec.id == server.id));
        bed.hosts[unreachable].reconnect();
        wait_until_deleted(&bed, 1).await;
        assert_eq!(bed.delete("/servers/2").await.status, 202);
        wait_until_deleted(&bed, 2).await;
        bed.wait_until_cleaned().await;
        bed.assert_clean().await;
    }
}

async fn wait_until_deleted(bed: &TestBed, server: i64) {
    bed.eventually("the server is deleted", || async {
        bed.advance(Duration::from_secs(1)).await;
        bed.status(server).await == "gone"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cleanup_of_an_unreachable_host_delays_nothing_else() {
    let bed = TestBed::with_full_host().await;
    resize(&bed).await;
    bed.hosts[0].disconnect();
    bed.eventually("the outage is known", || async { !bed.compute.hosts().await.unwrap()[0].up }).await;
    // Calls to it now hang.
    for nth in 1..=3 {
        bed.fail_on(0, "state", bed.calls_on(0, "state") + nth, Fault::Hang);
    }
    act(&bed, CONFIRM).await;
    bed.until(1, "ACTIVE").await;
    for _ in 0..3 {
        bed.clock.advance(Duration::from_secs(1));
        act(&bed, r#"{"reboot": {"type": "HARD"}}"#).await;
        bed.until(1, "ACTIVE").await;
    }
    assert_eq!(bed.assert_runs_once(bed.uuid(1).await).await, Some(1));
}

on_each_engine! {
    async fn migrating_reverting_and_migrating_again_works(location: &Location) {
        let bed = TestBed::with_full_host_at(location).await;
        resize(&bed).await;
        assert_eq!(reserved(&bed).await, (1280, 512));
        act(&bed, REVERT).await;
        bed.until(1, "ACTIVE").await;
        wait_until_only_on(&bed, 0).await;
        assert_eq!(reserved(&bed).await, (1280, 0));
        bed.fail_on(1, "define", bed.calls_on(1, "define") + 1, Fault::Before(hypervisor::Error::Failed {
            operation: "define",
            reason: "broken".into(),
        }));
        act(&bed, RESIZE).await;
        bed.until(1, "ACTIVE").await;
        wait_until_only_on(&bed, 0).await;
        resize(&bed).await;
        act(&bed, CONFIRM).await;
        bed.until(1, "ACTIVE").await;
        wait_until_only_on(&bed, 1).await;
        assert_eq!(reserved(&bed).await, (1024, 512));
        // Only the new size counts against the account's limit.
        assert_eq!(bed.post("/servers", r#"{"server": {"name": "x", "imageId": 1, "flavorId": 1}}"#).await.status, 202);
        bed.until(3, "ACTIVE").await;
        assert_eq!(bed.delete("/servers/3").await.status, 202);
        bed.until(3, "gone").await;
        delete_all(&bed).await;
    }
}
