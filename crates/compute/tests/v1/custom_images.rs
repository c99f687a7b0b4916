//! Custom image upload (guide, Roadmap): an object is registered as an image, from which servers are created.

use std::time::Duration;

use compute::Settings;
use database::on_each_engine;
use hypervisor::simulated::Settings as HostSettings;
use serde_json::json;

use crate::bed::{NAMESPACE, TENANT, TestBed, assert_json, assert_xml};

on_each_engine! {
    async fn an_object_becomes_an_image_and_a_server(location: &Location) {
        let settings = Settings { rate_limits: false, ..Settings::default() };
        let bed = TestBed::at(location, HostSettings::default(), settings).await;
        std::fs::write(bed.object(TENANT, "disks", "mine.raw"), vec![7; 4096]).unwrap();
        let request = r#"{"image": {"name": "Mine", "source": "disks/mine.raw", "format": "raw"}}"#;
        let closed = bed.vault.write().await;
        let answer = bed.post("/images", request).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let queued = json!({ "id": 2, "name": "Mine", "created": "2010-10-10T12:00:00Z", "updated": "*",
                             "status": "QUEUED", "progress": 0 });
        assert_json(&answer.json(), &json!({ "image": queued }));
        bed.eventually("it is prepared", || async {
            bed.get("/images/2").await.json()["image"]["status"] == "PREPARING"
        })
        .await;
        // No image exists yet.
        let server = r#"{"server": {"name": "s", "imageId": 2, "flavorId": 1}}"#;
        let early = bed.post("/servers", server).await;
        assert_eq!((early.status.as_u16(), early.body.contains("PREPARING")), (400, true), "{}", early.body);
        assert_eq!(bed.delete("/images/2").await.status, 409);
        drop(closed);
        let image = bed.finished_image(2).await;
        assert_json(&image, &json!({ "id": 2, "name": "Mine", "created": "*", "updated": "*", "status": "ACTIVE" }));
        let server = bed.post("/servers", server).await;
        assert_eq!(server.status, 202, "{}", server.body);
        bed.until(server.json()["server"]["id"].as_i64().unwrap(), "ACTIVE").await;

        // In XML the values are attributes. An image of the same name replaces the first.
        let request = format!(r#"<image xmlns="{NAMESPACE}" name="Mine" source="disks/mine.raw" format="raw"/>"#);
        let answer = bed.post("/images", &request).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert_xml(&answer.xml(), r#"<image id="3" name="Mine" created="*" updated="*" status="QUEUED" progress="0"/>"#);
        bed.finished_image(3).await;
        assert_eq!(bed.get("/images/2").await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_registration_shows_its_reason_and_leaves_nothing() {
    let bed = TestBed::unlimited().await;
    let kept = bed.remaining_files();
    std::fs::write(bed.object(TENANT, "disks", "plain"), vec![0; 1024]).unwrap();
    std::fs::File::create(bed.object(TENANT, "disks", "vast")).unwrap().set_len(1 << 21).unwrap();
    let answer =
        bed.post("/images", r#"{"image": {"name": "x", "source": "disks/plain", "format": "qcow2"}}"#).await;
    assert_eq!(answer.status, 202);
    let failed = bed.finished_image(2).await;
    assert_json(
        &failed,
        &json!({ "id": 2, "name": "x", "created": "*", "updated": "*", "status": "FAILED",
                 "reason": "the image was rejected: it is not a qcow2" }),
    );
    let xml = bed.get_xml("/images/2").await.xml();
    assert_eq!(xml.attribute("reason"), Some("the image was rejected: it is not a qcow2"));
    assert_eq!(
        bed.post("/servers", r#"{"server": {"name": "s", "imageId": 2, "flavorId": 1}}"#).await.status,
        400
    );
    assert_eq!(bed.delete("/images/2").await.status, 204);
    bed.eventually("nothing is left", || async { bed.remaining_files() == kept }).await;

    let long = "x".repeat(300);
    for (fields, status, element, said) in [
        (r#""source": "disks/none", "format": "raw""#, 404, "itemNotFound", "object"),
        (r#""source": "none/plain", "format": "raw""#, 404, "itemNotFound", "object"),
        (r#""source": "disks", "format": "raw""#, 400, "badRequest", "source"),
        (r#""source": "/plain", "format": "raw""#, 400, "badRequest", "source"),
        (r#""source": "disks/", "format": "raw""#, 400, "badRequest", "source"),
        (r#""source": ["disks/plain"], "format": "raw""#, 400, "badRequest", "source"),
        (r#""source": "disks/plain", "format": "vmdk""#, 400, "badRequest", "format"),
        (r#""source": "disks/plain", "format": "RAW""#, 400, "badRequest", "format"),
        (r#""source": "disks/plain""#, 400, "badRequest", "format"),
        (r#""format": "raw""#, 400, "badRequest", "source"),
        (r#""serverId": 1, "source": "disks/plain", "format": "raw""#, 400, "badRequest", "serverId"),
        (r#""serverId": 1, "format": "raw""#, 400, "badRequest", "format"),
    ] {
        let request = format!(r#"{{"image": {{"name": "x", {fields}}}}}"#);
        let answer = bed.post("/images", &request).await;
        let fault = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &fault[element]["code"]),
            (status, &json!(status)),
            "{fields}: {fault}"
        );
        assert!(fault[element]["message"].as_str().unwrap().contains(said), "{fields}: {fault}");
    }
    for name in ["", " ", "a\\u0000b", long.as_str()] {
        let request =
            format!(r#"{{"image": {{"name": "{name}", "source": "disks/plain", "format": "raw"}}}}"#);
        let answer = bed.post("/images", &request).await;
        assert_eq!((answer.status.as_u16(), answer.body.contains("name")), (400, true), "{}", answer.body);
    }
    // Objects of another account count as absent.
    std::fs::write(bed.object("200000", "disks", "theirs"), vec![0; 1024]).unwrap();
    let theirs =
        bed.post("/images", r#"{"image": {"name": "x", "source": "disks/theirs", "format": "raw"}}"#).await;
    assert_eq!(theirs.status, 404);
    let up = bed
        .post("/images", r#"{"image": {"name": "x", "source": "../200000/disks/theirs", "format": "raw"}}"#);
    assert_eq!(up.await.status, 404);
    assert_eq!(
        (bed.remaining_files(), bed.get("/images").await.json()["images"].as_array().unwrap().len()),
        (kept, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_apply_to_registered_images() {
    let bed = TestBed::unlimited().await;
    // The test bed accepts disks of up to 1 TiB.
    std::fs::File::create(bed.object(TENANT, "disks", "plain")).unwrap().set_len(512).unwrap();
    let request = r#"{"image": {"name": "x", "source": "disks/plain", "format": "raw"}}"#;
    let closed = bed.vault.write().await;
    for _ in 0..10 {
        assert_eq!(bed.post("/images", request).await.status, 202);
    }
    let over = bed.post("/images", request).await;
    assert_eq!(
        (over.status.as_u16(), &over.json()["overLimit"]["code"]),
        (413, &json!(413)),
        "{}",
        over.body
    );
    drop(closed);
    bed.finished_image(11).await;

    let bed = TestBed::new().await;
    for n in 0..10 {
        assert_eq!(bed.post("/images", request).await.status, 404, "{n}");
    }
    let limited = bed.post("/images", request).await;
    assert_eq!((limited.status.as_u16(), limited.header("retry-after")), (413, "60"), "{}", limited.body);
    bed.clock.advance(Duration::from_secs(60));
    assert_eq!(bed.post("/images", request).await.status, 404);
}

/// A server created from an object discloses it, so registration needs the right to read the tenant's objects.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registering_an_object_needs_the_right_to_read_it() {
    let bed = TestBed::unlimited().await;
    std::fs::write(bed.object(TENANT, "disks", "plain"), vec![0; 1024]).unwrap();
    let request = r#"{"image": {"name": "x", "source": "disks/plain", "format": "raw"}}"#;
    for (token, status) in [("servers", 403), ("observer", 403), ("creator", 202), ("jdoe", 202)] {
        let headers = [("x-auth-token", token), ("content-type", "application/json")];
        let answer = bed.call("POST", "/images", &headers, request).await;
        assert_eq!(answer.status.as_u16(), status, "{token}: {}", answer.body);
    }
    bed.finished_image(3).await;
}
