//! Image sharing (guide, Roadmap): public, or with single tenants, which may list the image and create servers from it.

use std::time::Duration;

use compute::Settings;
use database::on_each_engine;
use hypervisor::simulated::Settings as HostSettings;
use serde_json::{Value, json};

use crate::bed::{NAMESPACE, NOON, TENANT, TestBed, TestResponse, assert_json, assert_xml};

const FRIEND: &str = "200000";
const STRANGER: &str = "300000";

fn ids(answer: &Value) -> Vec<i64> {
    answer["images"].as_array().unwrap().iter().map(|image| image["id"].as_i64().unwrap()).collect()
}

async fn seen(bed: &TestBed, tenant: &str) -> Vec<i64> {
    ids(&bed.call_as(tenant, "GET", "/images", "").await.json())
}

on_each_engine! {
    async fn an_image_is_public_or_shared_with_single_tenants(location: &Location) {
        let settings = Settings { rate_limits: false, ..Settings::default() };
        let bed = TestBed::at(location, HostSettings::default(), settings).await;
        let image = bed.uploaded("gold").await;
        let access = format!("/images/{image}/access");
        let group = async |public: bool, tenants: &[&str]| {
            let answer = bed.get(&access).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert_json(&answer.json(), &json!({ "access": { "public": public, "tenants": tenants } }));
            let each: String = tenants.iter().map(|id| format!(r#"<tenant id="{id}"/>"#)).collect();
            assert_xml(&bed.get_xml(&access).await.xml(), &format!(r#"<access public="{public}">{each}</access>"#));
        };
        group(false, &[]).await;
        assert_eq!((seen(&bed, FRIEND).await, seen(&bed, STRANGER).await), (vec![1], vec![1]));
        for _ in 0..2 {
            let answer = bed.put(&format!("{access}/{FRIEND}"), "").await;
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (204, ""));
        }
        group(false, &[FRIEND]).await;
        assert_eq!((seen(&bed, FRIEND).await, seen(&bed, STRANGER).await), (vec![1, image], vec![1]));
        for body in [r#"{"image": {"public": true}}"#.to_owned(), format!(r#"<image xmlns="{NAMESPACE}" public="true"/>"#)] {
            let answer = bed.put(&format!("/images/{image}"), &body).await;
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (204, ""));
        }
        group(true, &[FRIEND]).await;
        assert_eq!(seen(&bed, STRANGER).await, [1, image]);
        assert_eq!(bed.put(&format!("/images/{image}"), r#"{"image": {"public": false}}"#).await.status, 204);
        group(false, &[FRIEND]).await;
        assert_eq!((seen(&bed, FRIEND).await, seen(&bed, STRANGER).await), (vec![1, image], vec![1]));
        for _ in 0..2 {
            assert_eq!(bed.delete(&format!("{access}/{FRIEND}")).await.status, 204);
        }
        group(false, &[]).await;
        assert_eq!(seen(&bed, FRIEND).await, [1]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mistake_has_its_fault() {
    let bed = TestBed::unlimited().await;
    let image = bed.uploaded("gold").await;
    let own = format!("/images/{image}");
    let to = |tenant: &str| format!("{own}/access/{tenant}");
    for (method, path, body, status, element, said) in [
        ("PUT", own.clone(), r#"{"image": {}}"#, 400, "badRequest", "public"),
        ("PUT", own.clone(), r#"{"image": {"public": "maybe"}}"#, 400, "badRequest", "public"),
        ("PUT", own.clone(), r#"{"server": {"public": true}}"#, 400, "badRequest", "image"),
        ("PUT", "/images/x".into(), r#"{"image": {"public": true}}"#, 404, "itemNotFound", "image"),
        ("PUT", "/images/99".into(), r#"{"image": {"public": true}}"#, 404, "itemNotFound", "image"),
        (
            "PUT",
            "/images/1".into(),
            r#"{"image": {"public": false}}"#,
            403,
            "cloudServersFault",
            "belongs to the cloud",
        ),
        ("GET", "/images/99/access".into(), "", 404, "itemNotFound", "image"),
        ("GET", "/images/1/access".into(), "", 403, "cloudServersFault", "belongs to the cloud"),
        ("POST", format!("{own}/access"), "{}", 405, "badMethod", "POST"),
        ("PUT", to("*"), "", 400, "badRequest", "tenant"),
        ("PUT", to(TENANT), "", 400, "badRequest", "owner"),
        ("PUT", "/images/99/access/200000".into(), "", 404, "itemNotFound", "image"),
        ("PUT", "/images/1/access/nobody".into(), "", 403, "cloudServersFault", "belongs to the cloud"),
        ("DELETE", "/images/1/access/200000".into(), "", 403, "cloudServersFault", "belongs to the cloud"),
        ("DELETE", "/images/99/access/200000".into(), "", 404, "itemNotFound", "image"),
    ] {
        for format in ["application/json", "application/xml"] {
            let headers = [("content-type", "application/json"), ("accept", format)];
            let answer = bed.call(method, &path, &headers, body).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.body);
            let message = if format == "application/json" {
                answer.json()[element]["message"].as_str().unwrap_or_default().to_owned()
            } else {
                assert_eq!(answer.xml().name, element);
                answer.xml().find("message").unwrap().text.clone()
            };
            assert!(message.contains(said), "{method} {path}: {message}");
        }
    }
    assert_eq!(bed.call("PUT", &own, &[], r#"{"image": {"public": true}}"#).await.status, 415);
    // Neither the response nor the list reveals which tenants exist.
    for tenant in [FRIEND, "nobody"] {
        assert_eq!(bed.put(&to(tenant), "").await.status, 204);
        assert_json(&bed.get(&format!("{own}/access")).await.json()["access"]["tenants"], &json!([tenant]));
        assert_eq!(bed.delete(&to(tenant)).await.status, 204);
    }
    for n in 0..100 {
        assert_eq!(bed.put(&to(&format!("4{n:05}")), "").await.status, 204);
    }
    let over = bed.put(&to(FRIEND), "").await;
    assert_eq!(
        (over.status.as_u16(), &over.json()["overLimit"]["code"]),
        (413, &json!(413)),
        "{}",
        over.body
    );
    assert_json(&bed.get(&format!("{own}/access")).await.json()["access"]["public"], &json!(false));
}

/// Each route as the owner, the owner's observer, a member, another tenant, and without a token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_owner_can_share() {
    let bed = TestBed::unlimited().await;
    let image = bed.uploaded("gold").await;
    let own = format!("/images/{image}");
    assert_eq!(bed.put(&format!("{own}/access/{FRIEND}"), "").await.status, 204);
    let public = r#"{"image": {"public": false}}"#;
    let other = format!("{own}/access/400000");
    let shared = format!("{own}/access");
    let table = [
        ("GET", own.clone(), "", [200, 200, 200, 404, 401]),
        ("PUT", own.clone(), public, [204, 403, 403, 404, 401]),
        ("GET", shared, "", [200, 200, 403, 404, 401]),
        ("PUT", other.clone(), "", [204, 403, 403, 404, 401]),
        ("DELETE", other, "", [204, 403, 403, 404, 401]),
        ("DELETE", own.clone(), "", [0, 403, 403, 404, 401]),
    ];
    let owner = format!("jdoe@{TENANT}");
    let observer = format!("observer@{TENANT}");
    // A creator must not change what all tenants see.
    let headers = [("x-auth-token", "creator"), ("content-type", "application/json")];
    for public in [public, r#"{"image": {"public": true}}"#] {
        assert_eq!(bed.call("PUT", &own, &headers, public).await.status, 403);
    }
    let callers = [
        (owner.as_str(), TENANT),
        (observer.as_str(), TENANT),
        ("jdoe@200000", FRIEND),
        ("jdoe@300000", STRANGER),
        ("nobody", TENANT),
    ];
    for (method, path, body, expected) in &table {
        for ((token, tenant), status) in callers.iter().zip(expected) {
            if *status == 0 {
                continue;
            }
            let headers = [("x-auth-token", *token), ("content-type", "application/json")];
            let answer = bed.call(method, &format!("//v1.0/{tenant}{path}"), &headers, body).await;
            assert_eq!(answer.status.as_u16(), *status, "{method} {path} as {token}: {}", answer.body);
        }
    }
    // Sharing gives no access to another account.
    let headers = [("x-auth-token", "jdoe@200000"), ("content-type", "application/json")];
    assert_eq!(bed.call("PUT", &own, &headers, public).await.status, 403);
    // A member's image of the same name replaces only the member's own images.
    std::fs::write(bed.object(FRIEND, "disks", "gold"), vec![0; 512]).unwrap();
    let request = r#"{"image": {"name": "gold", "source": "disks/gold", "format": "raw"}}"#;
    for _ in 0..2 {
        assert_eq!(bed.call_as(FRIEND, "POST", "/images", request).await.status, 202);
        bed.eventually("no image is in flight", || async {
            bed.images().in_flight().await.unwrap().is_empty()
        })
        .await;
    }
    assert_eq!(seen(&bed, FRIEND).await, [1, image, image + 2]);
    assert_eq!(bed.delete(&own).await.status, 204);
    assert_eq!(seen(&bed, FRIEND).await, [1, image + 2]);
}

on_each_engine! {
    async fn granting_and_revoking_access_changes_lists_and_304s(location: &Location) {
        let settings = Settings { rate_limits: false, ..Settings::default() };
        let bed = TestBed::at(location, HostSettings::default(), settings).await;
        let (server, _) = bed.active("origin", 1).await;
        assert_eq!(bed.post("/images", &format!(r#"{{"image": {{"serverId": {server}, "name": "gold"}}}}"#)).await.status, 202);
        assert_eq!(bed.finished_image(2).await["serverId"], server);
        // Checks the conditional request, the time of the change, and `changes-since`.
        let copy = async || {
            bed.clock.advance(Duration::from_secs(5));
            let stamp = bed.call_as(FRIEND, "GET", "/images/detail", "").await.header("last-modified").to_owned();
            (stamp, bed.clock.now().seconds())
        };
        let again = async |stamp: &str| {
            let headers = [("x-auth-token", "jdoe@200000"), ("if-modified-since", stamp)];
            bed.call("GET", "//v1.0/200000/images/detail", &headers, "").await
        };
        let since = async |then: i64| {
            bed.call_as(FRIEND, "GET", &format!("/images/detail?changes-since={then}"), "").await
        };
        let (stamp, then) = copy().await;
        assert_eq!((again(&stamp).await.status.as_u16(), since(then).await.status.as_u16()), (304, 304));
        for (give, path, body) in [
            ("PUT", "/images/2/access/200000", ""),
            ("PUT", "/images/2", r#"{"image": {"public": true}}"#),
        ] {
            let (stamp, then) = copy().await;
            assert_eq!(again(&stamp).await.status, 304);
            assert_eq!(bed.call(give, path, &[("content-type", "application/json")], body).await.status, 204);
            let list = again(&stamp).await;
            assert_eq!((list.status.as_u16(), ids(&list.json())), (200, vec![1, 2]), "{path}");
            let changed = since(then).await.json();
            assert_eq!(ids(&changed), [2]);
            // Other tenants do not see the server that it was created from.
            let expected = json!({ "id": 2, "name": "gold", "status": "ACTIVE", "created": "*", "updated": "*", "owner": TENANT });
            assert_json(&changed["images"][0], &expected);
            let one = bed.call_as(FRIEND, "GET", "/images/2", "").await;
            assert_json(&one.json()["image"], &expected);
            let headers = [("x-auth-token", "jdoe@200000"), ("accept", "application/xml")];
            let one = bed.call("GET", "//v1.0/200000/images/2", &headers, "").await.xml();
            assert_eq!(one.attribute("owner"), Some(TENANT));
            assert_eq!(bed.get("/images/2").await.json()["image"]["owner"], Value::Null);
            assert_eq!(bed.call_as(FRIEND, "GET", "/images/1", "").await.json()["image"]["owner"], Value::Null);

            let (stamp, then) = copy().await;
            assert_eq!((again(&stamp).await.status.as_u16(), since(then).await.status.as_u16()), (304, 304));
            let taken = match body {
                "" => bed.delete(path).await,
                _ => bed.put(path, r#"{"image": {"public": false}}"#).await,
            };
            assert_eq!(taken.status, 204);
            let list = again(&stamp).await;
            assert_eq!((list.status.as_u16(), ids(&list.json())), (200, vec![1]), "{path}");
            let changed = since(then).await.json();
            assert_eq!((ids(&changed), &changed["images"][0]["status"]), (vec![2], &json!("DELETED")));
            assert_eq!(bed.call_as(FRIEND, "GET", "/images/2", "").await.status, 404);
        }
        assert_eq!(bed.get(&format!("/images?changes-since={}", NOON + 3)).await.status, 304, "the owner must see no change");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_members_survive_the_end_of_sharing() {
    let bed = TestBed::unlimited().await;
    let image = bed.uploaded("gold").await;
    let access = format!("/images/{image}/access/{FRIEND}");
    let build = format!(r#"{{"server": {{"name": "s", "imageId": {image}, "flavorId": 1}}}}"#);
    let act = async |action: &str| bed.call_as(FRIEND, "POST", "/servers/1/action", action).await;
    let until = async |wanted: &str| {
        bed.eventually(wanted, || async {
            bed.advance(Duration::from_millis(1)).await;
            bed.call_as(FRIEND, "GET", "/servers/1", "").await.json()["server"]["status"] == wanted
        })
        .await;
    };
    let refuses = |answer: TestResponse| {
        let said = (answer.status.as_u16(), answer.body.contains("names no image"));
        assert_eq!(said, (400, true), "{}", answer.body);
    };
    refuses(bed.call_as(FRIEND, "POST", "/servers", &build).await);
    assert_eq!(bed.put(&access, "").await.status, 204);
    assert_eq!(bed.call_as(FRIEND, "POST", "/servers", &build).await.status, 202);
    until("ACTIVE").await;
    assert_eq!(act(r#"{"rebuild": {}}"#).await.status, 202);
    until("ACTIVE").await;
    assert_eq!(act(r#"{"rebuild": {"imageId": 1}}"#).await.status, 202);
    until("ACTIVE").await;
    assert_eq!(act(&format!(r#"{{"rebuild": {{"imageId": {image}}}}}"#)).await.status, 202);
    until("ACTIVE").await;

    assert_eq!(bed.delete(&access).await.status, 204);
    refuses(bed.call_as(FRIEND, "POST", "/servers", &build).await);
    for rebuild in [r#"{"rebuild": {}}"#.to_owned(), format!(r#"{{"rebuild": {{"imageId": {image}}}}}"#)] {
        refuses(act(&rebuild).await);
    }
    assert_eq!(bed.call_as(FRIEND, "GET", "/servers/1", "").await.json()["server"]["imageId"], image);
    for (action, wanted) in [
        (r#"{"reboot": {"type": "HARD"}}"#, "ACTIVE"),
        (r#"{"resize": {"flavorId": 2}}"#, "VERIFY_RESIZE"),
        (r#"{"revertResize": null}"#, "ACTIVE"),
        (r#"{"resize": {"flavorId": 2}}"#, "VERIFY_RESIZE"),
    ] {
        assert_eq!(act(action).await.status, 202, "{action}");
        until(wanted).await;
    }
    assert_eq!(act(r#"{"confirmResize": null}"#).await.status, 204);
    until("ACTIVE").await;
    // An image of such a server belongs to the member.
    let snapshot = r#"{"image": {"serverId": 1, "name": "gold"}}"#;
    assert_eq!(bed.call_as(FRIEND, "POST", "/images", snapshot).await.status, 202);
    bed.eventually("it is made", || async { bed.images().in_flight().await.unwrap().is_empty() }).await;
    assert_eq!(seen(&bed, FRIEND).await, [1, image + 1]);
    assert_eq!(seen(&bed, TENANT).await, [1, image]);
    // A rebuild from another image works.
    until("ACTIVE").await;
    assert_eq!(act(r#"{"rebuild": {"imageId": 1}}"#).await.status, 202);
    until("ACTIVE").await;
}
