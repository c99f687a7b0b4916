//! All samples of the guide: requests and responses in JSON and XML. Ids, addresses, times and host ids differ;
//! everything else must be equal.

use compute::Compute;
use http::StatusCode;
use serde_json::{Value, json};

use crate::bed::{NAMESPACE, NOON, TENANT, TestBed, assert_json, assert_xml};

fn host_id() -> String {
    Compute::host_id(TENANT, "simulated-1")[..32].to_owned()
}

/// Sends a request and checks the response, in both formats if it has a body.
pub async fn sample(bed: &TestBed, (method, path): (&str, &str), status: u16, json: Value, xml: &str) {
    let answer = bed.call(method, path, &[], "").await;
    assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_json(&answer.json(), &json);
    let extension = bed.call(method, &format!("{path}.xml"), &[("accept", "application/json")], "").await;
    assert_eq!(extension.header("content-type"), "application/xml; charset=UTF-8");
    assert_xml(&extension.xml(), xml);
    let accept = bed.get_xml(path).await;
    assert_xml(&accept.xml(), xml);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_need_no_token() {
    let bed = TestBed::new().await;
    for path in ["//", "//v1.0"] {
        let answer = bed.call("GET", path, &[("x-auth-token", "nobody")], "").await;
        assert_eq!(answer.status, 200);
    }
    assert_json(&bed.get("//").await.json(), &json!({ "versions": [{ "status": "CURRENT", "id": "v1.0" }] }));
    let xml = bed.get_xml("//").await;
    assert_xml(&xml.xml(), r#"<versions><version status="CURRENT" id="v1.0"/></versions>"#);
    let base = "http://127.0.0.1:8080/servers/v1.0";
    let version = json!({ "version": {
        "status": "CURRENT", "id": "v1.0", "docURL": format!("{base}/docs/guide.html"),
        "wadl": format!("{base}/application.wadl") } });
    assert_json(&bed.get("//v1.0/").await.json(), &version);
    let xml = bed.get_xml("//v1.0").await;
    let expected = format!(
        r#"<version id="v1.0" status="CURRENT" docURL="{base}/docs/guide.html" wadl="{base}/application.wadl"/>"#
    );
    assert_xml(&xml.xml(), &expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flavors() {
    let bed = TestBed::new().await;
    let all = [(1, "256 MB Server", 256, 10), (2, "512 MB Server", 512, 20)];
    let json: Vec<Value> = all
        .iter()
        .map(|(id, name, ram, disk)| json!({ "id": id, "name": name, "ram": ram, "disk": disk }))
        .collect();
    let xml = r#"<flavors><flavor id="1" name="256 MB Server" ram="256" disk="10"/>
                 <flavor id="2" name="512 MB Server" ram="512" disk="20"/></flavors>"#;
    let page = bed.get("/flavors/detail?limit=2").await;
    assert_json(&page.json(), &json!({ "flavors": json }));
    assert_xml(&bed.get("/flavors/detail.xml?limit=2").await.xml(), xml);
    let brief = bed.get("/flavors.json?limit=1&offset=1&cache-busting=abc").await;
    assert_json(&brief.json(), &json!({ "flavors": [{ "id": 2, "name": "512 MB Server" }] }));
    assert_eq!(bed.get("/flavors").await.json()["flavors"].as_array().unwrap().len(), 7);
    assert_json(&bed.get("/flavors?offset=7").await.json(), &json!({ "flavors": [] }));
    let one = json!({ "flavor": { "id": 1, "name": "256 MB Server", "ram": 256, "disk": 10 } });
    let xml = r#"<flavor id="1" name="256 MB Server" ram="256" disk="10"/>"#;
    sample(&bed, ("GET", "/flavors/1"), 200, one, xml).await;
    assert_eq!(bed.get("/flavors/8").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits() {
    let bed = TestBed::new().await;
    for _ in 0..8 {
        bed.post("/servers", "{}").await;
    }
    let minute = NOON + 60;
    let rate = |verb: &str, uri: &str, regex: &str, value: i64, remaining: i64, unit: &str, reset: i64| json!({ "verb": verb, "URI": uri, "regex": regex, "value": value, "remaining": remaining, "unit": unit, "resetTime": reset });
    let expected = json!({ "limits": {
        "rate": [
            rate("POST", "*", ".*", 10, 2, "MINUTE", minute),
            rate("POST", "*/servers", "^/servers", 25, 17, "DAY", NOON + 86_400),
            rate("PUT", "*", ".*", 10, 10, "MINUTE", minute),
            rate("GET", "*changes-since*", "changes-since", 3, 3, "MINUTE", minute),
            rate("DELETE", "*", ".*", 100, 100, "MINUTE", minute),
        ],
        "absolute": { "maxTotalRAMSize": 51200, "maxIPGroups": 25, "maxIPGroupMembers": 25 },
    } });
    let xml = format!(
        r#"<limits><rate>
             <limit verb="POST" URI="*" regex=".*" value="10" remaining="2" unit="MINUTE" resetTime="{minute}"/>
             <limit verb="POST" URI="*/servers" regex="^/servers" value="25" remaining="17" unit="DAY" resetTime="{}"/>
             <limit verb="PUT" URI="*" regex=".*" value="10" remaining="10" unit="MINUTE" resetTime="{minute}"/>
             <limit verb="GET" URI="*changes-since*" regex="changes-since" value="3" remaining="3" unit="MINUTE" resetTime="{minute}"/>
             <limit verb="DELETE" URI="*" regex=".*" value="100" remaining="100" unit="MINUTE" resetTime="{minute}"/>
           </rate><absolute>
             <limit name="maxTotalRAMSize" value="51200"/><limit name="maxIPGroups" value="25"/>
             <limit name="maxIPGroupMembers" value="25"/>
           </absolute></limits>"#,
        NOON + 86_400
    );
    sample(&bed, ("GET", "/limits"), 200, expected, &xml).await;
}

const CREATE_JSON: &str = r#"{"server": {"name": "new-server-test", "imageId": 1, "flavorId": 1,
    "metadata": {"My Server Name": "Apache1"},
    "personality": [{"path": "/etc/banner.txt", "contents": "SGVsbG8K"}]}}"#;

fn create_xml() -> String {
    format!(
        r#"<server xmlns="{NAMESPACE}" name="new-server-test" imageId="1" flavorId="1">
             <metadata><meta key="My Server Name">Apache1</meta></metadata>
             <personality><file path="/etc/banner.txt">
                SGVs
                bG8K
             </file></personality>
           </server>"#
    )
}

fn created_xml(id: i64, last: u8) -> String {
    format!(
        r#"<server id="{id}" name="new-server-test" imageId="1" flavorId="1" hostId="{}" progress="0" status="BUILD"
                   adminPass="*"><metadata><meta key="My Server Name">Apache1</meta></metadata>
             <addresses><public><ip addr="67.23.0.{last}"/></public><private><ip addr="10.176.32.{last}"/></private></addresses>
           </server>"#,
        host_id()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_list_details_addresses_delete() {
    let bed = TestBed::new().await;
    bed.steps.hold();
    let answer = bed.post("/servers", CREATE_JSON).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    let expected = json!({ "server": {
        "id": 1, "name": "new-server-test", "imageId": 1, "flavorId": 1, "hostId": host_id(), "progress": 0,
        "status": "BUILD", "adminPass": "*", "metadata": { "My Server Name": "Apache1" },
        "addresses": { "public": ["67.23.0.2"], "private": ["10.176.32.2"] } } });
    assert_json(&answer.json(), &expected);
    let password = answer.json()["server"]["adminPass"].as_str().unwrap().to_owned();
    assert!(password.len() >= 8);
    // Password and files are encrypted at rest. The search for the server's name shows that the check works.
    assert!(bed.is_written("new-server-test"));
    assert!(!bed.is_written(&password) && !bed.is_written("/etc/banner.txt") && !bed.is_written("Hello\n"));
    let answer = bed.post("/servers", &create_xml()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    assert_xml(&answer.xml(), &created_xml(2, 3));
    // A request in one format with its response in the other (guide, Request/Response Types).
    let headers = [("content-type", "application/json")];
    let answer = bed.call("POST", "/servers.xml", &headers, CREATE_JSON).await;
    assert_xml(&answer.xml(), &created_xml(3, 4));

    // Progress increases during the build.
    let progress = async || bed.get("/servers/1").await.json()["server"]["progress"].as_i64().unwrap();
    let machine = bed.uuid(1).await;
    let mut seen = vec![progress().await];
    let mut operations = Vec::new();
    for operation in ["ensure_disk", "ensure_config_drive", "define", "start"] {
        loop {
            let step = bed.steps.next().await;
            if step.machine == Some(machine) {
                seen.push(progress().await);
                operations.push(step.operation);
                step.release();
                break;
            }
            step.release();
        }
        assert_eq!(operations.last(), Some(&operation));
        assert_eq!(
            bed.status(1).await,
            if operation == "start" { bed.status(1).await } else { "BUILD".into() }
        );
    }
    assert!(seen.is_sorted() && seen[0] < seen[4] && seen[4] >= 90, "{seen:?}");
    bed.steps.free();
    for number in [1, 2, 3] {
        bed.until(number, "ACTIVE").await;
    }
    // The config drive.
    let drive = bed.hosts[0].config_drive(machine).unwrap();
    let file =
        |path: &str| drive.iter().find(|(found, _)| found == path).map(|(_, bytes)| bytes.clone()).unwrap();
    let meta: Value = serde_json::from_slice(&file("openstack/latest/meta_data.json")).unwrap();
    assert_eq!(meta["admin_pass"], password.as_str());
    assert_eq!(meta["hostname"], "new-server-test");
    assert_eq!(meta["uuid"], machine.to_string());
    assert_eq!(meta["files"], json!([{ "path": "/etc/banner.txt", "content_path": "/content/0000" }]));
    assert_eq!(file("openstack/content/0000"), b"Hello\n");
    let network: Value = serde_json::from_slice(&file("openstack/latest/network_data.json")).unwrap();
    assert_eq!(network["networks"][0]["ip_address"], "67.23.0.2");
    assert_eq!(network["networks"][1]["ip_address"], "10.176.32.2");
    let vendor: Value = serde_json::from_slice(&file("openstack/latest/vendor_data.json")).unwrap();
    assert!(vendor["cloud-init"].as_str().unwrap().contains(&format!("root:{password}")));
    let spec = bed.hosts[0].spec(machine).unwrap();
    assert_eq!((spec.memory_mib, spec.disk_bytes, spec.cpu_shares, spec.vcpus), (256, 10 << 30, 128, 1));
    assert_eq!(spec.nics.len(), 2);

    // The password is returned only once.
    let server = json!({
        "id": 1, "name": "new-server-test", "imageId": 1, "flavorId": 1, "hostId": host_id(), "status": "ACTIVE",
        "metadata": { "My Server Name": "Apache1" },
        "addresses": { "public": ["67.23.0.2"], "private": ["10.176.32.2"] } });
    let xml = format!(
        r#"<server id="1" name="new-server-test" imageId="1" flavorId="1" status="ACTIVE" hostId="{}">
             <metadata><meta key="My Server Name">Apache1</meta></metadata>
             <addresses><public><ip addr="67.23.0.2"/></public><private><ip addr="10.176.32.2"/></private></addresses>
           </server>"#,
        host_id()
    );
    sample(&bed, ("GET", "/servers/1"), 200, json!({ "server": server }), &xml).await;
    assert_json(&bed.get("/servers/detail?limit=1").await.json(), &json!({ "servers": [server] }));
    assert_xml(&bed.get("/servers/detail.xml?limit=1").await.xml(), &format!("<servers>{xml}</servers>"));
    let brief = |id: i64| json!({ "id": id, "name": "new-server-test" });
    let xml = (1..=3).map(|id| format!(r#"<server id="{id}" name="new-server-test"/>"#)).collect::<String>();
    let xml = format!("<servers>{xml}</servers>");
    sample(&bed, ("GET", "/servers"), 200, json!({ "servers": [brief(1), brief(2), brief(3)] }), &xml).await;

    let (public, private) =
        (r#"<public><ip addr="67.23.0.2"/></public>"#, r#"<private><ip addr="10.176.32.2"/></private>"#);
    let both = json!({ "addresses": { "public": ["67.23.0.2"], "private": ["10.176.32.2"] } });
    sample(&bed, ("GET", "/servers/1/ips"), 200, both, &format!("<addresses>{public}{private}</addresses>"))
        .await;
    sample(&bed, ("GET", "/servers/1/ips/public"), 200, json!({ "public": ["67.23.0.2"] }), public).await;
    sample(&bed, ("GET", "/servers/1/ips/private"), 200, json!({ "private": ["10.176.32.2"] }), private)
        .await;

    for number in 1..=3 {
        let answer = bed.delete(&format!("/servers/{number}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::ACCEPTED, ""));
        bed.until(number, "gone").await;
    }
    assert_json(&bed.get("/servers").await.json(), &json!({ "servers": [] }));
    assert!(bed.networks().ports(machine).await.unwrap().is_empty());
    bed.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn update_and_actions_in_both_formats() {
    let bed = TestBed::unlimited().await;
    let (number, machine) = bed.active("sample-server", 1).await;
    let path = format!("/servers/{number}");
    let action = format!("{path}/action");
    let ns = format!("xmlns=\"{NAMESPACE}\"");
    let orders = [
        (
            "PUT",
            &path,
            json!({ "server": { "name": "new-server-test", "adminPass": "newPassword" } }),
            format!(r#"<server {ns} name="new-server-test" adminPass="newPassword"/>"#),
            202,
        ),
        (
            "POST",
            &action,
            json!({ "reboot": { "type": "HARD" } }),
            format!(r#"<reboot {ns} type="HARD"/>"#),
            202,
        ),
        (
            "POST",
            &action,
            json!({ "reboot": { "type": "SOFT" } }),
            format!(r#"<reboot {ns} type="SOFT"/>"#),
            202,
        ),
        (
            "POST",
            &action,
            json!({ "rebuild": { "imageId": 1 } }),
            format!(r#"<rebuild {ns} imageId="1"/>"#),
            202,
        ),
        ("POST", &action, json!({ "rebuild": {} }), format!(r#"<rebuild {ns}/>"#), 202),
    ];
    for (method, path, json, xml, status) in &orders {
        for body in [json.to_string(), xml.clone()] {
            let answer =
                if *method == "PUT" { bed.put(path, &body).await } else { bed.post(path, &body).await };
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (*status, ""), "{body}");
            bed.until(number, "ACTIVE").await;
        }
    }
    assert_eq!(bed.hosts[0].password(machine).as_deref(), Some("newPassword"));
    assert_eq!(bed.get(&path).await.json()["server"]["name"], "new-server-test");
    // Renaming does not change the guest's host name.
    let drive = bed.hosts[0].config_drive(machine).unwrap();
    let meta: Value = serde_json::from_slice(&drive[0].1).unwrap();
    assert_eq!((&meta["hostname"], &meta["admin_pass"]), (&json!("sample-server"), &json!("newPassword")));

    for (resize, confirm, revert) in [
        (
            json!({ "resize": { "flavorId": 3 } }).to_string(),
            json!({ "confirmResize": null }).to_string(),
            json!({ "revertResize": null }).to_string(),
        ),
        (
            format!(r#"<resize {ns} flavorId="4"/>"#),
            format!("<confirmResize {ns}/>"),
            format!("<revertResize {ns}/>"),
        ),
    ] {
        for (end, status) in [(&revert, 202), (&confirm, 204)] {
            let answer = bed.post(&action, &resize).await;
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (202, ""));
            bed.until(number, "VERIFY_RESIZE").await;
            let answer = bed.post(&action, end).await;
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (status, ""));
            bed.until(number, "ACTIVE").await;
        }
    }
    assert_eq!(bed.get(&path).await.json()["server"]["flavorId"], 4);
    assert_eq!(bed.hosts[0].spec(machine).unwrap().memory_mib, 2048);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images() {
    let bed = TestBed::new().await;
    let (server, _) = bed.active("web", 1).await;
    bed.steps.hold();
    let body = format!(r#"{{"image": {{"serverId": {server}, "name": "Just in case"}}}}"#);
    let answer = bed.post("/images", &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    let noon = "2010-10-10T12:00:00Z";
    let json = |id: i64, status: &str, progress: Option<i64>| {
        let mut image = json!({ "id": id, "serverId": server, "name": "Just in case", "created": noon, "updated": noon, "status": status });
        if let Some(progress) = progress {
            image["progress"] = progress.into();
        }
        image
    };
    let xml = |id: i64, rest: &str| {
        format!(
            r#"<image id="{id}" name="Just in case" serverId="{server}" created="{noon}" updated="{noon}" {rest}/>"#
        )
    };
    assert_json(&answer.json(), &json!({ "image": json(2, "QUEUED", Some(0)) }));
    let step = bed.steps.next_of("take_snapshot").await;
    assert_eq!(bed.get("/images/2").await.json()["image"]["status"], "PREPARING");
    let closed = bed.vault.write().await;
    step.release();
    bed.eventually("the image is SAVING", || async {
        bed.get("/images/2").await.json()["image"]["status"] == "SAVING"
    })
    .await;
    let saving = bed.get("/images/2").await.json();
    assert_json(&saving, &json!({ "image": json(2, "SAVING", Some(40)) }));
    assert_xml(&bed.get_xml("/images/2").await.xml(), &xml(2, r#"status="SAVING" progress="40""#));
    drop(closed);
    let step = bed.steps.next_of("drop_snapshot").await;
    step.release();
    bed.steps.free();
    bed.until(server, "ACTIVE").await;
    sample(
        &bed,
        ("GET", "/images/2"),
        200,
        json!({ "image": json(2, "ACTIVE", None) }),
        &xml(2, r#"status="ACTIVE""#),
    )
    .await;
    let base = json!({ "id": 1, "name": "Simulated", "created": noon, "updated": noon, "status": "ACTIVE" });
    let list = format!(
        r#"<images><image id="1" name="Simulated" created="{noon}" updated="{noon}" status="ACTIVE"/>{}</images>"#,
        xml(2, r#"status="ACTIVE""#)
    );
    sample(&bed, ("GET", "/images/detail"), 200, json!({ "images": [base, json(2, "ACTIVE", None)] }), &list)
        .await;
    let brief = json!({ "images": [{ "id": 1, "name": "Simulated" }, { "id": 2, "name": "Just in case" }] });
    let xml_brief = r#"<images><image id="1" name="Simulated"/><image id="2" name="Just in case"/></images>"#;
    sample(&bed, ("GET", "/images"), 200, brief, xml_brief).await;

    // An image of the same name replaces it. The request is XML, and the response format is given by an extension.
    bed.steps.hold();
    let request = format!(r#"<image xmlns="{NAMESPACE}" name="Just in case" serverId="{server}"/>"#);
    let answer = bed.post("/images", &request).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_xml(&answer.xml(), &xml(3, r#"status="QUEUED" progress="0""#));
    bed.steps.free();
    bed.eventually("the new image replaces the old", || async { bed.get("/images/2").await.status == 404 })
        .await;
    assert_eq!(bed.get("/images/3").await.json()["image"]["status"], "ACTIVE");
    // A server created from it survives its deletion.
    bed.until(server, "ACTIVE").await;
    let answer = bed.post("/servers", r#"{"server": {"name": "copy", "imageId": 3, "flavorId": 1}}"#).await;
    let copy = answer.json()["server"]["id"].as_i64().unwrap();
    bed.until(copy, "ACTIVE").await;
    assert_eq!(bed.delete("/images/3").await.status, StatusCode::NO_CONTENT);
    assert_eq!(bed.delete("/images/3").await.status, StatusCode::NOT_FOUND);
    assert_eq!(bed.status(copy).await, "ACTIVE");
    assert_eq!(bed.delete("/images/1").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_schedules() {
    let bed = TestBed::new().await;
    let (server, _) = bed.active("web", 1).await;
    let path = format!("/servers/{server}/backup_schedule");
    let off = json!({ "backupSchedule": { "enabled": false } });
    sample(&bed, ("GET", &path), 200, off.clone(), r#"<backupSchedule enabled="false"/>"#).await;
    let on = json!({ "backupSchedule": { "enabled": true, "weekly": "THURSDAY", "daily": "H_0400_0600" } });
    let xml = format!(
        r#"<backupSchedule xmlns="{NAMESPACE}" enabled="true" weekly="THURSDAY" daily="H_0400_0600"/>"#
    );
    for body in [on.to_string(), xml.clone()] {
        let answer = bed.post(&path, &body).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::NO_CONTENT, ""));
        sample(&bed, ("GET", &path), 200, on.clone(), &xml).await;
        assert_eq!(bed.delete(&path).await.status, StatusCode::NO_CONTENT);
        assert_json(&bed.get(&path).await.json(), &off);
    }
    let answer = bed.post(&path, r#"{"backupSchedule": {"enabled": true, "weekly": "SOMEDAY"}}"#).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.json()["badRequest"]["message"].as_str().unwrap().contains("SOMEDAY"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_can_be_compressed_in_both_directions() {
    let bed = TestBed::new().await;
    let plain = bed.get("/flavors/detail").await;
    assert_eq!(plain.header("content-encoding"), "");
    let request = |method: &str, path: &str| {
        http::Request::builder()
            .method(method)
            .uri(format!("/v1.0/{TENANT}{path}"))
            .header("x-auth-token", "jdoe")
            .header("accept-encoding", "gzip")
    };
    let packed =
        bed.send_raw(request("GET", "/flavors/detail").body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(packed.0.get("content-encoding").unwrap(), "gzip");
    assert_eq!(web::gzip::unpacked(&packed.1, 100_000).unwrap(), plain.body.as_bytes());
    let group = web::gzip::packed(br#"{"sharedIpGroup": {"name": "packed"}}"#);
    let request = request("POST", "/shared_ip_groups")
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body(axum::body::Body::from(group))
        .unwrap();
    let made = bed.send_raw(request).await;
    assert!(web::gzip::unpacked(&made.1, 1000).unwrap().starts_with(b"{\"sharedIpGroup\""));
    assert_eq!(bed.get("/shared_ip_groups").await.json()["sharedIpGroups"][0]["name"], "packed");
    let headers = [("content-type", "application/json"), ("content-encoding", "br")];
    assert_eq!(bed.call("POST", "/shared_ip_groups", &headers, "x").await.status, 415);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_of_the_live_service() {
    let live = compute::Settings {
        response_style: compute::ResponseStyle::Live,
        rate_limits: false,
        ..Default::default()
    };
    let bed = TestBed::with(Default::default(), live).await;
    let (server, _) = bed.active("web", 1).await;
    let path = format!("/servers/{server}");
    assert_eq!(bed.get(&path).await.json()["server"]["progress"], 100);
    assert_eq!(bed.put(&path, r#"{"server": {"name": "new"}}"#).await.status, 204);
    let schedule = bed.get(&format!("{path}/backup_schedule")).await.json();
    let off = json!({ "backupSchedule": { "enabled": false, "weekly": "DISABLED", "daily": "DISABLED" } });
    assert_json(&schedule, &off);
}

/// The extension of the path, if any, decides the format, also of the root (guide, API Version).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_works_with_and_without_extension() {
    let bed = TestBed::new().await;
    let request = async |method: &str, path: &str, accept: &str| {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("x-auth-token", "jdoe")
            .header("accept", accept);
        bed.send(request.body(axum::body::Body::empty()).unwrap()).await
    };
    let (json, xml) = ("application/json", "application/xml; charset=UTF-8");
    let any = "*/*";
    for (method, path, accept, status, form) in [
        ("GET", "/servers", any, 200, json),
        ("GET", "/servers/", any, 200, json),
        ("GET", "/servers", "application/xml", 200, xml),
        ("GET", "/servers.json", "application/xml", 200, json),
        ("GET", "/servers.xml", any, 200, xml),
        ("GET", "/servers.xml?limit=1", any, 200, xml),
        ("POST", "/servers.xml", any, 405, xml),
        ("DELETE", "/servers.json", "application/xml", 405, json),
        ("GET", "/servers.xml/", any, 404, xml),
        ("GET", "/servers.json/", any, 404, json),
        ("GET", "/servers.xml/v1.0", any, 404, json),
        ("GET", "/servers/v1.0", any, 200, json),
        ("GET", "/servers/v1.0.xml", any, 200, xml),
        ("GET", "/servers/v1.0/", any, 200, json),
        ("GET", "/servers/v1.0/345812/flavors", any, 200, json),
        ("GET", "/servers/v1.0/345812/flavors/", any, 200, json),
        ("GET", "/servers/v1.0/345812/servers/detail.xml?changes-since=1", any, 304, ""),
        ("GET", "/servers/v9", any, 404, json),
    ] {
        let answer = request(method, path, accept).await;
        let found = (answer.status.as_u16(), answer.header("content-type"));
        assert_eq!(found, (status, form), "{method} {path}: {}", answer.body);
        let fault = match status {
            404 => "itemNotFound",
            405 => "badMethod",
            _ => continue,
        };
        assert!(answer.body.contains(fault), "{method} {path}: {}", answer.body);
    }
    let list = request("GET", "/servers.xml", any).await;
    assert_xml(&list.xml(), r#"<versions><version status="CURRENT" id="v1.0"/></versions>"#);
    // Rate limits use the path after the account, wherever the API is mounted.
    let limits = bed.get("/limits").await.json();
    assert_eq!(limits["limits"]["rate"][3]["remaining"], 2);
}

/// Responses that depend on request headers name them in `Vary` (RFC 9110, 12.5.5).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_have_the_right_vary_header() {
    let bed = TestBed::unlimited().await;
    let vary = |answer: &crate::bed::TestResponse| {
        let lines: Vec<_> =
            answer.headers.get_all("vary").iter().map(|line| line.to_str().unwrap()).collect();
        lines.join(", ")
    };
    for path in ["/flavors", "/flavors/9", "//", "//v1.0", "/flavors?changes-since=9999999999"] {
        assert_eq!(vary(&bed.get(path).await), "Accept, Accept-Encoding", "{path}");
    }
    for path in ["/flavors.json", "/flavors/9.xml", "//v1.0/docs/servers.xsd"] {
        assert_eq!(vary(&bed.get(path).await), "Accept-Encoding", "{path}");
    }
    let packed = [("accept-encoding", "gzip"), ("x-auth-token", "jdoe")];
    let request = packed
        .iter()
        .fold(http::Request::get(format!("/v1.0/{TENANT}/flavors")), |request, (name, value)| {
            request.header(*name, *value)
        });
    let (headers, _) = bed.send_raw(request.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(headers.get_all("vary").iter().count(), 2);
    let (server, _) = bed.active("web", 1).await;
    assert_eq!(vary(&bed.delete(&format!("/servers/{server}")).await), "");
}
