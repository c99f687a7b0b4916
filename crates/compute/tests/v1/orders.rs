//! Orders in special situations: a deleted image, a confirmation in progress, an address whose server was deleted, a
//! backup that exists.

use std::time::Duration;

use database::params;
use hypervisor::faulty::Fault;
use hypervisor::{Error, Hypervisor};
use serde_json::json;

use crate::bed::TestBed;

const REBUILD: &str = r#"{"rebuild": {}}"#;

async fn image(bed: &TestBed, server: i64, name: &str) -> i64 {
    let body = format!(r#"{{"image": {{"serverId": {server}, "name": "{name}"}}}}"#);
    let answer = bed.post("/images", &body).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let image = answer.json()["image"]["id"].as_i64().unwrap();
    bed.eventually("the image is ACTIVE", || async {
        bed.get(&format!("/images/{image}")).await.json()["image"]["status"] == "ACTIVE"
    })
    .await;
    bed.eventually("the server has no task", || async { bed.server(server).await.state.task.is_none() })
        .await;
    image
}

async fn launched(bed: &TestBed, image: i64, flavor: i64) -> i64 {
    let body = format!(r#"{{"server": {{"name": "copy", "imageId": {image}, "flavorId": {flavor}}}}}"#);
    let answer = bed.post("/servers", &body).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let server = answer.json()["server"]["id"].as_i64().unwrap();
    bed.until(server, "ACTIVE").await;
    server
}

async fn refusal(bed: &TestBed, server: i64, body: &str) -> String {
    let answer = bed.post(&format!("/servers/{server}/action"), body).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    answer.json()["badRequest"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_can_be_rebuilt_from_its_deleted_image() {
    let bed = TestBed::unlimited().await;
    let (origin, _) = bed.active("web", 2).await;
    let gold = image(&bed, origin, "gold").await;
    let copy = launched(&bed, gold, 2).await;
    let digest = bed.hosts[0].spec(bed.uuid(copy).await).unwrap().image;
    assert_eq!(bed.delete(&format!("/images/{gold}")).await.status, 204);
    let action = format!("/servers/{copy}/action");
    assert_eq!(bed.post(&action, REBUILD).await.status, 202);
    bed.until(copy, "ACTIVE").await;
    let server = bed.get(&format!("/servers/{copy}")).await.json();
    assert_eq!(server["server"]["imageId"], gold);
    assert_eq!(bed.hosts[0].spec(bed.uuid(copy).await).unwrap().image, digest);
    // By id it cannot be used.
    let named = format!(r#"{{"rebuild": {{"imageId": {gold}}}}}"#);
    assert_eq!(refusal(&bed, copy, &named).await, "imageId names no image");
    // Its disk does not fit a smaller flavor.
    assert_eq!(bed.post(&action, r#"{"resize": {"flavorId": 1}}"#).await.status, 202);
    bed.until(copy, "VERIFY_RESIZE").await;
    assert_eq!(bed.post(&action, r#"{"confirmResize": null}"#).await.status, 204);
    bed.until(copy, "ACTIVE").await;
    assert_eq!(
        refusal(&bed, copy, REBUILD).await,
        format!(
            "rebuild names no imageId, and the server's own image ({gold}) needs a disk of 20 GB, where its flavor has 10 GB"
        )
    );
    assert_eq!(bed.post(&action, r#"{"rebuild": {"imageId": 1}}"#).await.status, 202);
    bed.until(copy, "ACTIVE").await;
}

/// After a build that failed before the disk was created, the host does not have the image.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_reports_that_the_servers_own_image_was_deleted() {
    let bed = TestBed::unlimited().await;
    let (origin, _) = bed.active("web", 1).await;
    let gold = image(&bed, origin, "gold").await;
    let reason = "the disk is full".to_owned();
    bed.fail_next("upload_image", Fault::Before(Error::Failed { operation: "upload_image", reason }));
    let body = format!(r#"{{"server": {{"name": "copy", "imageId": {gold}, "flavorId": 1}}}}"#);
    let copy = bed.post("/servers", &body).await.json()["server"]["id"].as_i64().unwrap();
    bed.until(copy, "ERROR").await;
    assert_eq!(bed.delete(&format!("/images/{gold}")).await.status, 204);
    let message = refusal(&bed, copy, REBUILD).await;
    assert_eq!(message, format!("rebuild names no imageId, and the server's own image ({gold}) was deleted"));
    assert_eq!(bed.status(copy).await, "ERROR");
    let named = r#"{"rebuild": {"imageId": 1}}"#;
    assert_eq!(bed.post(&format!("/servers/{copy}/action"), named).await.status, 202);
    bed.until(copy, "ACTIVE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_action_is_accepted_after_a_confirmation() {
    let bed = TestBed::unlimited().await;
    let (server, _) = bed.active("web", 1).await;
    let action = format!("/servers/{server}/action");
    let schedule = format!("/servers/{server}/backup_schedule");
    let image = format!(r#"{{"image": {{"serverId": {server}, "name": "i"}}}}"#);
    let enabled = r#"{"backupSchedule": {"enabled": true, "daily": "H_2000_2200"}}"#;
    let orders = [
        (action.as_str(), r#"{"reboot": {"type": "HARD"}}"#, 202),
        ("/images", image.as_str(), 202),
        (schedule.as_str(), enabled, 204),
    ];
    for (flavor, (path, body, status)) in (2..).zip(orders) {
        assert_eq!(
            bed.post(&action, &json!({ "resize": { "flavorId": flavor } }).to_string()).await.status,
            202
        );
        bed.until(server, "VERIFY_RESIZE").await;
        bed.steps.hold();
        assert_eq!(bed.post(&action, r#"{"confirmResize": null}"#).await.status, 204);
        // A confirmed resize cannot be reverted.
        assert_eq!(bed.post(&action, r#"{"revertResize": null}"#).await.status, 409);
        let ordered = bed.post(path, body);
        tokio::pin!(ordered);
        let early = tokio::time::timeout(Duration::from_millis(50), &mut ordered).await;
        assert!(early.is_err(), "the request must wait for the confirmation: {:?}", early.unwrap().body);
        bed.steps.free();
        assert_eq!(ordered.await.status, status, "{body}");
        bed.eventually("the server has no task", || async { bed.server(server).await.state.task.is_none() })
            .await;
    }
    // If the confirmation fails, requests that waited for it are rejected.
    assert_eq!(bed.post(&action, r#"{"resize": {"flavorId": 1}}"#).await.status, 202);
    bed.until(server, "VERIFY_RESIZE").await;
    let reason = "the disk is broken".to_owned();
    bed.fail_next("confirm_resize", Fault::Before(Error::Failed { operation: "confirm_resize", reason }));
    assert_eq!(bed.post(&action, r#"{"confirmResize": null}"#).await.status, 204);
    let answer = bed.post(&action, r#"{"reboot": {"type": "HARD"}}"#).await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(answer.body.contains("backupOrResizeInProgress"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_confirmation_delays_requests_by_ten_seconds() {
    let bed = TestBed::unlimited().await;
    let (server, _) = bed.active("web", 1).await;
    let action = format!("/servers/{server}/action");
    assert_eq!(bed.post(&action, r#"{"resize": {"flavorId": 2}}"#).await.status, 202);
    bed.until(server, "VERIFY_RESIZE").await;
    bed.fail_next("confirm_resize", Fault::Hang);
    assert_eq!(bed.post(&action, r#"{"confirmResize": null}"#).await.status, 204);
    let ordered = bed.post(&action, r#"{"reboot": {"type": "HARD"}}"#);
    let answer = tokio::time::timeout(Duration::from_secs(60), ordered).await.expect("the request returns");
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(answer.body.contains("backupOrResizeInProgress"), "{}", answer.body);
    assert!(bed.server(server).await.state.task.is_some(), "the confirmation must still hang");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_can_be_shared_as_long_as_a_member_of_the_group_has_it() {
    let bed = TestBed::unlimited().await;
    let (owner, _) = bed.active("one", 1).await;
    let group = format!(r#"{{"sharedIpGroup": {{"name": "ha", "server": {owner}}}}}"#);
    assert_eq!(bed.post("/shared_ip_groups", &group).await.status, 201);
    let member = async || {
        let body = r#"{"server": {"name": "m", "imageId": 1, "flavorId": 1, "sharedIpGroupId": 1}}"#;
        let number = bed.post("/servers", body).await.json()["server"]["id"].as_i64().unwrap();
        bed.until(number, "ACTIVE").await;
        number
    };
    let (second, third) = (member().await, member().await);
    let public = bed.get(&format!("/servers/{owner}/ips/public")).await.json();
    let shared = public["public"][0].as_str().unwrap().to_owned();
    let share = async |server: i64| {
        let path = format!("/servers/{server}/ips/public/{shared}");
        let status = bed.put(&path, r#"{"shareIp": {"sharedIpGroupId": 1}}"#).await.status.as_u16();
        bed.until(server, "ACTIVE").await;
        status
    };
    assert_eq!(share(second).await, 202);
    assert_eq!(bed.delete(&format!("/servers/{owner}")).await.status, 202);
    bed.until(owner, "gone").await;
    // The rule is the same for existing and for new servers.
    assert_eq!(share(third).await, 202);
    let launch = format!(
        r#"{{"server": {{"name": "x", "imageId": 1, "flavorId": 1, "sharedIpGroupId": 1, "addresses": {{"public": ["{shared}"]}}}}}}"#
    );
    let fourth = bed.post("/servers", &launch).await;
    assert_eq!(fourth.status, 202, "{}", fourth.body);
    bed.until(fourth.json()["server"]["id"].as_i64().unwrap(), "ACTIVE").await;
    // Once no member has it, it cannot be shared.
    assert_eq!(bed.delete(&format!("/servers/{}", fourth.json()["server"]["id"])).await.status, 202);
    for server in [second, third] {
        assert_eq!(bed.delete(&format!("/servers/{server}/ips/public/{shared}")).await.status, 202);
        bed.until(server, "ACTIVE").await;
    }
    assert_eq!(share(third).await, 400);
    assert_eq!(bed.post("/servers", &launch).await.status, 400);
}

/// All images except the first, by number and name.
async fn images(bed: &TestBed) -> Vec<(i64, String)> {
    let list = bed.get("/images/detail").await.json();
    let images = list["images"].as_array().unwrap().iter().skip(1);
    let mut images: Vec<_> = images
        .filter(|image| image["status"] == "ACTIVE")
        .map(|image| (image["id"].as_i64().unwrap(), image["name"].as_str().unwrap().to_owned()))
        .collect();
    images.sort();
    images
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_has_one_image_even_if_its_schedule_is_set_again() {
    let bed = TestBed::unlimited().await;
    let (server, _) = bed.active("web", 1).await;
    let path = format!("/servers/{server}/backup_schedule");
    let set = async |daily: &str| {
        let body = format!(r#"{{"backupSchedule": {{"enabled": true, "daily": "{daily}"}}}}"#);
        assert_eq!(bed.post(&path, &body).await.status, 204);
    };
    let free = async || {
        bed.eventually("the server has no task", || async { bed.server(server).await.state.task.is_none() })
            .await;
    };
    let made = |id: i64| vec![(id, "daily".to_owned())];
    set("H_1200_1400").await;
    bed.eventually("the open window's", || async { images(&bed).await == made(2) }).await;
    free().await;
    set("H_1200_1400").await;
    assert_eq!(bed.delete(&path).await.status, 204);
    set("H_1200_1400").await;
    bed.clock.advance(Duration::from_secs(86_400));
    bed.eventually("the next window's", || async { images(&bed).await == made(3) }).await;
    // No other image was started, and no job waits for one.
    let log = bed.compute.actions(&bed.context(), compute::model::Id::Number(server)).await.unwrap();
    let mut log: Vec<_> =
        log.iter().map(|entry| (entry.action.as_str(), entry.started.iso_seconds())).collect();
    log.reverse();
    let day = |day: &str| format!("2010-10-{day}T12:00:00Z");
    assert_eq!(log, [("create", day("10")), ("createImage", day("10")), ("createImage", day("11"))]);
    free().await;
    set("H_1400_1600").await;
    bed.clock.advance(Duration::from_secs(2 * 3600));
    bed.eventually("another window's", || async { images(&bed).await == made(4) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_has_one_image_even_if_its_job_crashes() {
    let mut bed = TestBed::unlimited().await;
    let (server, machine) = bed.active("web", 1).await;
    let daily = r#"{"backupSchedule": {"enabled": true, "daily": "H_1400_1600"}}"#;
    assert_eq!(bed.post(&format!("/servers/{server}/backup_schedule"), daily).await.status, 204);
    let database = bed.database().await;
    let waiting = "SELECT payload, due FROM jobs WHERE kind = 'backup'";
    let mut row = database.row(waiting, &[]).await.unwrap().unwrap();
    let (payload, due): (String, i64) = (row.take(0).unwrap(), row.take(1).unwrap());
    bed.clock.advance(Duration::from_secs(2 * 3600));
    bed.eventually("the window's", || async { images(&bed).await == [(2, "daily".to_owned())] }).await;
    bed.eventually("the server has no task", || async {
        bed.server(server).await.state.task.is_none() && bed.jobs_of(machine).await == ["backup"]
    })
    .await;
    // Create the state of a crash after the image was requested and before the next window's job was enqueued.
    bed.compute.crash().await;
    let back = "UPDATE jobs SET payload = $1, due = $2, lease_until = 0 WHERE kind = 'backup'";
    assert_eq!(database.execute(back, params![payload, due]).await.unwrap(), 1);
    bed.reopen().await;
    bed.eventually("the job of the next window is enqueued", || async {
        let row = database.row(waiting, &[]).await.unwrap();
        row.is_some_and(|row| row.get::<i64>(1).unwrap() > due)
    })
    .await;
    let log = bed.compute.actions(&bed.context(), compute::model::Id::Number(server)).await.unwrap();
    assert_eq!(log.iter().filter(|entry| entry.action == "createImage").count(), 1, "{log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requested_and_scheduled_images_replace_each_other_by_name() {
    let bed = TestBed::unlimited().await;
    let (server, _) = bed.active("web", 1).await;
    let (other, _) = bed.active("db", 1).await;
    let enabled = r#"{"backupSchedule": {"enabled": true, "daily": "H_1200_1400"}}"#;
    assert_eq!(bed.post(&format!("/servers/{other}/backup_schedule"), enabled).await.status, 204);
    let daily = |id: i64| (id, "daily".to_owned());
    bed.eventually("the other's", || async { images(&bed).await == [daily(2)] }).await;
    assert_eq!(image(&bed, server, "daily").await, 3);
    // Images of another server's schedule have the same name but are not replaced.
    assert_eq!(images(&bed).await, [daily(2), daily(3)]);
    assert_eq!(bed.post(&format!("/servers/{server}/backup_schedule"), enabled).await.status, 204);
    bed.eventually("scheduled for on demand", || async { images(&bed).await == [daily(2), daily(4)] }).await;
    bed.eventually("the server has no task", || async { bed.server(server).await.state.task.is_none() })
        .await;
    assert_eq!(image(&bed, server, "daily").await, 5);
    assert_eq!(images(&bed).await, [daily(2), daily(5)]);
    assert!(bed.hosts[0].snapshots().await.unwrap().is_empty());
}
