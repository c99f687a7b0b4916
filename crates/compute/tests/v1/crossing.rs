//! Resizes to another host, since the server's own is full: what is seen, what is kept, what is booked, and what becomes of
//! it when hosts stay away.

use std::time::Duration;

use compute::model::{Id, Server, Vm};
use database::on_each_engine;
use hypervisor::faulty::Fault;
use hypervisor::{Hypervisor, Power};

use crate::bed::Bed;

const ACTION: &str = "/servers/1/action";
const RESIZE: &str = r#"{"resize": {"flavorId": 2}}"#;
const CONFIRM: &str = r#"{"confirmResize": null}"#;
const REVERT: &str = r#"{"revertResize": null}"#;
/// More steps than a resize has.
const STEPS_MAX: usize = 30;

async fn act(bed: &Bed, body: &str) {
    bed.order(ACTION, body).await;
}

async fn crossed(bed: &Bed) {
    act(bed, RESIZE).await;
    bed.until(1, "VERIFY_RESIZE").await;
}

/// Memory booked on the first and the second host.
async fn booked(bed: &Bed) -> (i64, i64) {
    let hosts = bed.compute.hosts().await.unwrap();
    (hosts[0].used_memory_mib, hosts[1].used_memory_mib)
}

async fn host_id(bed: &Bed) -> String {
    bed.get("/servers/1").await.json()["server"]["hostId"].as_str().unwrap().to_owned()
}

async fn power(bed: &Bed, host: usize, server: &Server) -> Power {
    bed.hosts[host].state(server.id).await.unwrap().power
}

/// Only the host of this number has anything of the server, or its snapshot.
async fn only_on(bed: &Bed, host: usize) {
    let machine = bed.uuid(1).await;
    bed.eventually("the other host is cleared", || async {
        bed.pass(Duration::from_millis(100)).await;
        let other = &bed.hosts[1 - host];
        other.spec(machine).is_none()
            && other.snapshots().await.is_ok_and(|left| left.is_empty())
            && bed.hosts[host].snapshots().await.is_ok_and(|left| left.is_empty())
    })
    .await;
    assert_eq!(bed.runs_once(machine).await, Some(host));
    assert!(bed.server(1).await.other.is_none());
}

