//! Random operations, compared with the state machine: an action is accepted if and only if the state machine allows
//! it. Hosts fail at random, and every task ends.

use compute::model::{Action, Reboot, State, Vm};
use hypervisor::faulty::Fault;

use crate::bed::TestBed;

/// A small random number generator with reproducible sequences.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit
    }
}

const OPERATIONS: [(&str, &str, &str, Action); 11] = [
    ("PUT", "", r#"{"server": {"name": "renamed"}}"#, Action::Rename),
    ("PUT", "", r#"{"server": {"adminPass": "s3cret"}}"#, Action::ChangePassword),
    ("POST", "/action", r#"{"reboot": {"type": "SOFT"}}"#, Action::Reboot(Reboot::Soft)),
    ("POST", "/action", r#"{"reboot": {"type": "HARD"}}"#, Action::Reboot(Reboot::Hard)),
    ("POST", "/action", r#"{"rebuild": {}}"#, Action::Rebuild),
    ("POST", "/action", "RESIZE", Action::Resize),
    ("POST", "/action", r#"{"confirmResize": null}"#, Action::ConfirmResize),
    ("POST", "/action", r#"{"revertResize": null}"#, Action::RevertResize),
    ("POST", "/images", "IMAGE", Action::CreateImage),
    ("POST", "suspend", "", Action::Suspend),
    ("POST", "resume", "", Action::Resume),
];

const FAILING: [&str; 13] = [
    "start",
    "define",
    "stop",
    "reboot",
    "begin_resize",
    "confirm_resize",
    "revert_resize",
    "replace_disk",
    "take_snapshot",
    "receive_disk",
    "delete",
    "pause",
    "resume",
];

async fn idle(bed: &TestBed, server: i64) -> State {
    bed.eventually("the server has no task", || async {
        bed.advance(std::time::Duration::from_secs(1)).await;
        bed.server(server).await.state.task.is_none()
    })
    .await;
    bed.server(server).await.state
}

/// Waits until a server has no task. Returns its state, and whether it has no pending job either: the cleanup job of
/// a failed resize to another host may start a reboot or a revert at any time.
async fn idle_state(bed: &TestBed, server: i64, machine: uuid::Uuid) -> (State, bool) {
    loop {
        idle(bed, server).await;
        let jobs = bed.jobs_of(machine).await;
        let state = bed.server(server).await.state;
        if state.task.is_none() {
            // The automatic confirmation is due after a day, which a run does not last.
            return (state, jobs.iter().all(|kind| kind == "autoConfirm"));
        }
    }
}

async fn send(bed: &TestBed, server: i64, operation: usize, flavor: i64) -> bool {
    let (method, path, body, _) = OPERATIONS[operation];
    let id = compute::model::Id::Number(server);
    let answer = match (method, path) {
        (_, "suspend") => return bed.compute.suspend(id).await.is_ok(),
        (_, "resume") => return bed.compute.resume(id).await.is_ok(),
        (_, "/images") => {
            let body = format!(r#"{{"image": {{"serverId": {server}, "name": "random"}}}}"#);
            bed.post("/images", &body).await
        }
        ("PUT", _) => bed.put(&format!("/servers/{server}"), body).await,
        _ if body == "RESIZE" => {
            let body = format!(r#"{{"resize": {{"flavorId": {flavor}}}}}"#);
            bed.post(&format!("/servers/{server}{path}"), &body).await
        }
        _ => bed.post(&format!("/servers/{server}{path}"), body).await,
    };
    assert!(answer.status.is_success() || [403, 409].contains(&answer.status.as_u16()), "{}", answer.body);
    answer.status.is_success()
}

/// Memory reserved on all hosts.
async fn reserved_memory(bed: &TestBed) -> i64 {
    bed.compute.hosts().await.unwrap().iter().map(|host| host.used_memory_mib).sum()
}

async fn run(seed: u64, bed: &TestBed, server: i64) -> (usize, usize) {
    let mut random = Random(seed);
    let machine = bed.uuid(server).await;
    let others = reserved_memory(bed).await - i64::from(bed.server(server).await.flavor.memory_mib);
    let (mut accepted, mut rejected, mut unchecked) = (0, 0, 0);
    for step in 0..60 {
        let (before, is_idle) = idle_state(bed, server, machine).await;
        assert!(before.vm != Vm::Building && before.vm != Vm::Deleted, "{before:?}");
        if random.below(4) == 0 {
            let call = FAILING[random.below(FAILING.len())];
            let reason = "injected".to_owned();
            let error = hypervisor::Error::Failed { operation: call, reason };
            let fault = if random.below(2) == 0 { Fault::Before(error) } else { Fault::After(error) };
            let host = random.below(bed.hosts.len());
            bed.fail_on(host, call, bed.calls_on(host, call) + 1, fault);
        }
        let operation = random.below(OPERATIONS.len());
        bed.assert_runs_once(machine).await;
        let flavor = bed.server(server).await.flavor.number % 3 + 1;
        let allowed = before.admit(OPERATIONS[operation].3).is_ok();
        let done = send(bed, server, operation, flavor).await;
        if !is_idle {
            unchecked += 1;
        }
        assert!(
            done == allowed || !is_idle,
            "seed {seed}, step {step}: {before:?}, {:?}",
            OPERATIONS[operation]
        );
        if done { accepted += 1 } else { rejected += 1 }
    }
    // Most steps must be compared with the model.
    assert!(
        unchecked < 20 && (unchecked == 0 || bed.hosts.len() > 1),
        "seed {seed}: {unchecked} steps not compared"
    );
    let end = idle(bed, server).await;
    // After a day every resize is confirmed automatically.
    bed.clock.advance(std::time::Duration::from_secs(86_400));
    let end = if end.vm == Vm::Resized {
        bed.eventually("the resize is confirmed", || async {
            // A failed confirmation is retried a day later. While a job runs, its deadline must not pass.
            let waits = bed.jobs_of(machine).await == ["autoConfirm"];
            let time = if waits { 3600 } else { 1 };
            bed.clock.advance(std::time::Duration::from_secs(time));
            bed.server(server).await.state.vm != Vm::Resized
        })
        .await;
        idle(bed, server).await
    } else {
        end
    };
    if end.vm != Vm::Error {
        bed.eventually("the other host is released", || async { bed.server(server).await.other.is_none() })
            .await;
    }
    let reserved = reserved_memory(bed).await - others;
    let found = bed.server(server).await;
    if end.vm != Vm::Error {
        assert_eq!(reserved, i64::from(found.flavor.memory_mib), "seed {seed}: {end:?}");
    }
    for server in [1, 2] {
        if bed.delete(&format!("/servers/{server}")).await.status == 404 {
            continue;
        }
        bed.eventually("the server is deleted", || async {
            bed.advance(std::time::Duration::from_secs(1)).await;
            bed.status(server).await == "gone"
        })
        .await;
    }
    bed.wait_until_cleaned().await;
    bed.assert_clean().await;
    (accepted, rejected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_agree_with_the_state_machine() {
    let (mut accepted, mut rejected) = (0, 0);
    for seed in 1..=12 {
        let bed = TestBed::unlimited().await;
        let (server, _) = bed.active("random", 1).await;
        let run = run(seed, &bed, server).await;
        accepted += run.0;
        rejected += run.1;
    }
    println!("accepted {accepted}, rejected {rejected}");
    assert!(accepted > 100 && rejected > 100, "{accepted} {rejected}");
}

/// The same with a full first host: whichever host fails, the machine runs at most once, and the reservations are correct.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_between_two_hosts_leave_one_machine() {
    let (mut accepted, mut migrations) = (0, 0);
    for seed in 101..=108 {
        let bed = TestBed::with_full_host().await;
        accepted += run(seed, &bed, 1).await.0;
        migrations += bed.calls_on(1, "receive_disk");
    }
    println!("accepted {accepted}, migrations {migrations}");
    assert!(accepted > 60 && migrations > 8, "{accepted} {migrations}");
}
