//! Pagination and `changes-since`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{NOON, TestBed, assert_json};

fn ids(list: &Value, name: &str) -> Vec<i64> {
    list[name].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_pages() {
    let bed = TestBed::unlimited().await;
    for _ in 0..5 {
        bed.active("s", 1).await;
    }
    let page = async |query: &str| ids(&bed.get(&format!("/servers{query}")).await.json(), "servers");
    assert_eq!(page("?limit=2").await, [1, 2]);
    assert_eq!(page("?limit=2&offset=3").await, [4, 5]);
    assert_eq!(page("?offset=5").await, [0i64; 0]);
    assert_eq!(page("?limit=0&offset=0").await, [1, 2, 3, 4, 5]);
    assert_eq!(page("/detail?limit=5000").await, [1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_since_lists_only_changed_servers() {
    let bed = TestBed::unlimited().await;
    let (first, _) = bed.active("one", 1).await;
    let (second, _) = bed.active("two", 1).await;
    bed.clock.advance(Duration::from_secs(100));
    let since = format!("/servers/detail?changes-since={}", NOON + 50);
    let unchanged = bed.get(&since).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.as_str()), (304, ""));
    bed.put(&format!("/servers/{second}"), r#"{"server": {"name": "renamed"}}"#).await;
    let changed = bed.get(&since).await.json();
    assert_eq!(ids(&changed, "servers"), [second]);
    assert_eq!(changed["servers"][0]["name"], "renamed");
    // Only this list shows deleted ones.
    bed.delete(&format!("/servers/{first}")).await;
    bed.until(first, "gone").await;
    let changed = bed.get(&since).await.json();
    assert_eq!(ids(&changed, "servers"), [first, second]);
    assert_eq!(changed["servers"][0]["status"], "DELETED");
    assert_eq!(ids(&bed.get("/servers").await.json(), "servers"), [second]);
    // The short list leaves out deleted servers (guide, List Servers: "not included in this list").
    let dated = bed.get("/servers?changes-since=2010-10-10T12:00:50Z").await.json();
    assert_eq!(ids(&dated, "servers"), [second]);
    let one = format!("/servers/{second}?changes-since=");
    assert_eq!(bed.get(&format!("{one}{}", NOON + 100)).await.status, 200);
    assert_eq!(bed.get(&format!("{one}{}", NOON + 101)).await.status, 304);
    for path in ["/images", "/flavors", "/shared_ip_groups"] {
        assert_eq!(bed.get(&format!("{path}?changes-since={}", NOON + 50)).await.status, 304, "{path}");
    }
    assert_json(
        &bed.get("/images?changes-since=0").await.json(),
        &json!({ "images": [{ "id": 1, "name": "Simulated" }] }),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_304_is_returned_only_if_nothing_changed() {
    let bed = TestBed::unlimited().await;
    let (server, _) = bed.active("one", 1).await;
    let path = format!("/servers/{server}");
    let get =
        async |path: &str, since: &str| bed.call("GET", path, &[("if-modified-since", since)], "").await;
    for path in [path.as_str(), "/servers", "/servers/detail"] {
        // In the second of the change another change may follow.
        let stamp = bed.get(path).await.header("last-modified").to_owned();
        assert_eq!(stamp, web::conditional::http_date(bed.clock.now().seconds()));
        assert_eq!(get(path, &stamp).await.status, 200);
        bed.clock.advance(Duration::from_secs(5));
        let stamp = bed.get(path).await.header("last-modified").to_owned();
        let again = get(path, &stamp).await;
        assert_eq!((again.status.as_u16(), again.body.as_str()), (304, ""));
        assert_eq!(again.header("last-modified"), stamp);
        assert_eq!(
            bed.put(&format!("/servers/{server}"), r#"{"server": {"name": "two"}}"#).await.status,
            202
        );
        assert_eq!(get(path, &stamp).await.status, 200);
    }
    bed.clock.advance(Duration::from_secs(5));
    let stamp = bed.get("/servers").await.header("last-modified").to_owned();
    assert_eq!(get("/servers", &stamp).await.status, 304);
    bed.delete(&path).await;
    assert_eq!(get("/servers", &stamp).await.status, 200);
}

/// A deletion is a change. A list without statuses must not show a deleted object as existing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_are_shown_only_in_detailed_lists() {
    let bed = TestBed::unlimited().await;
    let (server, _) = bed.active("one", 1).await;
    let image = format!(r#"{{"image": {{"serverId": {server}, "name": "i"}}}}"#);
    assert_eq!(bed.post("/images", &image).await.status, 202);
    bed.eventually("the image is ACTIVE", || async {
        bed.get("/images/2").await.json()["image"]["status"] == "ACTIVE"
    })
    .await;
    assert_eq!(bed.post("/shared_ip_groups", r#"{"sharedIpGroup": {"name": "g"}}"#).await.status, 201);
    bed.until(server, "ACTIVE").await;
    bed.clock.advance(Duration::from_secs(100));
    let since = format!("changes-since={}", NOON + 50);
    let lists = [
        ("/servers", "servers"),
        ("/servers/detail", "servers"),
        ("/images", "images"),
        ("/images/detail", "images"),
        ("/shared_ip_groups", "sharedIpGroups"),
        ("/shared_ip_groups/detail", "sharedIpGroups"),
    ];
    for (path, _) in lists {
        assert_eq!(bed.get(&format!("{path}?{since}")).await.status, 304, "{path}");
    }
    assert_eq!(bed.delete("/images/2").await.status, 204);
    assert_eq!(bed.delete("/shared_ip_groups/1").await.status, 204);
    bed.eventually("the server is deleted", || async {
        bed.delete(&format!("/servers/{server}")).await.status != 409
    })
    .await;
    bed.until(server, "gone").await;
    for (path, name) in lists {
        for extension in ["json", "xml"] {
            let answer = bed.get(&format!("{path}.{extension}?{since}")).await;
            assert_eq!(answer.status, 200, "{path}.{extension}");
            let statuses: Vec<String> = if extension == "json" {
                let list = answer.json()[name].as_array().unwrap().clone();
                list.iter().map(|item| item["status"].as_str().unwrap_or_default().to_owned()).collect()
            } else {
                let status =
                    |item: &web::xml::Element| item.attribute("status").unwrap_or_default().to_owned();
                answer.xml().children.iter().map(status).collect()
            };
            let shows = matches!(path, "/servers/detail" | "/images/detail");
            assert_eq!(statuses, vec!["DELETED"; usize::from(shows)], "{path}.{extension}");
        }
    }
}

/// A page after the end of a list is empty; it is neither a 304 nor an error (guide, Paginated Collections).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_after_the_end_of_the_changes_is_empty() {
    let bed = TestBed::unlimited().await;
    bed.active("one", 1).await;
    assert_eq!(bed.post("/shared_ip_groups", r#"{"sharedIpGroup": {"name": "g"}}"#).await.status, 201);
    for (path, name) in [
        ("/servers", "servers"),
        ("/servers/detail", "servers"),
        ("/images", "images"),
        ("/images/detail", "images"),
        ("/flavors", "flavors"),
        ("/flavors/detail", "flavors"),
        ("/shared_ip_groups", "sharedIpGroups"),
        ("/shared_ip_groups/detail", "sharedIpGroups"),
    ] {
        let answer = bed.get(&format!("{path}?changes-since=0&offset=9999")).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_json(&answer.json(), &json!({ name: [] }));
        let answer = bed.get(&format!("{path}.xml?changes-since=0&offset=9999")).await;
        assert_eq!((answer.status.as_u16(), answer.xml().children.len()), (200, 0), "{path}");
        let answer = bed.get(&format!("{path}?changes-since={}&offset=9999", NOON + 1)).await;
        assert_eq!(answer.status, 304, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_since_works_on_every_list() {
    let bed = TestBed::unlimited().await;
    let (server, _) = bed.active("one", 1).await;
    let group = format!(r#"{{"sharedIpGroup": {{"name": "g", "server": {server}}}}}"#);
    assert_eq!(bed.post("/shared_ip_groups", &group).await.status, 201);
    bed.clock.advance(Duration::from_secs(5));
    let ips = format!("/servers/{server}/ips");
    for (path, timed) in [
        ("/flavors/1".to_owned(), true),
        ("/images/1".to_owned(), true),
        (format!("/servers/{server}"), true),
        (ips.clone(), true),
        (format!("{ips}/public"), true),
        (format!("{ips}/private"), true),
        (format!("/servers/{server}/backup_schedule"), true),
        ("/shared_ip_groups/1".to_owned(), true),
        ("/limits".to_owned(), false),
    ] {
        for (since, status) in
            [("soon", 400), ("", 400), ("0", 200), ("1286712001", if timed { 304 } else { 200 })]
        {
            let answer = bed.get(&format!("{path}?changes-since={since}")).await;
            assert_eq!(answer.status.as_u16(), status, "{path} since {since:?}: {}", answer.body);
        }
    }
    let schedule = r#"{"backupSchedule": {"enabled": true, "daily": "H_1400_1600"}}"#;
    assert_eq!(bed.post(&format!("/servers/{server}/backup_schedule"), schedule).await.status, 204);
    assert_eq!(
        bed.get(&format!("/servers/{server}/backup_schedule?changes-since=1286712001")).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_modified_since_accepts_all_http_date_formats() {
    let bed = TestBed::unlimited().await;
    bed.active("one", 1).await;
    bed.clock.advance(Duration::from_secs(5));
    let get =
        async |since: &str| bed.call("GET", "/servers", &[("if-modified-since", since)], "").await.status;
    for (since, status) in [
        ("Sun, 10 Oct 2010 12:00:01 GMT", 304),
        ("Sunday, 10-Oct-10 12:00:01 GMT", 304),
        ("Sun Oct 10 12:00:01 2010", 304),
        ("Sun Oct 10 12:00:00 2010", 200),
        // In the future.
        ("Sun, 10 Oct 2010 12:00:06 GMT", 200),
    ] {
        assert_eq!(get(since).await.as_u16(), status, "{since}");
    }
}
