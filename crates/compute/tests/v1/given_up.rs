//! Hosts that their operator gave up: what was on them ends, or goes on elsewhere, and what they still have when they are
//! taken back is removed.

use std::time::Duration;

use compute::model::Id;
use compute::{Error, Settings};
use hypervisor::Hypervisor;
use hypervisor::faulty::Fault;
use hypervisor::simulated::Settings as HostSettings;

use crate::bed::Bed;

const ACTION: &str = "/servers/1/action";
const REVERT: &str = r#"{"revertResize": null}"#;

/// Loses a host and gives it up once that is known.
async fn give_up(bed: &Bed, host: usize) {
    bed.hosts[host].disconnect();
    bed.eventually("the loss is known", || async { !bed.compute.hosts().await.unwrap()[host].up }).await;
    let name = format!("simulated-{}", host + 1);
    bed.compute.give_up(&name, true).await.unwrap();
    let known = &bed.compute.hosts().await.unwrap()[host];
    assert!(known.given_up && !known.up);
}

async fn take_back(bed: &Bed, host: usize) {
    bed.hosts[host].reconnect();
    bed.compute.reinstate(&format!("simulated-{}", host + 1)).await.unwrap();
    bed.eventually("it is used again", || async {
        let known = &bed.compute.hosts().await.unwrap()[host];
        known.up && !known.given_up
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_a_host_that_is_given_up_end_or_are_rebuilt_elsewhere() {
    let two = HostSettings { hosts: 2, ..HostSettings::default() };
    let mut bed = Bed::with(two, Settings { rate_limits: false, ..Settings::default() }).await;
    bed.eventually("all hosts are known", || async { bed.compute.hosts().await.unwrap().len() == 2 }).await;
    bed.compute.drain("simulated-2", true).await.unwrap();
    for name in ["deleted", "rebuilt", "resized", "suspended"] {
        bed.active(name, 1).await;
    }
    bed.order("/servers/3/action", r#"{"resize": {"flavorId": 2}}"#).await;
    bed.until(3, "VERIFY_RESIZE").await;
    let held = Id::Number(4);
    bed.compute.suspend(held).await.unwrap();
    bed.until(4, "SUSPENDED").await;
    // While a resize is undecided the larger size is booked.
    bed.active("shrunk", 2).await;
    bed.order("/servers/5/action", r#"{"resize": {"flavorId": 1}}"#).await;
    bed.until(5, "VERIFY_RESIZE").await;
    bed.compute.drain("simulated-2", false).await.unwrap();
    let mut before = Vec::new();
    for number in 2..=5 {
        before.push(bed.server(number).await);
    }

    let refused = bed.compute.give_up("simulated-1", true).await;
    assert!(matches!(&refused, Err(Error::Conflict(reason)) if reason.contains("answers")), "{refused:?}");
    assert!(matches!(bed.compute.give_up("simulated-9", true).await, Err(Error::NotFound("host"))));
    bed.hosts[0].disconnect();
    bed.until(2, "UNKNOWN").await;
    let deleted = bed.uuid(1).await;
    assert_eq!(bed.delete("/servers/1").await.status, 202);
    give_up(&bed, 0).await;

    bed.eventually("the deletion ends", || async {
        bed.pass(Duration::from_secs(30)).await;
        bed.status(1).await == "gone"
    })
    .await;
    // What else it left there is removed once the host is back.
    let left = bed.jobs_of(deleted).await;
    assert!(left.first().is_some_and(|first| first == "vacate"), "{left:?}");
    for server in [2, 3, 5] {
        bed.until(server, "ERROR").await;
        let fault = bed.server(server).await.fault.unwrap();
        assert_eq!(fault.message, "the machine is not on its host any more");
    }
    // What its operator holds stays held, until the operator lets it go.
    assert_eq!(bed.post("/servers/4/action", r#"{"rebuild": {}}"#).await.status, 409);
    assert_eq!(bed.status(4).await, "SUSPENDED");
    bed.compute.resume(held).await.unwrap();
    bed.until(4, "ERROR").await;
    // A host that is given up stays so, whatever becomes of the process, and whatever it says.
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
    let booked = |hosts: Vec<compute::Host>| {
        hosts.iter().map(|host| (host.used_memory_mib, host.used_disk_gib)).collect::<Vec<_>>()
    };
    assert_eq!(booked(bed.compute.hosts().await.unwrap()), [(0, 0), (4 * 256 + 512, 4 * 10 + 20)]);
    assert_eq!(bed.hosts[0].machines().await.unwrap().len(), 5, "it is left alone as long as it is given up");

    take_back(&bed, 0).await;
    bed.eventually("what belongs elsewhere is removed", || async {
        bed.pass(Duration::from_secs(10)).await;
        bed.hosts[0].machines().await.is_ok_and(|left| left.is_empty())
    })
    .await;
    for server in 2..=6 {
        assert_eq!(bed.status(server).await, "ACTIVE");
        assert_eq!(bed.delete(&format!("/servers/{server}")).await.status, 202);
        bed.until(server, "gone").await;
    }
    bed.is_cleared().await;
    bed.assert_clean().await;
    assert!(bed.networks().ports(new).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resize_to_a_host_that_is_given_up_is_reverted_and_one_from_it_is_not() {
    for given_up in [0, 1] {
        let bed = Bed::crowded().await;
        let machine = bed.uuid(1).await;
        bed.order(ACTION, r#"{"resize": {"flavorId": 2}}"#).await;
        bed.until(1, "VERIFY_RESIZE").await;
        give_up(&bed, given_up).await;
        // The way back is gone on with where it breaks off.
        let networks = bed.calls_on(0, "ensure_network");
        let late = hypervisor::Error::Timeout { operation: "ensure_network", after: Duration::from_secs(1) };
        bed.fail_on(0, "ensure_network", networks + 1, Fault::Before(late));
        bed.order(ACTION, REVERT).await;
        bed.eventually("the revert ends", || async {
            bed.pass(Duration::from_secs(1)).await;
            bed.status(1).await == if given_up == 1 { "ACTIVE" } else { "VERIFY_RESIZE" }
        })
        .await;
        let server = bed.server(1).await;
        if given_up == 0 {
            // It goes on where it is.
            bed.eventually("the reason is told", || async { bed.server(1).await.fault.is_some() }).await;
            let fault = bed.server(1).await.fault.unwrap();
            assert!(fault.message.contains("which was given up"), "{}", fault.message);
            bed.order(ACTION, r#"{"confirmResize": null}"#).await;
            bed.until(1, "ACTIVE").await;
        }
        let runs_on = 1 - given_up;
        assert_eq!(server.host, format!("simulated-{}", runs_on + 1));
        assert!(bed.hosts[runs_on].spec(machine).is_some());
        bed.eventually("nothing is booked twice", || async {
            bed.pass(Duration::from_secs(1)).await;
            bed.server(1).await.other.is_none()
        })
        .await;
        take_back(&bed, given_up).await;
        bed.eventually("what was left there is removed", || async {
            bed.pass(Duration::from_secs(10)).await;
            bed.hosts[given_up].spec(machine).is_none()
        })
        .await;
        assert_eq!(bed.status(1).await, "ACTIVE");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_original_and_its_machine_a_resized_server_is_to_be_rebuilt() {
    let bed = Bed::crowded().await;
    let machine = bed.uuid(1).await;
    bed.order(ACTION, r#"{"resize": {"flavorId": 2}}"#).await;
    bed.until(1, "VERIFY_RESIZE").await;
    give_up(&bed, 0).await;
    // Off as it is, there is no way back either, and nobody goes on trying.
    bed.hosts[1].shut_down_from_within(machine);
    bed.eventually("it is seen to be off", || async {
        bed.server(1).await.power == hypervisor::Power::ShutOff
    })
    .await;
    bed.order(ACTION, REVERT).await;
    bed.until(1, "VERIFY_RESIZE").await;
    bed.clock.advance(Duration::from_secs(3600));
    bed.eventually("nothing is under way", || async { bed.server(1).await.state.task.is_none() }).await;
    let reverts = bed.compute.actions(&bed.context(), Id::Number(1)).await.unwrap();
    assert_eq!(reverts.iter().filter(|entry| entry.action == "revertResize").count(), 1);
    assert_eq!(bed.jobs_of(machine).await, ["autoConfirm"]);

    give_up(&bed, 1).await;
    bed.until(1, "ERROR").await;
    take_back(&bed, 0).await;
    assert_eq!(bed.delete("/servers/2").await.status, 202);
    bed.until(2, "gone").await;
    bed.order(ACTION, r#"{"rebuild": {}}"#).await;
    bed.eventually("it is built anew", || async {
        bed.pass(Duration::from_secs(1)).await;
        bed.status(1).await == "ACTIVE"
    })
    .await;
    assert_eq!(bed.server(1).await.host, "simulated-1");
    assert_eq!(bed.hosts[0].spec(machine).unwrap().memory_mib, 512);
    let booked = bed.compute.hosts().await.unwrap();
    assert_eq!((booked[0].used_memory_mib, booked[1].used_memory_mib), (512, 0));
}

/// A switch of a host's power that may be broken, and what it was asked to switch off.
#[derive(Default)]
struct Switch {
    broken: std::sync::atomic::AtomicBool,
    asked: std::sync::Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl compute::Fence for Switch {
    async fn power_off(&self, host: &str) -> Result<(), String> {
        self.asked.lock().unwrap().push(host.to_owned());
        if self.broken.load(std::sync::atomic::Ordering::SeqCst) { Err("no answer".into()) } else { Ok(()) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_given_up_only_once_it_is_surely_off() {
    let switch = std::sync::Arc::new(Switch::default());
    let two = HostSettings { hosts: 2, ..HostSettings::default() };
    let with = |fence| Settings { rate_limits: false, fence, ..Settings::default() };
    let conflict = |answer: Result<(), Error>| match answer {
        Err(Error::Conflict(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let lose_first = async |bed: &Bed| {
        bed.hosts[0].disconnect();
        bed.eventually("the loss is known", || async {
            bed.compute.hosts().await.unwrap().first().is_some_and(|host| !host.up)
        })
        .await;
    };
    let given_up = async |bed: &Bed| bed.compute.hosts().await.unwrap()[0].given_up;

    let bed = Bed::with(two.clone(), with(None)).await;
    bed.eventually("all hosts are known", || async { bed.compute.hosts().await.unwrap().len() == 2 }).await;
    lose_first(&bed).await;
    let reason = conflict(bed.compute.give_up("simulated-1", false).await);
    assert!(reason.contains("--powered-off"), "{reason}");
    assert!(!given_up(&bed).await);
    bed.compute.give_up("simulated-1", true).await.unwrap();
    assert!(given_up(&bed).await);

    let bed = Bed::with(two, with(Some(switch.clone()))).await;
    bed.eventually("all hosts are known", || async { bed.compute.hosts().await.unwrap().len() == 2 }).await;
    let reason = conflict(bed.compute.give_up("simulated-1", false).await);
    assert!(reason.contains("answers"), "{reason}");
    assert!(switch.asked.lock().unwrap().is_empty(), "a host that answers is not switched off");
    lose_first(&bed).await;
    switch.broken.store(true, std::sync::atomic::Ordering::SeqCst);
    let reason = conflict(bed.compute.give_up("simulated-1", false).await);
    assert!(reason.contains("could not be powered off: no answer"), "{reason}");
    assert!(!given_up(&bed).await);
    switch.broken.store(false, std::sync::atomic::Ordering::SeqCst);
    bed.compute.give_up("simulated-1", false).await.unwrap();
    assert!(given_up(&bed).await);
    assert_eq!(*switch.asked.lock().unwrap(), ["simulated-1", "simulated-1"]);
}
