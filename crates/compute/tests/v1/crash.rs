//! Crashes at every step of each operation: the next process completes it.

use database::on_each_engine;
use hypervisor::Hypervisor;
use hypervisor::faulty::Fault;
use hypervisor::simulated::Settings as HostSettings;

use compute::Settings;

use crate::bed::TestBed;

/// An operation: its request, the status after it, and an action that prepares the server for it.
struct Operation {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    body: &'static str,
    before: Option<(&'static str, &'static str)>,
    /// Whether the server's host is full, so that a resize migrates to another host.
    full: bool,
    ends: &'static str,
}

const ACTION: &str = "/servers/1/action";
const RESIZE: Option<(&str, &str)> = Some((r#"{"resize": {"flavorId": 2}}"#, "VERIFY_RESIZE"));

const fn operation(
    name: &'static str,
    method: &'static str,
    path: &'static str,
    body: &'static str,
    ends: &'static str,
) -> Operation {
    Operation { name, method, path, body, before: None, full: false, ends }
}

const OPERATIONS: [Operation; 14] = [
    operation(
        "create",
        "POST",
        "/servers",
        r#"{"server": {"name": "x", "imageId": 1, "flavorId": 1, "personality": [{"path": "/a", "contents": "QQ=="}]}}"#,
        "ACTIVE",
    ),
    operation("reboot", "POST", ACTION, r#"{"reboot": {"type": "HARD"}}"#, "ACTIVE"),
    operation("password", "PUT", "/servers/1", r#"{"server": {"adminPass": "s3cret"}}"#, "ACTIVE"),
    operation("rebuild", "POST", ACTION, r#"{"rebuild": {}}"#, "ACTIVE"),
    operation("resize", "POST", ACTION, r#"{"resize": {"flavorId": 2}}"#, "VERIFY_RESIZE"),
    Operation {
        before: RESIZE,
        ..operation("confirm", "POST", ACTION, r#"{"confirmResize": null}"#, "ACTIVE")
    },
    Operation {
        before: RESIZE,
        ..operation("revert", "POST", ACTION, r#"{"revertResize": null}"#, "ACTIVE")
    },
    operation("image", "POST", "/images", r#"{"image": {"serverId": 1, "name": "i"}}"#, "ACTIVE"),
    operation("delete", "DELETE", "/servers/1", "", "gone"),
    Operation { before: RESIZE, ..operation("delete resized", "DELETE", "/servers/1", "", "gone") },
    Operation {
        full: true,
        ..operation("migrate", "POST", ACTION, r#"{"resize": {"flavorId": 2}}"#, "VERIFY_RESIZE")
    },
    Operation {
        before: RESIZE,
        full: true,
        ..operation("confirm migrated", "POST", ACTION, r#"{"confirmResize": null}"#, "ACTIVE")
    },
    Operation {
        before: RESIZE,
        full: true,
        ..operation("revert migrated", "POST", ACTION, r#"{"revertResize": null}"#, "ACTIVE")
    },
    Operation {
        before: RESIZE,
        full: true,
        ..operation("delete migrated", "DELETE", "/servers/1", "", "gone")
    },
];

/// Upper bound of the number of steps of an operation.
const STEPS_MAX: usize = 20;

fn busy(bed: &TestBed) -> impl Future<Output = bool> + use<> {
    let (compute, context) = (bed.compute.clone(), bed.context());
    async move {
        let found = compute.get(&context, compute::model::Id::Number(1)).await;
        found.is_ok_and(|server| server.state.task.is_some())
    }
}

/// Returns a test bed in which `operation` is allowed.
async fn prepared(operation: &Operation) -> TestBed {
    let bed = if operation.full { TestBed::with_full_host().await } else { TestBed::unlimited().await };
    if operation.name != "create" && !operation.full {
        bed.active("x", 1).await;
    }
    if let Some((body, status)) = operation.before {
        assert!(bed.post(ACTION, body).await.status.is_success());
        bed.until(1, status).await;
    }
    bed
}

/// Deletes the server that fills up the first host.
async fn delete_neighbour(bed: &TestBed, operation: &Operation) {
    if operation.full {
        assert_eq!(bed.delete("/servers/2").await.status, 202);
        bed.until(2, "gone").await;
        bed.wait_until_cleaned().await;
    }
}

async fn send(bed: &TestBed, operation: &Operation) {
    let headers = [("content-type", "application/json")];
    let answer = bed.call(operation.method, operation.path, &headers, operation.body).await;
    assert!(answer.status.is_success(), "{}: {}", operation.name, answer.body);
}

/// Runs `operation` up to its `step`th change of a host and crashes there. Returns `false` if it has fewer changes.
async fn crash_at(operation: &Operation, step: usize) -> bool {
    let mut bed = prepared(operation).await;
    let machine = if operation.full { Some(bed.uuid(1).await) } else { None };
    bed.steps.hold();
    send(&bed, operation).await;
    for _ in 0..step {
        if let Some(machine) = machine {
            bed.assert_runs_once(machine).await;
        }
        let next = tokio::select! {
            next = bed.steps.next() => Some(next),
            () = async {
                while busy(&bed).await {
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
            } => None,
        };
        match next {
            Some(next) => next.release(),
            None => return false,
        }
    }
    bed.crash_and_reopen().await;
    bed.steps.free();
    bed.until(1, operation.ends).await;
    if operation.name == "image" {
        bed.eventually("the image is ACTIVE", || async {
            bed.get("/images/2").await.json()["image"]["status"] == "ACTIVE"
        })
        .await;
    }
    // The server works as before and can be deleted completely.
    bed.eventually("the server has no task", || async { !busy(&bed).await }).await;
    if operation.ends != "gone" {
        if operation.name == "create" {
            let server = bed.server(1).await;
            let drive = bed.hosts[0].config_drive(server.id).unwrap();
            assert!(drive.iter().any(|(path, bytes)| path == "openstack/content/0000" && bytes == b"A"));
        }
        assert_eq!(bed.delete("/servers/1").await.status, 202);
        bed.until(1, "gone").await;
    }
    delete_neighbour(&bed, operation).await;
    bed.assert_clean().await;
    assert_eq!(bed.get("/images").await.json()["images"].as_array().unwrap().len(), 1);
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_survives_a_crash_at_every_step() {
    let mut table = Vec::new();
    for operation in &OPERATIONS {
        let mut steps = 0;
        while steps < STEPS_MAX && crash_at(operation, steps).await {
            steps += 1;
        }
        assert!((1..STEPS_MAX).contains(&steps), "{} has {steps} steps", operation.name);
        table.push((operation.name, steps));
    }
    println!("operation: steps crashed at\n{table:#?}");
    let total: usize = table.iter().map(|(_, steps)| steps).sum();
    assert!(total >= 40, "{total}");
}

/// The calls of hosts that the operations make.
const CALLS: [&str; 18] = [
    "ensure_network",
    "upload_image",
    "ensure_disk",
    "replace_disk",
    "ensure_config_drive",
    "define",
    "start",
    "stop",
    "ask_to_shut_down",
    "reboot",
    "begin_resize",
    "revert_resize",
    "confirm_resize",
    "take_snapshot",
    "open_snapshot",
    "receive_disk",
    "drop_snapshot",
    "delete",
];

/// Runs `operation` while the `nth` call of `call` on a host fails, and then deletes the server.
async fn fail_at(operation: &Operation, host: usize, call: &'static str, nth: u32, done: bool) {
    let bed = prepared(operation).await;
    let error = hypervisor::Error::Failed { operation: call, reason: "broken".into() };
    let before = bed.calls_on(host, call);
    bed.fail_on(host, call, before + nth, if done { Fault::After(error) } else { Fault::Before(error) });
    send(&bed, operation).await;
    let what = format!("{}: {call} {nth} of host {host}", operation.name);
    bed.eventually(&format!("{what}: the server has no task"), || async {
        // A deletion is retried until it succeeds.
        bed.advance(std::time::Duration::from_secs(1)).await;
        !busy(&bed).await
    })
    .await;
    if operation.ends != "gone" || !operation.full {
        // Cleanup jobs run some time after the deletion.
        bed.eventually(&format!("{what} is reached"), || async { bed.calls_on(host, call) >= before + nth })
            .await;
    }
    // Cleanup jobs complete what a failed operation left undone.
    bed.eventually(&format!("{what}: the server has a final status"), || async {
        bed.advance(std::time::Duration::from_secs(1)).await;
        ["ACTIVE", "ERROR", "VERIFY_RESIZE", "gone"].contains(&bed.status(1).await.as_str())
    })
    .await;
    let status = bed.status(1).await;
    if operation.full && status != "gone" {
        bed.assert_runs_once(bed.uuid(1).await).await;
    }
    if status != "gone" {
        assert_eq!(bed.delete("/servers/1").await.status, 202, "{what}");
        bed.eventually(&format!("{what}: the server is deleted"), || async {
            bed.advance(std::time::Duration::from_secs(1)).await;
            bed.status(1).await == "gone"
        })
        .await;
    }
    delete_neighbour(&bed, operation).await;
    bed.assert_clean().await;
    assert_eq!(bed.get("/images").await.json()["images"].as_array().unwrap().len(), 1, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_survives_the_failure_of_every_call() {
    let mut failed = 0;
    for operation in &OPERATIONS {
        let bed = prepared(operation).await;
        let hosts = 0..bed.hosts.len();
        let calls: Vec<_> = hosts.flat_map(|host| CALLS.map(|call| (host, call))).collect();
        let before: Vec<_> = calls.iter().map(|(host, call)| bed.calls_on(*host, call)).collect();
        send(&bed, operation).await;
        bed.eventually("the operation is done", || async { !busy(&bed).await }).await;
        for ((host, call), before) in calls.into_iter().zip(before) {
            for nth in 1..=bed.calls_on(host, call) - before {
                for done in [false, true] {
                    fail_at(operation, host, call, nth, done).await;
                    failed += 1;
                }
            }
        }
    }
    println!("calls failed: {failed}");
    assert!(failed >= 50, "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_crashed_between_networks_and_compute_leaves_no_addresses() {
    let mut bed =
        TestBed::with(HostSettings::default(), Settings { rate_limits: false, ..Settings::default() }).await;
    let orphan = uuid::Uuid::new_v4();
    bed.networks().allocate(orphan, networks::PublicAddress::Own).await.unwrap();
    let (_, machine) = bed.active("x", 1).await;
    bed.clock.advance(std::time::Duration::from_secs(600));
    bed.crash_and_reopen().await;
    bed.eventually("the orphan's ports are free", || async {
        bed.networks().ports(orphan).await.unwrap().is_empty()
    })
    .await;
    assert_eq!(bed.networks().ports(machine).await.unwrap().len(), 2);
}

on_each_engine! {
    async fn the_lifecycle_of_servers_works_on_each_engine(location: &Location) {
        let settings = Settings { rate_limits: false, ..Settings::default() };
        let bed = TestBed::at(location, HostSettings { hosts: 2, ..HostSettings::default() }, settings).await;
        let (server, machine) = bed.active("web", 1).await;
        let action = format!("/servers/{server}/action");
        for (body, status) in [
            (r#"{"reboot": {"type": "SOFT"}}"#, "ACTIVE"),
            (r#"{"rebuild": {}}"#, "ACTIVE"),
            (r#"{"resize": {"flavorId": 2}}"#, "VERIFY_RESIZE"),
            (r#"{"revertResize": null}"#, "ACTIVE"),
            (r#"{"resize": {"flavorId": 3}}"#, "VERIFY_RESIZE"),
            (r#"{"confirmResize": null}"#, "ACTIVE"),
        ] {
            let answer = bed.post(&action, body).await;
            assert!(answer.status.is_success(), "{body}: {}", answer.body);
            bed.until(server, status).await;
        }
        assert_eq!(bed.host_of(machine).spec(machine).unwrap().memory_mib, 1024);
        let image = format!(r#"{{"image": {{"serverId": {server}, "name": "gold"}}}}"#);
        assert_eq!(bed.post("/images", &image).await.status, 202);
        bed.eventually("the image is ACTIVE", || async {
            bed.get("/images/2").await.json()["image"]["status"] == "ACTIVE"
        })
        .await;
        let group = format!(r#"{{"sharedIpGroup": {{"name": "g", "server": {server}}}}}"#);
        assert_eq!(bed.post("/shared_ip_groups", &group).await.status, 201);
        // Many concurrent creates.
        let launch = r#"{"server": {"name": "many", "imageId": 1, "flavorId": 1, "sharedIpGroupId": 1}}"#;
        for answer in bed.all_at_once(launch, 20).await {
            assert_eq!(answer.status, 202, "{}", answer.body);
        }
        for number in 2..=21 {
            bed.until(number, "ACTIVE").await;
        }
        let list = bed.get("/servers/detail").await.json();
        let mut addresses: Vec<String> = list["servers"].as_array().unwrap().iter()
            .map(|server| server["addresses"]["public"][0].as_str().unwrap().to_owned()).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 21);
        let hosts = bed.compute.hosts().await.unwrap();
        assert_eq!(hosts.iter().map(|host| host.used_memory_mib).sum::<i64>(), 1024 + 20 * 256);
        for number in 1..=21 {
            assert_eq!(bed.delete(&format!("/servers/{number}")).await.status, 202);
        }
        for number in 1..=21 {
            bed.until(number, "gone").await;
        }
        bed.assert_clean().await;
        assert!(bed.hosts[0].images().await.unwrap().len() <= 1);
    }
}
