//! Random operations against the model: what the state machine admits is accepted, what it refuses is refused, a host
//! may fail at any time, and nothing is ever left in between.

use compute::model::{Action, Reboot, State, Vm};
use hypervisor::faulty::Fault;

use crate::bed::Bed;

/// A small generator whose walks can be repeated.
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

async fn idle(bed: &Bed, server: i64) -> State {
    bed.eventually("nothing is under way", || async {
        bed.pass(std::time::Duration::from_secs(1)).await;
        bed.server(server).await.state.task.is_none()
    })
    .await;
    bed.server(server).await.state
}

/// The state of a server to which nothing is done, and whether that stays so: what a resize to another host left half
/// undone is cleared up by a job of the cloud's own, which may order a reboot or a revert.
async fn left_alone(bed: &Bed, server: i64, machine: uuid::Uuid) -> (State, bool) {
    loop {
        idle(bed, server).await;
        let jobs = bed.jobs_of(machine).await;
        let state = bed.server(server).await.state;
        if state.task.is_none() {
            // A confirmation waits for a day that a walk does not last.
            return (state, jobs.iter().all(|kind| kind == "autoConfirm"));
        }
    }
}

async fn send(bed: &Bed, server: i64, operation: usize, flavor: i64) -> bool {
    let (method, path, body, _) = OPERATIONS[operation];
    let id = compute::model::Id::Number(server);
    let answer = match (method, path) {
        (_, "suspend") => return bed.compute.suspend(id).await.is_ok(),
        (_, "resume") => return bed.compute.resume(id).await.is_ok(),
        (_, "/images") => {
            let body = format!(r#"{{"image": {{"serverId": {server}, "name": "walk"}}}}"#);
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

/// Memory booked on all hosts.
async fn booked(bed: &Bed) -> i64 {
    bed.compute.hosts().await.unwrap().iter().map(|host| host.used_memory_mib).sum()
}

async fn walk(seed: u64, bed: &Bed, server: i64) -> (usize, usize) {
    let mut random = Random(seed);
    let machine = bed.uuid(server).await;
    let neighbours = booked(bed).await - i64::from(bed.server(server).await.flavor.memory_mib);
    let (mut accepted, mut refused, mut between) = (0, 0, 0);
    for step in 0..60 {
        let (before, alone) = left_alone(bed, server, machine).await;
        assert!(before.vm != Vm::Building && before.vm != Vm::Deleted, "{before:?}");
        if random.below(4) == 0 {
            let call = FAILING[random.below(FAILING.len())];
            let reason = "by chance".to_owned();
            let error = hypervisor::Error::Failed { operation: call, reason };
            let fault = if random.below(2) == 0 { Fault::Before(error) } else { Fault::After(error) };
            let host = random.below(bed.hosts.len());
            bed.fail_on(host, call, bed.calls_on(host, call) + 1, fault);
        }
        let operation = random.below(OPERATIONS.len());
        bed.runs_once(machine).await;
        let flavor = bed.server(server).await.flavor.number % 3 + 1;
        let admitted = before.admit(OPERATIONS[operation].3).is_ok();
        let done = send(bed, server, operation, flavor).await;
        if !alone {
            between += 1;
        }
        assert!(
            done == admitted || !alone,
            "seed {seed}, step {step}: {before:?}, {:?}",
            OPERATIONS[operation]
        );
        if done { accepted += 1 } else { refused += 1 }
    }
    // Nearly every step is held against the model.
    assert!(between < 20 && (between == 0 || bed.hosts.len() > 1), "seed {seed}: {between} were not alone");
    let end = idle(bed, server).await;
    // A day later nothing waits for a decision any more.
    bed.clock.advance(std::time::Duration::from_secs(86_400));
    let end = if end.vm == Vm::Resized {
        bed.eventually("a resize is decided", || async {
            // A confirmation that failed is tried again a day later; while a job runs, its deadline must not pass.
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
        bed.eventually("nothing is booked twice", || async { bed.server(server).await.other.is_none() })
            .await;
    }
    let booked = booked(bed).await - neighbours;
    let found = bed.server(server).await;
    if end.vm != Vm::Error {
        assert_eq!(booked, i64::from(found.flavor.memory_mib), "seed {seed}: {end:?}");
    }
    for server in [1, 2] {
        if bed.delete(&format!("/servers/{server}")).await.status == 404 {
            continue;
        }
        bed.eventually("it is gone", || async {
            bed.pass(std::time::Duration::from_secs(1)).await;
            bed.status(server).await == "gone"
        })
        .await;
    }
    bed.is_cleared().await;
    bed.assert_clean().await;
    (accepted, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_agree_with_the_state_machine() {
    let (mut accepted, mut refused) = (0, 0);
    for seed in 1..=12 {
        let bed = Bed::unlimited().await;
        let (server, _) = bed.active("walker", 1).await;
        let (yes, no) = walk(seed, &bed, server).await;
        accepted += yes;
        refused += no;
    }
    println!("accepted {accepted}, refused {refused}");
    assert!(accepted > 100 && refused > 100, "{accepted} {refused}");
}

/// The same where the host is full: whatever fails on either, the machine runs once at most, and the room is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_between_two_hosts_leave_one_machine() {
    let (mut accepted, mut crossed) = (0, 0);
    for seed in 101..=108 {
        let bed = Bed::crowded().await;
        accepted += walk(seed, &bed, 1).await.0;
        crossed += bed.calls_on(1, "receive_disk");
    }
    println!("accepted {accepted}, ways to another host {crossed}");
    assert!(accepted > 60 && crossed > 8, "{accepted} {crossed}");
}
