//! The guide's status transitions: every status, conflicts, failures, and actions after a delay.

use std::time::Duration;

use hypervisor::faulty::Fault;
use hypervisor::{Error, Hypervisor};
use serde_json::json;

use crate::bed::{NAMESPACE, NOON, TestBed};

fn broken(operation: &'static str) -> Fault {
    Fault::Before(Error::Failed { operation, reason: "the disk is broken".into() })
}

/// Actions with the status during each and the one after it.
const ORDERS: [(&str, &str, &str, &str); 7] = [
    ("action", r#"{"reboot": {"type": "SOFT"}}"#, "REBOOT", "ACTIVE"),
    ("action", r#"{"reboot": {"type": "HARD"}}"#, "HARD_REBOOT", "ACTIVE"),
    ("action", r#"{"rebuild": {"imageId": 1}}"#, "REBUILD", "ACTIVE"),
    ("action", r#"{"resize": {"flavorId": 2}}"#, "QUEUE_RESIZE", "VERIFY_RESIZE"),
    ("action", r#"{"confirmResize": null}"#, "VERIFY_RESIZE", "ACTIVE"),
    ("action", r#"{"resize": {"flavorId": 3}}"#, "QUEUE_RESIZE", "VERIFY_RESIZE"),
    ("action", r#"{"revertResize": null}"#, "VERIFY_RESIZE", "ACTIVE"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_status_is_shown() {
    let bed = TestBed::unlimited().await;
    let (server, machine) = bed.active("web", 1).await;
    for (path, order, during, after) in ORDERS {
        bed.steps.hold();
        let answer = bed.post(&format!("/servers/{server}/{path}"), order).await;
        assert!(answer.status.is_success(), "{order}: {}", answer.body);
        if during == "QUEUE_RESIZE" {
            // QUEUE_RESIZE is shown only until the job starts, which is at once.
            assert!(["QUEUE_RESIZE", "PREP_RESIZE"].contains(&bed.status(server).await.as_str()));
            bed.until(server, "PREP_RESIZE").await;
        } else {
            // A rebuild starts with the networks.
            let step = bed.steps.next().await;
            assert_eq!(bed.status(server).await, during, "{order} at {}", step.operation);
            step.release();
        }
        bed.steps.free();
        bed.until(server, after).await;
    }
    bed.steps.hold();
    assert_eq!(
        bed.put(&format!("/servers/{server}"), r#"{"server": {"adminPass": "s3cret"}}"#).await.status,
        202
    );
    assert_eq!(bed.status(server).await, "PASSWORD");
    bed.steps.free();
    bed.until(server, "ACTIVE").await;
    assert_eq!(bed.hosts[0].password(machine).as_deref(), Some("s3cret"));
    // A rebuild keeps the password.
    bed.post(&format!("/servers/{server}/action"), r#"{"rebuild": {}}"#).await;
    bed.until(server, "ACTIVE").await;
    let drive = bed.hosts[0].config_drive(machine).unwrap();
    let meta: serde_json::Value = serde_json::from_slice(&drive[0].1).unwrap();
    assert_eq!(meta["admin_pass"], "s3cret");

    bed.steps.hold();
    assert_eq!(bed.delete(&format!("/servers/{server}")).await.status, 202);
    assert_eq!(bed.status(server).await, "DELETED");
    assert_eq!(bed.get("/servers").await.json(), json!({ "servers": [] }));
    assert_eq!(bed.delete(&format!("/servers/{server}")).await.status, 202);
    assert_eq!(bed.post(&format!("/servers/{server}/action"), ORDERS[0].1).await.status, 404);
    bed.steps.free();
    bed.until(server, "gone").await;
    bed.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sees_an_image_active_can_request_the_next_action() {
    let bed = TestBed::unlimited().await;
    let (server, _) = bed.active("web", 1).await;
    bed.steps.hold();
    let image = format!(r#"{{"image": {{"serverId": {server}, "name": "saved"}}}}"#);
    let image = bed.post("/images", &image).await.json()["image"]["id"].as_i64().unwrap();
    let rebuild = format!(r#"{{"rebuild": {{"imageId": {image}}}}}"#);
    let action = format!("/servers/{server}/action");
    let tidying = loop {
        let step = bed.steps.next().await;
        if step.operation == "drop_snapshot" {
            break step;
        }
        step.release();
    };
    assert_eq!(bed.get(&format!("/images/{image}")).await.json()["image"]["status"], "ACTIVE");
    let ordered = bed.post(&action, &rebuild);
    tokio::pin!(ordered);
    let early = tokio::time::timeout(std::time::Duration::from_millis(50), &mut ordered).await;
    assert!(early.is_err(), "the request must wait for the job's end: {:?}", early.unwrap().body);
    tidying.release();
    bed.steps.free();
    assert_eq!(ordered.await.status, 202);
    bed.until(server, "ACTIVE").await;
}

/// The request arrives just as the image's job ends: rejected by the state read first, it must read the state again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_at_the_end_of_an_images_job_is_not_rejected() {
    let bed = TestBed::unlimited().await;
    let (server, _) = bed.active("web", 1).await;
    let image = format!(r#"{{"image": {{"serverId": {server}, "name": "saved"}}}}"#);
    let action = format!("/servers/{server}/action");
    for round in 0..150 {
        let made = bed.post("/images", &image).await.json()["image"]["id"].as_i64().unwrap();
        let path = format!("/images/{made}");
        while bed.get(&path).await.json()["image"]["status"] != "ACTIVE" {
            tokio::task::yield_now().await;
        }
        let ordered = bed.post(&action, r#"{"reboot": {"type": "HARD"}}"#).await;
        assert_eq!(ordered.status, 202, "round {round}: {:?}", ordered.body);
        bed.until(server, "ACTIVE").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_suspends_and_resumes() {
    let bed = TestBed::unlimited().await;
    let (server, machine) = bed.active("web", 1).await;
    let id = compute::model::Id::Number(server);
    bed.compute.suspend(id).await.unwrap();
    bed.until(server, "SUSPENDED").await;
    bed.eventually("the machine is paused", || async {
        bed.hosts[0].state(machine).await.unwrap().power == hypervisor::Power::Paused
    })
    .await;
    let answer = bed.post(&format!("/servers/{server}/action"), r#"{"reboot": {"type": "HARD"}}"#).await;
    assert_eq!(answer.status, 409);
    assert!(answer.json()["cloudServersFault"]["message"].as_str().unwrap().contains("suspended"));
    bed.compute.resume(id).await.unwrap();
    bed.until(server, "ACTIVE").await;
    assert!(bed.compute.resume(id).await.is_err());
    bed.compute.suspend(id).await.unwrap();
    bed.until(server, "SUSPENDED").await;
    assert_eq!(bed.delete(&format!("/servers/{server}")).await.status, 202);
    bed.until(server, "gone").await;
    bed.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicting_actions_are_rejected_with_the_guides_faults() {
    let bed = TestBed::unlimited().await;
    bed.steps.hold();
    let answer = bed.post("/servers", r#"{"server": {"name": "x", "imageId": 1, "flavorId": 1}}"#).await;
    assert_eq!(answer.status, 202);
    let fault = async |method: &str, path: &str, body: &str| {
        let answer = bed.call(method, path, &[("content-type", "application/json")], body).await;
        let json = answer.json();
        (answer.status.as_u16(), json.as_object().unwrap().keys().next().unwrap().clone())
    };
    let building = (409, "buildInProgress".to_owned());
    let (reboot, resize) = (r#"{"reboot": {"type": "HARD"}}"#, r#"{"resize": {"flavorId": 2}}"#);
    let image = r#"{"image": {"serverId": 1, "name": "i"}}"#;
    let schedule = r#"{"backupSchedule": {"enabled": true, "daily": "H_0000_0200"}}"#;
    for (method, path, body) in [
        ("POST", "/servers/1/action", reboot),
        ("POST", "/servers/1/action", resize),
        ("POST", "/servers/1/action", r#"{"rebuild": {}}"#),
        ("POST", "/servers/1/action", r#"{"confirmResize": null}"#),
        ("PUT", "/servers/1", r#"{"server": {"name": "y"}}"#),
        ("PUT", "/servers/1", r#"{"server": {"adminPass": "y"}}"#),
        ("DELETE", "/servers/1", ""),
        ("POST", "/images", image),
        ("POST", "/servers/1/backup_schedule", schedule),
    ] {
        assert_eq!(fault(method, path, body).await, building, "{method} {path} {body}");
    }
    bed.steps.free();
    bed.until(1, "ACTIVE").await;
    let forbidden = (403, "resizeNotAllowed".to_owned());
    assert_eq!(fault("POST", "/servers/1/action", r#"{"confirmResize": null}"#).await, forbidden);
    assert_eq!(fault("POST", "/servers/1/action", r#"{"revertResize": null}"#).await, forbidden);
    assert_eq!(fault("POST", "/servers/1/action", r#"{"resize": {"flavorId": 1}}"#).await, forbidden);
    bed.steps.hold();
    assert_eq!(bed.post("/images", image).await.status, 202);
    let busy = (409, "backupOrResizeInProgress".to_owned());
    for (path, body) in [("/servers/1/action", resize), ("/servers/1/action", reboot), ("/images", image)] {
        assert_eq!(fault("POST", path, body).await, busy, "{path} {body}");
    }
    assert_eq!(fault("DELETE", "/images/2", "").await, (409, "cloudServersFault".to_owned()));
    bed.steps.free();
    bed.eventually("the image is ACTIVE", || async {
        bed.get("/images/2").await.json()["image"]["status"] == "ACTIVE"
    })
    .await;
    bed.until(1, "ACTIVE").await;
    bed.eventually("the resize is accepted", || async {
        bed.post("/servers/1/action", resize).await.status == 202
    })
    .await;
    bed.until(1, "VERIFY_RESIZE").await;
    for (path, body) in [
        ("/servers/1/action", resize),
        ("/servers/1/action", reboot),
        ("/images", image),
        ("/servers/1/backup_schedule", schedule),
    ] {
        assert_eq!(fault("POST", path, body).await, busy, "{path} {body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_end_in_the_guides_statuses() {
    let bed = TestBed::unlimited().await;
    // A failed build: ERROR with the reason; nothing is left after the deletion.
    bed.fail_next("define", broken("define"));
    let answer = bed.post("/servers", r#"{"server": {"name": "x", "imageId": 1, "flavorId": 1}}"#).await;
    let failed = answer.json()["server"]["id"].as_i64().unwrap();
    bed.until(failed, "ERROR").await;
    let server = bed.server(failed).await;
    assert_eq!(server.fault.unwrap().message, "define failed: the disk is broken");
    let log = bed.compute.actions(&bed.context(), compute::model::Id::Number(failed)).await.unwrap();
    assert_eq!(log[0].action, "create");
    assert_eq!(log[0].message.as_deref(), Some("define failed: the disk is broken"));
    assert!(log[0].finished.is_some());
    assert_eq!(bed.delete(&format!("/servers/{failed}")).await.status, 202);
    bed.until(failed, "gone").await;
    bed.assert_clean().await;

    let (server, machine) = bed.active("web", 1).await;
    let action = format!("/servers/{server}/action");
    // A failed resize: ACTIVE and unchanged, with the reservation released.
    bed.fail_next("begin_resize", broken("begin_resize"));
    assert_eq!(bed.post(&action, r#"{"resize": {"flavorId": 3}}"#).await.status, 202);
    bed.until(server, "ACTIVE").await;
    assert_eq!(bed.get(&format!("/servers/{server}")).await.json()["server"]["flavorId"], 1);
    assert_eq!(bed.hosts[0].spec(machine).unwrap().memory_mib, 256);
    assert_eq!(bed.hosts[0].state(machine).await.unwrap().power, hypervisor::Power::Running);
    assert_eq!(bed.compute.hosts().await.unwrap()[0].used_memory_mib, 256);
    // A failed image: FAILED; the server is not affected.
    bed.fail_next("take_snapshot", broken("take_snapshot"));
    let answer = bed.post("/images", &format!(r#"{{"image": {{"serverId": {server}, "name": "i"}}}}"#)).await;
    let image = answer.json()["image"]["id"].as_i64().unwrap();
    bed.eventually("the image has failed", || async {
        bed.get(&format!("/images/{image}")).await.json()["image"]["status"] == "FAILED"
    })
    .await;
    bed.until(server, "ACTIVE").await;
    assert!(bed.hosts[0].snapshots().await.unwrap().is_empty());
    assert_eq!(bed.delete(&format!("/images/{image}")).await.status, 204);
    // A failed password change: ACTIVE with the old password.
    bed.eventually("the server has no task", || async { bed.server(server).await.state.task.is_none() })
        .await;
    bed.fail_next("set_password", broken("set_password"));
    assert_eq!(
        bed.put(&format!("/servers/{server}"), r#"{"server": {"adminPass": "s3cret"}}"#).await.status,
        202
    );
    bed.until(server, "ACTIVE").await;
    assert_eq!(bed.hosts[0].password(machine), None);
    // A failed rebuild: ERROR, which another rebuild ends.
    bed.fail_next("replace_disk", broken("replace_disk"));
    assert_eq!(bed.post(&action, r#"{"rebuild": {}}"#).await.status, 202);
    bed.until(server, "ERROR").await;
    let refused = bed.post(&action, r#"{"resize": {"flavorId": 2}}"#).await;
    assert_eq!(refused.status, 409);
    assert_eq!(bed.post(&action, r#"{"rebuild": {}}"#).await.status, 202);
    bed.until(server, "ACTIVE").await;
    assert!(bed.server(server).await.fault.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_confirmation_or_revert_can_be_repeated() {
    let bed = TestBed::unlimited().await;
    let (server, machine) = bed.active("web", 1).await;
    let action = format!("/servers/{server}/action");
    let free = async || {
        bed.eventually("the server has no task", || async { bed.server(server).await.state.task.is_none() })
            .await
    };
    bed.post(&action, r#"{"resize": {"flavorId": 2}}"#).await;
    bed.until(server, "VERIFY_RESIZE").await;
    // The owner's confirmation and the automatic one after a day fail; the one after another day succeeds.
    bed.fail_next("confirm_resize", broken("confirm_resize"));
    assert_eq!(bed.post(&action, r#"{"confirmResize": null}"#).await.status, 204);
    free().await;
    assert_eq!(bed.status(server).await, "VERIFY_RESIZE");
    bed.clock.advance(Duration::from_secs(86_400));
    bed.until(server, "ACTIVE").await;
    assert_eq!(bed.compute.hosts().await.unwrap()[0].used_memory_mib, 512);
    // The revert fails with the machine off: ERROR. After a reboot the resize can be reverted.
    bed.post(&action, r#"{"resize": {"flavorId": 3}}"#).await;
    bed.until(server, "VERIFY_RESIZE").await;
    bed.fail_next("revert_resize", broken("revert_resize"));
    assert_eq!(bed.post(&action, r#"{"revertResize": null}"#).await.status, 202);
    bed.until(server, "ERROR").await;
    assert_eq!(bed.post(&action, r#"{"reboot": {"type": "HARD"}}"#).await.status, 202);
    bed.until(server, "VERIFY_RESIZE").await;
    assert_eq!(bed.post(&action, r#"{"revertResize": null}"#).await.status, 202);
    bed.until(server, "ACTIVE").await;
    assert_eq!(bed.hosts[0].spec(machine).unwrap().memory_mib, 512);
    // The revert succeeds but the start fails: a reboot starts the old size.
    bed.post(&action, r#"{"resize": {"flavorId": 3}}"#).await;
    bed.until(server, "VERIFY_RESIZE").await;
    bed.fail_next("start", broken("start"));
    assert_eq!(bed.post(&action, r#"{"revertResize": null}"#).await.status, 202);
    bed.until(server, "ERROR").await;
    assert_eq!(bed.post(&action, r#"{"reboot": {"type": "HARD"}}"#).await.status, 202);
    bed.until(server, "ACTIVE").await;
    assert_eq!(bed.server(server).await.flavor.number, 2);
    assert_eq!(bed.hosts[0].spec(machine).unwrap().memory_mib, 512);
    assert_eq!(bed.compute.hosts().await.unwrap()[0].used_memory_mib, 512);
    // A rebuild instead confirms the new size.
    bed.post(&action, r#"{"resize": {"flavorId": 3}}"#).await;
    bed.until(server, "VERIFY_RESIZE").await;
    bed.fail_next("revert_resize", broken("revert_resize"));
    assert_eq!(bed.post(&action, r#"{"revertResize": null}"#).await.status, 202);
    bed.until(server, "ERROR").await;
    assert_eq!(bed.post(&action, r#"{"rebuild": {}}"#).await.status, 202);
    bed.until(server, "ACTIVE").await;
    assert_eq!(bed.hosts[0].spec(machine).unwrap().memory_mib, 1024);
    assert_eq!(bed.compute.hosts().await.unwrap()[0].used_memory_mib, 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_action_fails_at_its_deadline() {
    let bed = TestBed::unlimited().await;
    let (server, _) = bed.active("web", 1).await;
    bed.fail_next("start", Fault::Hang);
    let answer = bed.post("/servers", r#"{"server": {"name": "x", "imageId": 1, "flavorId": 1}}"#).await;
    let hanging = answer.json()["server"]["id"].as_i64().unwrap();
    bed.eventually("the build has reached the start", || async {
        bed.get(&format!("/servers/{hanging}")).await.json()["server"]["progress"] == 90
    })
    .await;
    bed.clock.advance(Duration::from_secs(3600));
    bed.until(hanging, "ERROR").await;
    let fault = bed.server(hanging).await.fault.unwrap();
    assert_eq!(fault.message, "it was not finished within 60 minutes");
    assert_eq!(bed.delete(&format!("/servers/{hanging}")).await.status, 202);
    bed.until(hanging, "gone").await;
    assert_eq!(bed.status(server).await, "ACTIVE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resize_is_confirmed_automatically_after_a_day() {
    let mut bed = TestBed::unlimited().await;
    let (server, _) = bed.active("web", 1).await;
    let action = format!("/servers/{server}/action");
    bed.post(&action, r#"{"resize": {"flavorId": 2}}"#).await;
    bed.until(server, "VERIFY_RESIZE").await;
    bed.clock.advance(Duration::from_secs(86_399));
    // Also if the process was restarted in between.
    bed.compute.stop().await;
    bed.reopen().await;
    assert_eq!(bed.status(server).await, "VERIFY_RESIZE");
    bed.clock.advance(Duration::from_secs(1));
    bed.until(server, "ACTIVE").await;
    assert_eq!(bed.get(&format!("/servers/{server}")).await.json()["server"]["flavorId"], 2);
    assert_eq!(bed.post(&action, r#"{"revertResize": null}"#).await.status, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_are_created_in_their_windows_and_rotated() {
    let mut bed = TestBed::unlimited().await;
    let (server, _) = bed.active("web", 1).await;
    // 2010-10-10, noon, was a Sunday.
    let schedule = format!(
        r#"<backupSchedule xmlns="{NAMESPACE}" enabled="true" weekly="TUESDAY" daily="H_1400_1600"/>"#
    );
    assert_eq!(bed.post(&format!("/servers/{server}/backup_schedule"), &schedule).await.status, 204);
    let free = async |bed: &TestBed| {
        bed.eventually("the server has no task", || async { bed.server(server).await.state.task.is_none() })
            .await;
    };
    let to = |bed: &TestBed, seconds: i64| {
        let by = seconds - bed.clock.now().seconds();
        bed.clock.advance(Duration::from_secs(u64::try_from(by).unwrap()));
    };
    let images = async |bed: &TestBed| -> Vec<(i64, String, String)> {
        let list = bed.get("/images/detail").await.json();
        let mut images = list["images"]
            .as_array()
            .unwrap()
            .iter()
            .skip(1)
            .map(|image| {
                let text = |name: &str| image[name].as_str().unwrap().to_owned();
                (image["id"].as_i64().unwrap(), text("name"), text("status"))
            })
            .collect::<Vec<_>>();
        images.sort();
        images
    };
    let made = |id: i64, name: &str| (id, name.to_owned(), "ACTIVE".to_owned());
    let day = 86_400;
    let window = NOON + 2 * 3600;
    to(&bed, window - 1);
    assert_eq!(images(&bed).await, []);
    to(&bed, window);
    bed.eventually("Sunday's", || async { images(&bed).await == [made(2, "daily")] }).await;
    free(&bed).await;
    to(&bed, window + day);
    bed.eventually("Monday's in its place", || async { images(&bed).await == [made(3, "daily")] }).await;
    free(&bed).await;
    // Both are due on Tuesday; the second waits for the first.
    to(&bed, window + 2 * day);
    let fresh = async |bed: &TestBed| {
        let images = images(bed).await;
        images.iter().filter(|(id, _, status)| *id > 3 && status == "ACTIVE").count()
    };
    bed.eventually("one of Tuesday's", || async { fresh(&bed).await >= 1 }).await;
    free(&bed).await;
    bed.advance(Duration::from_secs(60)).await;
    bed.eventually("both of Tuesday's", || async { fresh(&bed).await == 2 }).await;
    assert_eq!(images(&bed).await.len(), 2);
    let mut names: Vec<_> = images(&bed).await.into_iter().map(|(_, name, _)| name).collect();
    names.sort();
    assert_eq!(names, ["daily", "weekly"]);
    // The process is down during a whole window: the backup is skipped and logged, and the next window is used.
    free(&bed).await;
    bed.compute.stop().await;
    to(&bed, window + 3 * day + 3 * 3600);
    bed.reopen().await;
    let skipped = || async {
        let log = bed.compute.actions(&bed.context(), compute::model::Id::Number(server)).await.unwrap();
        log.iter().filter(|entry| entry.action == "backup" && entry.message.is_some()).count()
    };
    bed.eventually("the missed window is logged", || async { skipped().await == 1 }).await;
    let before = images(&bed).await;
    to(&bed, window + 4 * day);
    bed.eventually("Thursday's", || async {
        let now = images(&bed).await;
        now != before && now.len() == 2 && now.iter().all(|(_, _, status)| status == "ACTIVE")
    })
    .await;
    // Deleting the schedule ends the backups.
    free(&bed).await;
    assert_eq!(bed.delete(&format!("/servers/{server}/backup_schedule")).await.status, 204);
    let before = images(&bed).await;
    to(&bed, window + 9 * day);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(images(&bed).await, before);
    // Its images are deleted with the server (guide, Delete Server).
    assert_eq!(bed.delete(&format!("/servers/{server}")).await.status, 202);
    bed.until(server, "gone").await;
    assert_eq!(images(&bed).await, []);
}
