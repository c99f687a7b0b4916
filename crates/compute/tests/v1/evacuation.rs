//! Evacuated hosts: their servers are deleted or rebuilt on another host, and what the hosts still have when they are
//! reinstated is removed.

use std::time::Duration;

use compute::model::Id;
use compute::{Error, Settings};
use hypervisor::Hypervisor;
use hypervisor::faulty::Fault;
use hypervisor::simulated::Settings as HostSettings;

use crate::bed::TestBed;

const ACTION: &str = "/servers/1/action";
const REVERT: &str = r#"{"revertResize": null}"#;

/// Disconnects a host and evacuates it once it is known to be unreachable.
async fn evacuate(bed: &TestBed, host: usize) {
    bed.hosts[host].disconnect();
    bed.eventually("the outage is known", || async { !bed.compute.hosts().await.unwrap()[host].up }).await;
    let name = format!("simulated-{}", host + 1);
    bed.compute.evacuate(&name, true).await.unwrap();
    let known = &bed.compute.hosts().await.unwrap()[host];
    assert!(known.evacuated && !known.up);
}

async fn reinstate(bed: &TestBed, host: usize) {
    bed.hosts[host].reconnect();
    bed.compute.reinstate(&format!("simulated-{}", host + 1)).await.unwrap();
    bed.eventually("the host is in use again", || async {
        let known = &bed.compute.hosts().await.unwrap()[host];
        known.up && !known.evacuated
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_an_evacuated_host_can_be_deleted_or_rebuilt_elsewhere() {
    let two = HostSettings { hosts: 2, ..HostSettings::default() };
    let mut bed = TestBed::with(two, Settings { rate_limits: false, ..Settings::default() }).await;
    bed.eventually("all hosts are known", || async { bed.compute.hosts().await.unwrap().len() == 2 }).await;
    bed.compute.drain("simulated-2", true).await.unwrap();
    for name in ["deleted", "rebuilt", "resized", "suspended"] {
        bed.active(name, 1).await;
    }
    bed.order("/servers/3/action", r#"{"resize": {"flavorId": 2}}"#).await;
    bed.until(3, "VERIFY_RESIZE").await;
    let suspended = Id::Number(4);
    bed.compute.suspend(suspended).await.unwrap();
    bed.until(4, "SUSPENDED").await;
    // Until a resize is confirmed or reverted, the larger size is reserved.
    bed.active("shrunk", 2).await;
    bed.order("/servers/5/action", r#"{"resize": {"flavorId": 1}}"#).await;
    bed.until(5, "VERIFY_RESIZE").await;
    bed.compute.drain("simulated-2", false).await.unwrap();
    let mut before = Vec::new();
    for number in 2..=5 {
        before.push(bed.server(number).await);
    }

    let refused = bed.compute.evacuate("simulated-1", true).await;
    assert!(
        matches!(&refused, Err(Error::Conflict(reason)) if reason.contains("is reachable")),
        "{refused:?}"
    );
    assert!(matches!(bed.compute.evacuate("simulated-9", true).await, Err(Error::NotFound("host"))));
    bed.hosts[0].disconnect();
    bed.until(2, "UNKNOWN").await;
    let deleted = bed.uuid(1).await;
    assert_eq!(bed.delete("/servers/1").await.status, 202);
    evacuate(&bed, 0).await;

    bed.eventually("the deletion is complete", || async {
        bed.advance(Duration::from_secs(30)).await;
        bed.status(1).await == "gone"
    })
    .await;
    // A job removes its machine once the host is reinstated.
    let jobs = bed.jobs_of(deleted).await;
    assert!(jobs.first().is_some_and(|first| first == "vacate"), "{jobs:?}");
    for server in [2, 3, 5] {
        bed.until(server, "ERROR").await;
        let fault = bed.server(server).await.fault.unwrap();
        assert_eq!(fault.message, "the machine no longer exists on its host");
    }
    // A suspended server stays suspended until the operator resumes it.
    assert_eq!(bed.post("/servers/4/action", r#"{"rebuild": {}}"#).await.status, 409);
    assert_eq!(bed.status(4).await, "SUSPENDED");
    bed.compute.resume(suspended).await.unwrap();
    bed.until(4, "ERROR").await;
    // A host stays evacuated after a restart, and even if it is reachable again.
    bed.crash_and_reopen().await;
    bed.hosts[0].reconnect();
    for server in 2..=5 {
        bed.order(&format!("/servers/{server}/action"), r#"{"rebuild": {}}"#).await;
        bed.until(server, "ACTIVE").await;
    }
    for before in before {
        let after = bed.server(before.number).await;
        assert_eq!((after.host.as_str(), &after.interfaces), ("simulated-2", &before.interfaces));
        assert!(bed.hosts[0].spec(before.id).is_some() && bed.hosts[1].spec(before.id).is_some());
    }
    let (_, new) = bed.active("new", 1).await;
    assert!(bed.hosts[1].spec(new).is_some());
    let reserved = |hosts: Vec<compute::Host>| {
        hosts.iter().map(|host| (host.used_memory_mib, host.used_disk_gib)).collect::<Vec<_>>()
    };
    assert_eq!(reserved(bed.compute.hosts().await.unwrap()), [(0, 0), (4 * 256 + 512, 4 * 10 + 20)]);
    assert_eq!(bed.hosts[0].machines().await.unwrap().len(), 5, "an evacuated host must not be changed");

    reinstate(&bed, 0).await;
    bed.eventually("machines of servers on other hosts are removed", || async {
        bed.advance(Duration::from_secs(10)).await;
        bed.hosts[0].machines().await.is_ok_and(|left| left.is_empty())
    })
    .await;
    for server in 2..=6 {
        assert_eq!(bed.status(server).await, "ACTIVE");
        assert_eq!(bed.delete(&format!("/servers/{server}")).await.status, 202);
        bed.until(server, "gone").await;
    }
    bed.wait_until_cleaned().await;
    bed.assert_clean().await;
    assert!(bed.networks().ports(new).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resize_to_an_evacuated_host_can_be_reverted_and_one_from_it_cannot() {
    for evacuated in [0, 1] {
        let bed = TestBed::with_full_host().await;
        let machine = bed.uuid(1).await;
        bed.order(ACTION, r#"{"resize": {"flavorId": 2}}"#).await;
        bed.until(1, "VERIFY_RESIZE").await;
        evacuate(&bed, evacuated).await;
        // The revert continues after a temporary failure.
        let networks = bed.calls_on(0, "ensure_network");
        let late = hypervisor::Error::Timeout { operation: "ensure_network", after: Duration::from_secs(1) };
        bed.fail_on(0, "ensure_network", networks + 1, Fault::Before(late));
        bed.order(ACTION, REVERT).await;
        bed.eventually("the revert ends", || async {
            bed.advance(Duration::from_secs(1)).await;
            bed.status(1).await == if evacuated == 1 { "ACTIVE" } else { "VERIFY_RESIZE" }
        })
        .await;
        let server = bed.server(1).await;
        if evacuated == 0 {
            // The server stays on its new host.
            bed.eventually("the fault is shown", || async { bed.server(1).await.fault.is_some() }).await;
            let fault = bed.server(1).await.fault.unwrap();
            assert!(fault.message.contains("was lost with its host"), "{}", fault.message);
            bed.order(ACTION, r#"{"confirmResize": null}"#).await;
            bed.until(1, "ACTIVE").await;
        }
        let runs_on = 1 - evacuated;
        assert_eq!(server.host, format!("simulated-{}", runs_on + 1));
        assert!(bed.hosts[runs_on].spec(machine).is_some());
        bed.eventually("the other host is released", || async {
            bed.advance(Duration::from_secs(1)).await;
            bed.server(1).await.other.is_none()
        })
        .await;
        reinstate(&bed, evacuated).await;
        bed.eventually("the machine is removed from the reinstated host", || async {
            bed.advance(Duration::from_secs(10)).await;
            bed.hosts[evacuated].spec(machine).is_none()
        })
        .await;
        assert_eq!(bed.status(1).await, "ACTIVE");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resized_server_without_its_original_and_its_machine_must_be_rebuilt() {
    let bed = TestBed::with_full_host().await;
    let machine = bed.uuid(1).await;
    bed.order(ACTION, r#"{"resize": {"flavorId": 2}}"#).await;
    bed.until(1, "VERIFY_RESIZE").await;
    evacuate(&bed, 0).await;
    // If the machine is off, a revert is still impossible and is not retried.
    bed.hosts[1].shut_down_from_within(machine);
    bed.eventually("the machine is known to be off", || async {
        bed.server(1).await.power == hypervisor::Power::ShutOff
    })
    .await;
    bed.order(ACTION, REVERT).await;
    bed.until(1, "VERIFY_RESIZE").await;
    bed.clock.advance(Duration::from_secs(3600));
    bed.eventually("the server has no task", || async { bed.server(1).await.state.task.is_none() }).await;
    let reverts = bed.compute.actions(&bed.context(), Id::Number(1)).await.unwrap();
    assert_eq!(reverts.iter().filter(|entry| entry.action == "revertResize").count(), 1);
    assert_eq!(bed.jobs_of(machine).await, ["autoConfirm"]);

    evacuate(&bed, 1).await;
    bed.until(1, "ERROR").await;
    reinstate(&bed, 0).await;
    assert_eq!(bed.delete("/servers/2").await.status, 202);
    bed.until(2, "gone").await;
    bed.order(ACTION, r#"{"rebuild": {}}"#).await;
    bed.eventually("the server is rebuilt", || async {
        bed.advance(Duration::from_secs(1)).await;
        bed.status(1).await == "ACTIVE"
    })
    .await;
    assert_eq!(bed.server(1).await.host, "simulated-1");
    assert_eq!(bed.hosts[0].spec(machine).unwrap().memory_mib, 512);
    let hosts = bed.compute.hosts().await.unwrap();
    assert_eq!((hosts[0].used_memory_mib, hosts[1].used_memory_mib), (512, 0));
}

/// A fence that may be broken and records its calls.
#[derive(Default)]
struct TestFence {
    broken: std::sync::atomic::AtomicBool,
    calls: std::sync::Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl compute::Fence for TestFence {
    async fn power_off(&self, host: &str) -> Result<(), String> {
        self.calls.lock().unwrap().push(host.to_owned());
        if self.broken.load(std::sync::atomic::Ordering::SeqCst) { Err("no reply".into()) } else { Ok(()) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_evacuated_only_if_it_is_certainly_off() {
    let test_fence = std::sync::Arc::new(TestFence::default());
    let two = HostSettings { hosts: 2, ..HostSettings::default() };
    let with = |fence| Settings { rate_limits: false, fence, ..Settings::default() };
    let conflict = |answer: Result<(), Error>| match answer {
        Err(Error::Conflict(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let disconnect_first = async |bed: &TestBed| {
        bed.hosts[0].disconnect();
        bed.eventually("the outage is known", || async {
            bed.compute.hosts().await.unwrap().first().is_some_and(|host| !host.up)
        })
        .await;
    };
    let is_evacuated = async |bed: &TestBed| bed.compute.hosts().await.unwrap()[0].evacuated;

    let bed = TestBed::with(two.clone(), with(None)).await;
    bed.eventually("all hosts are known", || async { bed.compute.hosts().await.unwrap().len() == 2 }).await;
    disconnect_first(&bed).await;
    let reason = conflict(bed.compute.evacuate("simulated-1", false).await);
    assert!(reason.contains("--powered-off"), "{reason}");
    assert!(!is_evacuated(&bed).await);
    bed.compute.evacuate("simulated-1", true).await.unwrap();
    assert!(is_evacuated(&bed).await);

    let bed = TestBed::with(two, with(Some(test_fence.clone()))).await;
    bed.eventually("all hosts are known", || async { bed.compute.hosts().await.unwrap().len() == 2 }).await;
    let reason = conflict(bed.compute.evacuate("simulated-1", false).await);
    assert!(reason.contains("is reachable"), "{reason}");
    assert!(test_fence.calls.lock().unwrap().is_empty(), "a reachable host must not be powered off");
    disconnect_first(&bed).await;
    test_fence.broken.store(true, std::sync::atomic::Ordering::SeqCst);
    let reason = conflict(bed.compute.evacuate("simulated-1", false).await);
    assert!(reason.contains("could not be powered off: no reply"), "{reason}");
    assert!(!is_evacuated(&bed).await);
    test_fence.broken.store(false, std::sync::atomic::Ordering::SeqCst);
    bed.compute.evacuate("simulated-1", false).await.unwrap();
    assert!(is_evacuated(&bed).await);
    assert_eq!(*test_fence.calls.lock().unwrap(), ["simulated-1", "simulated-1"]);
}
