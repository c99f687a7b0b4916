//! Lists in pieces, and what changed since.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{Bed, NOON, assert_json};

fn ids(list: &Value, name: &str) -> Vec<i64> {
    list[name].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_pages() {
    let bed = Bed::unlimited().await;
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
async fn only_what_changed_is_told() {
    let bed = Bed::unlimited().await;
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
    // Deleted ones are told too, here alone.
    bed.delete(&format!("/servers/{first}")).await;
    bed.until(first, "gone").await;
    let changed = bed.get(&since).await.json();
    assert_eq!(ids(&changed, "servers"), [first, second]);
    assert_eq!(changed["servers"][0]["status"], "DELETED");
    assert_eq!(ids(&bed.get("/servers").await.json(), "servers"), [second]);
    let dated = bed.get("/servers?changes-since=2010-10-10T12:00:50Z").await.json();
    assert_eq!(ids(&dated, "servers"), [first, second]);
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
async fn a_copy_is_told_to_be_current_only_when_it_is() {
    let bed = Bed::unlimited().await;
    let (server, _) = bed.active("one", 1).await;
    let path = format!("/servers/{server}");
    let get =
        async |path: &str, since: &str| bed.call("GET", path, &[("if-modified-since", since)], "").await;
    for path in [path.as_str(), "/servers", "/servers/detail"] {
        // Within the second of the change nothing is certain.
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
