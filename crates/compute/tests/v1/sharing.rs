//! Shared IP groups and shared addresses: the guide's samples and their effect on hosts.

use http::StatusCode;
use hypervisor::faulty::Fault;
use serde_json::json;

use crate::bed::{NAMESPACE, TestBed, assert_json, assert_xml};
use crate::samples::sample;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_ip_groups() {
    let bed = TestBed::unlimited().await;
    let (first, _) = bed.active("one", 1).await;
    let request = format!(r#"{{"sharedIpGroup": {{"name": "Shared IP Group 1", "server": {first}}}}}"#);
    let answer = bed.post("/shared_ip_groups", &request).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let group = json!({ "id": 1, "name": "Shared IP Group 1", "servers": [first] });
    assert_json(&answer.json(), &json!({ "sharedIpGroup": group }));
    let (second, _) = bed.active("two", 1).await;
    let request = format!(
        r#"<sharedIpGroup xmlns="{NAMESPACE}" name="Shared IP Group 2"><server id="{second}"/></sharedIpGroup>"#
    );
    let answer = bed.post("/shared_ip_groups", &request).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let xml = |id: i64, server: i64| {
        format!(
            r#"<sharedIpGroup id="{id}" name="Shared IP Group {id}"><servers><server id="{server}"/></servers></sharedIpGroup>"#
        )
    };
    assert_xml(&answer.xml(), &xml(2, second));
    sample(&bed, ("GET", "/shared_ip_groups/1"), 200, json!({ "sharedIpGroup": group }), &xml(1, first))
        .await;
    let other = json!({ "id": 2, "name": "Shared IP Group 2", "servers": [second] });
    let both = format!("<sharedIpGroups>{}{}</sharedIpGroups>", xml(1, first), xml(2, second));
    sample(
        &bed,
        ("GET", "/shared_ip_groups/detail"),
        200,
        json!({ "sharedIpGroups": [group, other] }),
        &both,
    )
    .await;
    let brief = json!({ "sharedIpGroups": [{ "id": 1, "name": "Shared IP Group 1" }, { "id": 2, "name": "Shared IP Group 2" }] });
    let xml = r#"<sharedIpGroups><sharedIpGroup id="1" name="Shared IP Group 1"/><sharedIpGroup id="2" name="Shared IP Group 2"/></sharedIpGroups>"#;
    sample(&bed, ("GET", "/shared_ip_groups"), 200, brief, xml).await;

    for refused in [
        json!({ "sharedIpGroup": { "name": "x", "servers": [first] } }),
        json!({ "sharedIpGroup": { "name": "x", "server": [first] } }),
        json!({ "sharedIpGroup": { "name": "x", "server": first } }),
        json!({ "sharedIpGroup": { "name": "x", "server": 4711 } }),
        json!({ "sharedIpGroup": { "server": first } }),
    ] {
        assert_eq!(bed.post("/shared_ip_groups", &refused.to_string()).await.status, 400, "{refused}");
    }
    assert_eq!(bed.delete("/shared_ip_groups/2").await.status, StatusCode::NO_CONTENT);
    assert_eq!(bed.get("/shared_ip_groups/2").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_shared_within_a_group() {
    let bed = TestBed::unlimited().await;
    let (owner, _) = bed.active("one", 1).await;
    let group = format!(r#"{{"sharedIpGroup": {{"name": "ha", "server": {owner}}}}}"#);
    assert_eq!(bed.post("/shared_ip_groups", &group).await.status, 201);
    let launch =
        |extra: &str| format!(r#"{{"server": {{"name": "two", "imageId": 1, "flavorId": 1{extra}}}}}"#);
    let answer = bed.post("/servers", &launch(r#", "sharedIpGroupId": 1"#)).await;
    let other = answer.json()["server"]["id"].as_i64().unwrap();
    bed.until(other, "ACTIVE").await;
    let machine = bed.uuid(other).await;
    let shared = bed.get(&format!("/servers/{owner}/ips/public")).await.json()["public"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/servers/{other}/ips/public/{shared}");
    let allowed = || bed.hosts[0].spec(machine).unwrap().nics[0].allowed.len();

    for (body, status, boots) in [
        (r#"{"shareIp": {"sharedIpGroupId": 1, "configureServer": true}}"#.to_owned(), "SHARE_IP", 1),
        (
            format!(r#"<shareIp xmlns="{NAMESPACE}" sharedIpGroupId="1" configureServer="false"/>"#),
            "SHARE_IP_NO_CONFIG",
            0,
        ),
        (r#"{"shareIp": {"sharedIpGroupId": 1}}"#.to_owned(), "SHARE_IP_NO_CONFIG", 0),
    ] {
        let booted = bed.hosts[0].boots(machine);
        bed.steps.hold();
        let answer = bed.put(&path, &body).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (202, ""), "{body}");
        assert_eq!(bed.status(other).await, status);
        bed.steps.free();
        bed.until(other, "ACTIVE").await;
        assert_eq!(bed.hosts[0].boots(machine) - booted, boots);
        let public = bed.get(&format!("/servers/{other}/ips/public")).await.json();
        assert_eq!(public["public"].as_array().unwrap().len(), 2);
        assert_eq!(public["public"][1], shared.as_str());
        assert_eq!(allowed(), 2);
        // A group cannot be deleted while its servers share addresses.
        assert_eq!(bed.delete("/shared_ip_groups/1").await.status, 400);

        bed.steps.hold();
        assert_eq!(bed.delete(&path).await.status, 202);
        assert_eq!(bed.status(other).await, "DELETE_IP");
        bed.steps.free();
        bed.until(other, "ACTIVE").await;
        assert_eq!(allowed(), 1);
    }
    // If the host fails, the server does not get the address.
    let reason = "no filter".to_owned();
    bed.fail_next(
        "set_addresses",
        Fault::Before(hypervisor::Error::Failed { operation: "set_addresses", reason }),
    );
    assert_eq!(bed.put(&path, r#"{"shareIp": {"sharedIpGroupId": 1}}"#).await.status, 202);
    bed.until(other, "ACTIVE").await;
    let public = bed.get(&format!("/servers/{other}/ips/public")).await.json();
    assert_eq!(public["public"].as_array().unwrap().len(), 1);
    assert_eq!(bed.networks().ports(machine).await.unwrap()[0].addresses.len(), 1);
    // Own addresses and absent ones cannot be removed, and sharing is limited to the group.
    let own = bed.get(&format!("/servers/{other}/ips/public")).await.json()["public"][0]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(bed.delete(&format!("/servers/{other}/ips/public/{own}")).await.status, 400);
    assert_eq!(bed.delete(&path).await.status, 404);
    let (stranger, _) = bed.active("three", 1).await;
    let body = r#"{"shareIp": {"sharedIpGroupId": 1}}"#;
    assert_eq!(bed.put(&format!("/servers/{stranger}/ips/public/{shared}"), body).await.status, 400);
    assert_eq!(bed.put(&format!("/servers/{other}/ips/public/67.23.9.9"), body).await.status, 400);
    assert_eq!(bed.put(&path, r#"{"shareIp": {}}"#).await.status, 400);

    // A server created with only the shared address.
    let extra = format!(r#", "sharedIpGroupId": 1, "addresses": {{"public": ["{shared}"]}}"#);
    let answer = bed.post("/servers", &launch(&extra)).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(answer.json()["server"]["addresses"]["public"], json!([shared]));
    let launched = answer.json()["server"]["id"].as_i64().unwrap();
    bed.until(launched, "ACTIVE").await;
    let alone = launch(&format!(r#", "addresses": {{"public": ["{shared}"]}}"#));
    assert_eq!(bed.post("/servers", &alone).await.status, 400);
    let xml = format!(
        r#"<server xmlns="{NAMESPACE}" name="x" imageId="1" flavorId="1" sharedIpGroupId="1">
             <addresses><public><ip addr="{shared}"/></public></addresses></server>"#
    );
    assert_eq!(bed.post("/servers", &xml).await.status, 202);
    let members =
        bed.get("/shared_ip_groups/1").await.json()["sharedIpGroup"]["servers"].as_array().unwrap().len();
    assert_eq!(members, 4);
    // If the owner is deleted, the address stays with the servers that share it.
    assert_eq!(bed.delete(&format!("/servers/{owner}")).await.status, 202);
    bed.until(owner, "gone").await;
    let (late, _) = bed.active("late", 1).await;
    let fresh = bed.get(&format!("/servers/{late}/ips/public")).await.json();
    assert_ne!(fresh["public"][0], shared.as_str());
}
