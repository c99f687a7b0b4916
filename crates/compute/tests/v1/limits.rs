//! Rate limits and absolute limits, with a frozen clock.

use std::time::Duration;

use compute::Settings;
use database::on_each_engine;
use hypervisor::simulated::Settings as HostSettings;
use serde_json::json;

use crate::bed::{NOON, TestBed, assert_json, assert_xml};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_eleventh_post_of_a_minute_waits_for_the_next() {
    let mut bed = TestBed::new().await;
    bed.clock.advance(Duration::from_millis(500));
    for _ in 0..10 {
        assert_eq!(bed.post("/shared_ip_groups", r#"{"sharedIpGroup": {"name": "g"}}"#).await.status, 201);
    }
    bed.clock.advance(Duration::from_secs(20));
    let answer = bed.post("/shared_ip_groups", r#"{"sharedIpGroup": {"name": "g"}}"#).await;
    assert_eq!(answer.status, 413);
    assert_eq!((answer.header("retry-after"), answer.header("reply-after")), ("40", "40"));
    let expected = json!({ "overLimit": {
        "code": 413, "message": "OverLimit Please Retry...", "details": "only 10 POST requests to * per minute are allowed",
        "retryAfter": "2010-10-10T12:01:01Z" } });
    assert_json(&answer.json(), &expected);
    let answer = bed.post("/shared_ip_groups", "<sharedIpGroup name='g'/>").await;
    assert_xml(
        &answer.xml(),
        r#"<overLimit code="413" retryAfter="2010-10-10T12:01:01Z"><message>OverLimit Please Retry...</message>
           <details>only 10 POST requests to * per minute are allowed</details></overLimit>"#,
    );
    // Another verb has its own window, and windows survive a restart.
    assert_eq!(bed.delete("/shared_ip_groups/1").await.status, 204);
    bed.compute.stop().await;
    bed.reopen().await;
    assert_eq!(bed.post("/shared_ip_groups", "{}").await.status, 413);
    bed.clock.advance(Duration::from_secs(40));
    assert_eq!(bed.post("/shared_ip_groups", "{}").await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_have_a_limit_per_day() {
    let bed = TestBed::new().await;
    for sent in 0..25 {
        if sent % 10 == 0 {
            bed.clock.advance(Duration::from_secs(60));
        }
        assert_eq!(bed.post("/servers", "{}").await.status, 400, "{sent}");
    }
    bed.clock.advance(Duration::from_secs(60));
    let answer = bed.post("/servers", "{}").await;
    assert_eq!(answer.status, 413);
    let details = answer.json()["overLimit"]["details"].as_str().unwrap().to_owned();
    assert_eq!(details, "only 25 POST requests to */servers per day are allowed");
    // The rejected request did not count for the minute; other paths are not limited.
    assert_eq!(bed.post("/images", "{}").await.status, 400);
    let rates = bed.get("/limits").await.json();
    let remaining = |index: usize| rates["limits"]["rate"][index]["remaining"].as_i64().unwrap();
    assert_eq!((remaining(0), remaining(1)), (9, 0));
    assert_eq!(rates["limits"]["rate"][1]["resetTime"], NOON + 60 + 86_400);
    bed.clock.advance(Duration::from_secs(86_400));
    assert_eq!(bed.post("/servers", "{}").await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_gets_only_changes_since_is_limited() {
    let bed = TestBed::new().await;
    for _ in 0..20 {
        assert_eq!(bed.get("/servers/detail").await.status, 200);
    }
    for _ in 0..3 {
        assert_eq!(bed.get("/servers/detail?changes-since=1244012982").await.status, 304);
    }
    assert_eq!(bed.get("/images?changes-since=1244012982").await.status, 413);
    assert_eq!(bed.get("/images").await.status, 200);
}

/// Rate limits use the decoded path, as the router does: an encoded request counts the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn percent_encoding_does_not_evade_rate_limits() {
    let bed = TestBed::new().await;
    let since = format!("changes-since={NOON}");
    let polls = [
        ("GET", format!("/images?{since}")),
        ("HEAD", format!("/images?{since}")),
        ("GET", format!("/images?%63hanges%2Dsince={NOON}")),
    ];
    for (method, path) in &polls {
        assert_eq!(bed.call(method, path, &[], "").await.status, 200, "{method} {path}");
    }
    for (method, path) in &polls {
        assert_eq!(bed.call(method, path, &[], "").await.status, 413, "{method} {path}");
    }
    let json = [("content-type", "application/json")];
    for sent in 0..10 {
        let path = if sent % 2 == 0 { "//v1.0/%3345812/servers" } else { "//v1.0/345812/servers.json" };
        assert_eq!(bed.call("POST", path, &json, "{}").await.status, 400, "{sent}");
    }
    let rates = bed.get("/limits").await.json();
    let remaining = |index: usize| rates["limits"]["rate"][index]["remaining"].as_i64().unwrap();
    assert_eq!((remaining(0), remaining(1), remaining(3)), (0, 15, 0));
    let late = bed.call("POST", "//v1.0/%334581%32/servers", &json, "{}").await;
    assert_eq!(late.status, 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_can_set_an_accounts_limits() {
    let bed = TestBed::new().await;
    bed.compute.set_limit("345812", "post", Some(2)).await.unwrap();
    bed.compute.set_limit("345812", "ram-mib", Some(1024)).await.unwrap();
    assert!(bed.compute.set_limit("345812", "moon", Some(2)).await.is_err());
    let (server, _) = bed.active("one", 2).await;
    let launch =
        |flavor: i64| format!(r#"{{"server": {{"name": "x", "imageId": 1, "flavorId": {flavor}}}}}"#);
    let answer = bed.post("/servers", &launch(3)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.header("retry-after"), "");
    let fault = answer.json();
    assert!(fault["overLimit"]["message"].as_str().unwrap().contains("512 of 1024 MB RAM"), "{fault}");
    assert_eq!(fault["overLimit"].get("retryAfter"), None);
    let answer = bed.post("/servers", &launch(1)).await;
    assert_eq!(answer.header("retry-after"), "60");
    bed.compute.set_limit("345812", "post", None).await.unwrap();
    // A resize counts the additional memory; a deletion frees it at once.
    let action = format!("/servers/{server}/action");
    assert_eq!(bed.post(&action, r#"{"resize": {"flavorId": 4}}"#).await.status, 413);
    assert_eq!(bed.post(&action, r#"{"resize": {"flavorId": 3}}"#).await.status, 202);
    bed.until(server, "VERIFY_RESIZE").await;
    assert_eq!(bed.post("/servers", &launch(1)).await.status, 413);
    assert_eq!(bed.post(&action, r#"{"revertResize": null}"#).await.status, 202);
    bed.until(server, "ACTIVE").await;
    assert_eq!(bed.post("/servers", &launch(2)).await.status, 202);
    assert_eq!(bed.delete(&format!("/servers/{server}")).await.status, 202);
    assert_eq!(bed.post("/servers", &launch(2)).await.status, 202);
    assert_eq!(bed.get("/limits").await.json()["limits"]["absolute"]["maxTotalRAMSize"], 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_and_their_members_are_limited() {
    let bed = TestBed::unlimited().await;
    for _ in 0..25 {
        assert_eq!(bed.post("/shared_ip_groups", r#"{"sharedIpGroup": {"name": "g"}}"#).await.status, 201);
    }
    let answer = bed.post("/shared_ip_groups", r#"{"sharedIpGroup": {"name": "g"}}"#).await;
    assert_eq!(answer.status, 413);
    assert!(answer.json()["overLimit"]["message"].as_str().unwrap().contains("25 shared IP groups"));
    bed.compute.set_limit("345812", "ip-group-members", Some(1)).await.unwrap();
    let launch = r#"{"server": {"name": "x", "imageId": 1, "flavorId": 1, "sharedIpGroupId": 3}}"#;
    assert_eq!(bed.post("/servers", launch).await.status, 202);
    let answer = bed.post("/servers", launch).await;
    assert_eq!(answer.status, 413);
    assert!(answer.json()["overLimit"]["message"].as_str().unwrap().contains("at most 1 member"));
    assert_eq!(bed.get("/servers").await.json()["servers"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_limits_can_be_disabled() {
    let bed =
        TestBed::with(HostSettings::default(), Settings { rate_limits: false, ..Settings::default() }).await;
    for _ in 0..30 {
        assert_eq!(bed.post("/servers", "{}").await.status, 400);
    }
}

on_each_engine! {
    async fn limits_schedules_groups_and_polls_work_on_each_engine(location: &Location) {
        let bed = TestBed::at(location, HostSettings::default(), Settings::default()).await;
        let (server, machine) = bed.active("one", 1).await;
        let schedule = r#"{"backupSchedule": {"enabled": true, "weekly": "FRIDAY", "daily": "H_2200_0000"}}"#;
        let path = format!("/servers/{server}/backup_schedule");
        assert_eq!(bed.post(&path, schedule).await.status, 204);
        assert_json(&bed.get(&path).await.json(), &serde_json::from_str(schedule).unwrap());
        let group = format!(r#"{{"sharedIpGroup": {{"name": "g", "server": {server}}}}}"#);
        assert_eq!(bed.post("/shared_ip_groups", &group).await.status, 201);
        let launch = r#"{"server": {"name": "two", "imageId": 1, "flavorId": 1, "sharedIpGroupId": 1}}"#;
        assert_eq!(bed.post("/servers", launch).await.status, 202);
        bed.until(2, "ACTIVE").await;
        let shared = bed.get(&format!("/servers/{server}/ips/public")).await.json()["public"][0].clone();
        let share = format!("/servers/2/ips/public/{}", shared.as_str().unwrap());
        assert_eq!(bed.put(&share, r#"{"shareIp": {"sharedIpGroupId": 1}}"#).await.status, 202);
        bed.until(2, "ACTIVE").await;
        assert_eq!(bed.get("/servers/2/ips/public").await.json()["public"][1], shared);
        assert_eq!(bed.delete(&share).await.status, 202);
        bed.until(2, "ACTIVE").await;
        assert_eq!(bed.get("/shared_ip_groups/detail").await.json()["sharedIpGroups"][0]["servers"], json!([1, 2]));
        for left in (0..6).rev() {
            assert_eq!(bed.post("/servers", "{}").await.status, 400);
            let rates = bed.get("/limits").await.json();
            assert_eq!(rates["limits"]["rate"][0]["remaining"], left);
        }
        assert_eq!(bed.post("/servers", "{}").await.status, 413);
        bed.compute.set_limit("345812", "post", Some(11)).await.unwrap();
        assert_eq!(bed.post("/servers", "{}").await.status, 400);
        assert_eq!(bed.post("/servers", "{}").await.status, 413);
        bed.clock.advance(Duration::from_secs(100));
        let since = format!("/servers?changes-since={}", NOON + 50);
        assert_eq!(bed.get(&since).await.status, 304);
        assert_eq!(bed.put("/servers/2", r#"{"server": {"name": "renamed", "adminPass": "s3cret"}}"#).await.status, 202);
        bed.until(2, "ACTIVE").await;
        assert_json(&bed.get(&since).await.json(), &json!({ "servers": [{ "id": 2, "name": "renamed" }] }));
        assert_eq!(bed.delete("/shared_ip_groups/1").await.status, 204);
        assert_json(&bed.get("/shared_ip_groups").await.json(), &json!({ "sharedIpGroups": [] }));
        for number in [server, 2] {
            assert_eq!(bed.delete(&format!("/servers/{number}")).await.status, 202);
            bed.until(number, "gone").await;
        }
        assert!(bed.networks().ports(machine).await.unwrap().is_empty());
        bed.assert_clean().await;
    }
}