async fn leave(bed: &Bed) {
    for server in [1, 2] {
        assert_eq!(bed.delete(&format!("/servers/{server}")).await.status, 202);
        bed.eventually("it is gone", || async {
            bed.pass(Duration::from_secs(1)).await;
            bed.status(server).await == "gone"
        })
        .await;
    }
    bed.is_cleared().await;
    bed.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_status_is_seen_and_all_but_the_host_stays() {
    let bed = Bed::crowded().await;
    let (before, first) = (bed.server(1).await, host_id(&bed).await);
    assert_eq!(booked(&bed).await, (1280, 0));
    bed.steps.hold();
    act(&bed, RESIZE).await;
    assert!(["QUEUE_RESIZE", "PREP_RESIZE"].contains(&bed.status(1).await.as_str()));
    bed.until(1, "PREP_RESIZE").await;
    assert_eq!(booked(&bed).await, (1280, 512));
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
        bed.runs_once(before.id).await;
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
    only_on(&bed, 0).await;
    let back = bed.hosts[0].spec(before.id).unwrap();
    assert_eq!((back.memory_mib, back.nics.clone()), (256, networks::machine_nics(&before.interfaces)));
    assert_eq!((host_id(&bed).await, booked(&bed).await), (first.clone(), (1280, 0)));
    assert_eq!(bed.server(1).await.flavor.number, 1);

    crossed(&bed).await;
    act(&bed, CONFIRM).await;
    bed.until(1, "ACTIVE").await;
    only_on(&bed, 1).await;
    assert_eq!((booked(&bed).await, bed.server(1).await.flavor.number), ((1024, 512), 2));
    // On its new host it is a server like any other, and stays where there is room.
    act(&bed, r#"{"resize": {"flavorId": 3}}"#).await;
    bed.until(1, "VERIFY_RESIZE").await;
    act(&bed, CONFIRM).await;
    bed.until(1, "ACTIVE").await;
    act(&bed, r#"{"rebuild": {}}"#).await;
    bed.until(1, "ACTIVE").await;
    assert_eq!((booked(&bed).await, bed.server(1).await.host.as_str()), ((1024, 1024), "simulated-2"));
    leave(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_anywhere_nothing_changes() {
    let bed = Bed::crowded().await;
    let before = bed.server(1).await;
    for closed in ["too large", "drained", "lost"] {
        match closed {
            "drained" => bed.compute.drain("simulated-2", true).await.unwrap(),
            "lost" => {
                bed.compute.drain("simulated-2", false).await.unwrap();
                bed.hosts[1].disconnect();
                bed.eventually("it is known", || async { !bed.compute.hosts().await.unwrap()[1].up }).await;
            }
            _ => {}
        }
        let flavor = if closed == "too large" { 4 } else { 2 };
        let answer = bed.post(ACTION, &format!(r#"{{"resize": {{"flavorId": {flavor}}}}}"#)).await;
        assert_eq!(answer.status, 503, "{closed}: {}", answer.body);
        let message = answer.json()["serverCapacityUnavailable"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("no host has"), "{message}");
        let after = bed.server(1).await;
        assert_eq!(
            (after.state, after.updated, after.other),
            (before.state, before.updated, None),
            "{closed}"
        );
        assert_eq!(booked(&bed).await, (1280, 0));
    }
    bed.hosts[1].reconnect();
    bed.eventually("it is known", || async { bed.compute.hosts().await.unwrap()[1].up }).await;
    crossed(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_original_is_kept_and_kept_off_until_the_day_is_over() {
    let mut bed = Bed::crowded().await;
    crossed(&bed).await;
    let server = bed.server(1).await;
    // Neither a look at all machines nor a new start takes it for a leftover.
    for _ in 0..2 {
        let looks = bed.calls_on(0, "images");
        bed.crash_and_reopen().await;
        bed.eventually("the host was looked at", || async { bed.calls_on(0, "images") > looks }).await;
        assert_eq!(power(&bed, 0, &server).await, Power::ShutOff);
        assert_eq!((bed.status(1).await.as_str(), booked(&bed).await), ("VERIFY_RESIZE", (1280, 512)));
    }
    // Whoever starts it by hand is overruled.
    bed.hosts[0].start(server.id).await.unwrap();
    bed.eventually("it is off again", || async { power(&bed, 0, &server).await == Power::ShutOff }).await;
    assert_eq!(power(&bed, 1, &server).await, Power::Running);
    // Its addresses are the new machine's, and nobody's to take.
    bed.networks().sweep(&Nobody, Duration::ZERO).await.unwrap();
    assert_eq!(bed.networks().ports(server.id).await.unwrap(), server.interfaces);

    // A confirmation needs to see what is kept for good.
    bed.hosts[1].disconnect();
    bed.until(1, "UNKNOWN").await;
    bed.clock.advance(Duration::from_secs(86_400));
    bed.eventually("the confirmation is given up", || async {
        bed.pass(Duration::from_secs(30)).await;
        let log = bed.compute.actions(&bed.context(), Id::Number(1)).await.unwrap();
        log.iter().any(|entry| entry.action == "confirmResize" && entry.message.is_some())
    })
    .await;
    assert!(bed.hosts[0].spec(server.id).is_some(), "the original is kept");
    bed.hosts[1].reconnect();
    bed.until(1, "VERIFY_RESIZE").await;
    // The first host need not be there.
    bed.hosts[0].disconnect();
    bed.clock.advance(Duration::from_secs(86_400));
    bed.until(1, "ACTIVE").await;
    assert_eq!(booked(&bed).await, (1024, 512));
    bed.hosts[0].reconnect();
    only_on(&bed, 1).await;
    leave(&bed).await;
}

/// Knows every server.
struct Nobody;

#[async_trait::async_trait]
impl networks::Servers for Nobody {
    async fn existing(
        &self,
        ids: &[uuid::Uuid],
    ) -> Result<std::collections::HashSet<uuid::Uuid>, database::Error> {
        Ok(ids.iter().copied().collect())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_breaks_is_begun_again_and_a_machine_that_does_not_start_is_undone() {
    let bed = Bed::crowded().await;
    let server = bed.server(1).await;
    let broken = |operation| {
        Fault::Before(hypervisor::Error::Failed { operation, reason: "the cable is broken".into() })
    };
    bed.fail_on(1, "receive_disk", 1, broken("receive_disk"));
    act(&bed, RESIZE).await;
    bed.eventually("it breaks", || async { bed.calls_on(1, "receive_disk") == 1 }).await;
    // The next attempt comes a second later; a clock that runs on would take the job from whoever is at it.
    bed.eventually("it goes on", || async {
        if bed.calls_on(1, "receive_disk") == 1 {
            bed.pass(Duration::from_millis(10)).await;
        }
        bed.status(1).await == "VERIFY_RESIZE"
    })
    .await;
    assert_eq!((bed.calls_on(0, "take_snapshot"), bed.calls_on(1, "receive_disk")), (2, 2));
    act(&bed, REVERT).await;
    bed.until(1, "ACTIVE").await;
    only_on(&bed, 0).await;

    for operation in ["start", "define"] {
        let boots = bed.hosts[0].boots(server.id);
        bed.fail_on(1, operation, bed.calls_on(1, operation) + 1, broken(operation));
        act(&bed, RESIZE).await;
        bed.until(1, "ACTIVE").await;
        only_on(&bed, 0).await;
        assert_eq!(bed.hosts[0].boots(server.id), boots + 1);
        assert_eq!((booked(&bed).await, bed.server(1).await.flavor.number), ((1280, 0), 1));
        let fault = bed.server(1).await.fault;
        let log = bed.compute.actions(&bed.context(), Id::Number(1)).await.unwrap();
        assert!(log[0].message.as_deref().unwrap().contains("the cable is broken"), "{:?}", log[0]);
        assert!(fault.is_some_and(|fault| fault.message.contains("the cable is broken")));
    }
    // The original is not started at once either: it is once more, with its addresses, and only then the other is cleared.
    let revived = async || {
        bed.eventually("the original is started again", || async {
            let log = bed.compute.actions(&bed.context(), Id::Number(1)).await.unwrap();
            log[0].action == "reboot" && log[0].finished.is_some()
        })
        .await;
        bed.until(1, "ACTIVE").await;
        only_on(&bed, 0).await;
        assert_eq!(bed.hosts[0].spec(server.id).unwrap().nics, networks::machine_nics(&server.interfaces));
    };
    bed.fail_on(1, "start", bed.calls_on(1, "start") + 1, broken("start"));
    bed.fail_on(0, "define", bed.calls_on(0, "define") + 2, broken("define"));
    act(&bed, RESIZE).await;
    revived().await;
    crossed(&bed).await;
    bed.fail_on(0, "start", bed.calls_on(0, "start") + 1, broken("start"));
    act(&bed, REVERT).await;
    revived().await;
    assert_eq!((booked(&bed).await, bed.server(1).await.flavor.number), ((1280, 0), 1));
    leave(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_deletes_it_on_its_way_leaves_nothing_on_either_host() {
    let mut steps = 0;
    while steps < STEPS_MAX {
        let bed = Bed::crowded().await;
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

/// Where a host is lost, and for how long.
#[derive(Clone, Copy, Debug)]
struct Loss {
    order: &'static str,
    step: usize,
    host: usize,
    for_good: bool,
}

/// Resizes with a host that goes away before a step; `false` if there are not so many. When it is back, the server runs:
/// where it was, or resized.
async fn lose_at(loss: Loss) -> bool {
    let order = loss.order;
    let bed = Bed::crowded().await;
    let machine = bed.uuid(1).await;
    if order != RESIZE {
        crossed(&bed).await;
    }
    bed.steps.hold();
    act(&bed, order).await;
    for _ in 0..loss.step {
        tokio::select! {
            step = bed.steps.next() => step.release(),
            () = async {
                while bed.server(1).await.state.task.is_some() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            } => return false,
        }
        bed.runs_once(machine).await;
    }
    bed.hosts[loss.host].disconnect();
    bed.steps.free();
    if loss.for_good {
        bed.eventually(&format!("{loss:?}: it comes to an end"), || async {
            bed.pass(Duration::from_secs(60)).await;
            bed.runs_once(machine).await;
            bed.server(1).await.state.task.is_none()
        })
        .await;
    }
    bed.runs_once(machine).await;
    bed.hosts[loss.host].reconnect();
    bed.eventually(&format!("{loss:?}: it runs"), || async {
        bed.pass(Duration::from_secs(1)).await;
        bed.runs_once(machine).await;
        let (server, status) = (bed.server(1).await, bed.status(1).await);
        if status == "ERROR" && order == REVERT {
            // The revert was decided and its start failed: the owner starts what there is.
            bed.post(ACTION, r#"{"reboot": {"type": "HARD"}}"#).await;
        }
        let ended = server.state.task.is_none() && ["ACTIVE", "VERIFY_RESIZE"].contains(&status.as_str());
        ended && bed.runs_once(machine).await.is_some()
    })
    .await;
    let server = bed.server(1).await;
    match server.state.vm {
        Vm::Active => {
            let here = usize::from(order == CONFIRM);
            assert_eq!(server.flavor.number, if order == CONFIRM { 2 } else { 1 }, "{loss:?}");
            only_on(&bed, here).await;
            let log = bed.compute.actions(&bed.context(), Id::Number(1)).await.unwrap();
            let told = log.iter().any(|entry| entry.action == "resize" && entry.message.is_some());
            assert!(told || order != RESIZE, "{loss:?}: {log:?}");
        }
        _ => {
            assert_eq!((server.flavor.number, server.host.as_str()), (2, "simulated-2"), "{loss:?}");
            assert_eq!(bed.runs_once(machine).await, Some(1), "{loss:?}");
            assert_eq!(power(&bed, 0, &server).await, Power::ShutOff, "{loss:?}");
            // It may still be taken back.
            act(&bed, REVERT).await;
            bed.until(1, "ACTIVE").await;
            only_on(&bed, 0).await;
        }
    }
    leave(&bed).await;
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_goes_away_at_any_step_ends_in_one_running_server() {
    let mut table = Vec::new();
    for (name, order) in [("resize", RESIZE), ("revert", REVERT), ("confirm", CONFIRM)] {
        for host in [0, 1] {
            for for_good in [false, true] {
                let mut step = 0;
                while step < STEPS_MAX && lose_at(Loss { order, step, host, for_good }).await {
                    step += 1;
                }
                table.push((name, host, for_good, step));
            }
        }
    }
    println!("operation, host lost, for long, steps\n{table:?}");
    assert!(table.iter().all(|row| row.0 == "confirm" || (2..STEPS_MAX).contains(&row.3)), "{table:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_free_bytes_nothing_is_shut_down() {
    let bed = Bed::crowded().await;
    let server = bed.server(1).await;
    // The second host has the image, too.
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
        assert!(message.contains("its disk has 10240 MiB, 1024 are free"), "{:?}", log[0]);
        assert_eq!(log.iter().filter(|entry| entry.message.is_some()).count(), failed + 1);
        assert_eq!((bed.calls_on(0, "ask_to_shut_down"), bed.calls_on(0, "take_snapshot")), (0, 0));
        assert_eq!((bed.hosts[0].boots(server.id), power(&bed, 0, &server).await), (1, Power::Running));
        bed.hosts[full].delete(ballast.id).await.unwrap();
        bed.eventually("the other host is cleared", || async {
            bed.pass(Duration::from_millis(100)).await;
            bed.server(1).await.other.is_none()
        })
        .await;
    }
    crossed(&bed).await;
}

/// Waits for an entry of the log of actions that says why an order failed.
async fn given_up(bed: &Bed, action: &str, times: usize) {
    bed.eventually(&format!("{action} is given up"), || async {
        bed.pass(Duration::from_secs(30)).await;
        let log = bed.compute.actions(&bed.context(), Id::Number(1)).await.unwrap();
        log.iter().filter(|entry| entry.action == action && entry.message.is_some()).count() == times
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_that_the_new_host_does_not_answer_may_be_ordered_again() {
    let bed = Bed::crowded().await;
    crossed(&bed).await;
    let server = bed.server(1).await;
    bed.hosts[1].disconnect();
    bed.until(1, "UNKNOWN").await;
    for times in 1..=2 {
        act(&bed, REVERT).await;
        given_up(&bed, "revertResize", times).await;
        bed.until(1, "UNKNOWN").await;
        let after = bed.server(1).await;
        assert_eq!((after.state.vm, after.state.task), (Vm::Resized, None));
        assert!(after.resize.is_some() && after.other.is_some_and(|other| other.host == "simulated-1"));
        assert!(after.fault.is_some_and(|fault| fault.message.contains("not finished within")));
    }
    // Nothing that would cost the original is accepted until it is decided.
    for body in [r#"{"rebuild": {}}"#, r#"{"reboot": {"type": "HARD"}}"#] {
        let answer = bed.post(ACTION, body).await;
        assert_eq!(answer.status, 409, "{body}: {}", answer.body);
    }
    assert_eq!((power(&bed, 0, &server).await, booked(&bed).await), (Power::ShutOff, (1280, 512)));
    bed.hosts[1].reconnect();
    bed.until(1, "VERIFY_RESIZE").await;
    assert_eq!(bed.runs_once(server.id).await, Some(1));
    act(&bed, REVERT).await;
    bed.until(1, "ACTIVE").await;
    only_on(&bed, 0).await;

    // It is confirmed by itself all the same.
    crossed(&bed).await;
    bed.hosts[1].disconnect();
    bed.until(1, "UNKNOWN").await;
    act(&bed, REVERT).await;
    given_up(&bed, "revertResize", 3).await;
    bed.hosts[1].reconnect();
    bed.until(1, "VERIFY_RESIZE").await;
    bed.clock.advance(Duration::from_secs(86_400));
    bed.until(1, "ACTIVE").await;
    only_on(&bed, 1).await;
    leave(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_removes_what_it_reaches_and_waits_for_the_rest() {
    for lost in [0, 1] {
        let bed = Bed::crowded().await;
        crossed(&bed).await;
        let server = bed.server(1).await;
        bed.hosts[lost].disconnect();
        bed.eventually("it is known", || async { !bed.compute.hosts().await.unwrap()[lost].up }).await;
        assert_eq!(bed.delete("/servers/1").await.status, 202);
        bed.eventually(&format!("{lost} is lost, and the other is cleared"), || async {
            bed.hosts[1 - lost].spec(server.id).is_none()
                && booked(&bed).await == if lost == 0 { (1280, 0) } else { (1024, 512) }
        })
        .await;
        assert!(bed.hosts[lost].all_machines().iter().any(|(_, spec)| spec.id == server.id));
        bed.hosts[lost].reconnect();
        leave_after(&bed, 1).await;
        assert_eq!(bed.delete("/servers/2").await.status, 202);
        leave_after(&bed, 2).await;
        bed.is_cleared().await;
        bed.assert_clean().await;
    }
}

async fn leave_after(bed: &Bed, server: i64) {
    bed.eventually("it is gone", || async {
        bed.pass(Duration::from_secs(1)).await;
        bed.status(server).await == "gone"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clearing_a_lost_host_keeps_nobody_waiting() {
    let bed = Bed::crowded().await;
    crossed(&bed).await;
    bed.hosts[0].disconnect();
    bed.eventually("it is known", || async { !bed.compute.hosts().await.unwrap()[0].up }).await;
    // Whoever asks it now waits for ever.
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
    assert_eq!(bed.runs_once(bed.uuid(1).await).await, Some(1));
}

on_each_engine! {
    async fn a_way_over_and_back_and_over_is_the_same(location: &Location) {
        let bed = Bed::crowded_at(location).await;
        crossed(&bed).await;
        assert_eq!(booked(&bed).await, (1280, 512));
        act(&bed, REVERT).await;
        bed.until(1, "ACTIVE").await;
        only_on(&bed, 0).await;
        assert_eq!(booked(&bed).await, (1280, 0));
        bed.fail_on(1, "define", bed.calls_on(1, "define") + 1, Fault::Before(hypervisor::Error::Failed {
            operation: "define",
            reason: "broken".into(),
        }));
        act(&bed, RESIZE).await;
        bed.until(1, "ACTIVE").await;
        only_on(&bed, 0).await;
        crossed(&bed).await;
        act(&bed, CONFIRM).await;
        bed.until(1, "ACTIVE").await;
        only_on(&bed, 1).await;
        assert_eq!(booked(&bed).await, (1024, 512));
        // What counts for the account is the new size alone: it may use the rest.
        assert_eq!(bed.post("/servers", r#"{"server": {"name": "x", "imageId": 1, "flavorId": 1}}"#).await.status, 202);
        bed.until(3, "ACTIVE").await;
        assert_eq!(bed.delete("/servers/3").await.status, 202);
        bed.until(3, "gone").await;
        leave(&bed).await;
    }
}
