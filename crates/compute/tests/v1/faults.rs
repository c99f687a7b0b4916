//! Invalid requests: they get the API's own faults in both formats and change nothing.

use http::StatusCode;
use identity::Right;
use serde_json::json;

use crate::bed::{TENANT, TestBed, assert_json, assert_xml};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_has_code_message_and_details_in_both_formats() {
    let bed = TestBed::new().await;
    let expected = json!({ "itemNotFound": { "code": 404, "message": "no such server", "details": "" } });
    assert_json(&bed.get("/servers/12").await.json(), &expected);
    let xml = bed.get("/servers/12.xml").await;
    assert_eq!(xml.status, 404);
    assert_xml(
        &xml.xml(),
        r#"<itemNotFound code="404"><message>no such server</message><details/></itemNotFound>"#,
    );
}

/// Method, path, headers and body; code and element of the fault, and a part of its message.
type Case<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, String, u16, &'a str, &'a str);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mistake_has_its_fault() {
    let bed = TestBed::unlimited().await;
    let json_type = ("content-type", "application/json");
    let xml_type = ("content-type", "application/xml");
    let server =
        |fields: &str| format!(r#"{{"server": {{"name": "x", "imageId": 1, "flavorId": 1{fields}}}}}"#);
    let file = |path: &str, contents: &str| {
        server(&format!(r#", "personality": [{{"path": "{path}", "contents": "{contents}"}}]"#))
    };
    let many: Vec<String> = (0..6).map(|n| format!(r#""k{n}": "v""#)).collect();
    let long = "x".repeat(256);
    let large = "QUFB".repeat(3414);
    let cases: Vec<Case<'_>> = vec![
        ("GET", "/nowhere", vec![], String::new(), 404, "itemNotFound", "path"),
        ("GET", "//v9.9", vec![], String::new(), 404, "itemNotFound", "path"),
        ("PATCH", "/servers", vec![], String::new(), 405, "badMethod", "PATCH"),
        ("DELETE", "/flavors/1", vec![], String::new(), 405, "badMethod", "DELETE"),
        ("GET", "/servers/abc", vec![], String::new(), 404, "itemNotFound", "server"),
        ("GET", "/servers?limit=-1", vec![], String::new(), 400, "badRequest", "limit"),
        ("GET", "/servers?offset=x", vec![], String::new(), 400, "badRequest", "offset"),
        ("GET", "/servers?changes-since=soon", vec![], String::new(), 400, "badRequest", "changes-since"),
        ("POST", "/servers", vec![], "{}".into(), 415, "badMediaType", "application/json"),
        (
            "POST",
            "/servers",
            vec![("content-type", "text/plain")],
            "x".into(),
            415,
            "badMediaType",
            "Content-Type",
        ),
        ("POST", "/servers", vec![json_type], "{\n  oops".into(), 400, "badRequest", "line 2 column 3"),
        ("POST", "/servers", vec![xml_type], "<server><name></server>".into(), 400, "badRequest", "byte 14"),
        (
            "POST",
            "/servers",
            vec![xml_type],
            "<!DOCTYPE a []><server/>".into(),
            400,
            "badRequest",
            "document type",
        ),
        ("POST", "/servers", vec![json_type], r#"{"flavor": {}}"#.into(), 400, "badRequest", "flavor"),
        ("POST", "/servers", vec![json_type], "[]".into(), 400, "badRequest", "object"),
        (
            "POST",
            "/servers",
            vec![json_type],
            r#"{"server": {"imageId": 1, "flavorId": 1}}"#.into(),
            400,
            "badRequest",
            "name",
        ),
        (
            "POST",
            "/servers",
            vec![json_type],
            r#"{"server": {"name": "x", "flavorId": 1}}"#.into(),
            400,
            "badRequest",
            "imageId",
        ),
        (
            "POST",
            "/servers",
            vec![json_type],
            r#"{"server": {"name": "x", "imageId": 9, "flavorId": 1}}"#.into(),
            400,
            "badRequest",
            "imageId",
        ),
        (
            "POST",
            "/servers",
            vec![json_type],
            r#"{"server": {"name": "x", "imageId": 1, "flavorId": 9}}"#.into(),
            400,
            "badRequest",
            "flavorId",
        ),
        (
            "POST",
            "/servers",
            vec![json_type],
            r#"{"server": {"name": ["x"], "imageId": 1, "flavorId": 9}}"#.into(),
            400,
            "badRequest",
            "name",
        ),
        (
            "POST",
            "/servers",
            vec![json_type],
            server(&format!(r#", "metadata": {{{}}}"#, many.join(","))),
            400,
            "badRequest",
            "metadata",
        ),
        (
            "POST",
            "/servers",
            vec![json_type],
            server(&format!(r#", "metadata": {{"k": "{long}"}}"#)),
            400,
            "badRequest",
            "item k",
        ),
        ("POST", "/servers", vec![json_type], file("/etc/a", "%%%"), 400, "badRequest", "/etc/a"),
        ("POST", "/servers", vec![json_type], file("/etc/a", &large), 400, "badRequest", "10240"),
        ("POST", "/servers", vec![json_type], file(&format!("/{long}"), "QUFB"), 400, "badRequest", "255"),
        (
            "POST",
            "/servers",
            vec![json_type],
            server(r#", "sharedIpGroupId": 7"#),
            400,
            "badRequest",
            "sharedIpGroupId",
        ),
        (
            "POST",
            "/servers",
            vec![json_type],
            server(r#", "addresses": {"public": ["67.23.0.2"]}"#),
            400,
            "badRequest",
            "sharedIpGroupId",
        ),
        (
            "POST",
            "/servers/1/action",
            vec![json_type],
            r#"{"reboot": {"type": "WARM"}}"#.into(),
            400,
            "badRequest",
            "SOFT or HARD",
        ),
        (
            "POST",
            "/servers/1/action",
            vec![json_type],
            r#"{"reboot": {"type": "HARD"}}"#.into(),
            404,
            "itemNotFound",
            "server",
        ),
        (
            "POST",
            "/servers/1/action",
            vec![json_type],
            r#"{"dance": {}}"#.into(),
            501,
            "notImplemented",
            "dance",
        ),
        ("POST", "/servers/1/action", vec![json_type], "x".repeat(300_000), 413, "overLimit", "262144"),
        (
            "POST",
            "/images",
            vec![json_type],
            r#"{"image": {"serverId": 1, "name": "a"}}"#.into(),
            404,
            "itemNotFound",
            "server",
        ),
        (
            "POST",
            "/images",
            vec![json_type],
            r#"{"image": {"name": "a"}}"#.into(),
            400,
            "badRequest",
            "serverId",
        ),
        ("GET", "/servers/1/ips", vec![], String::new(), 404, "itemNotFound", "server"),
        ("GET", "/servers/1/backup_schedule", vec![], String::new(), 404, "itemNotFound", "server"),
        ("GET", "/shared_ip_groups/1", vec![], String::new(), 404, "itemNotFound", "group"),
        ("GET", "/servers", vec![("x-auth-token", "stranger")], String::new(), 401, "unauthorized", "token"),
        (
            "GET",
            "/servers",
            vec![("x-auth-token", "jdoe@100002")],
            String::new(),
            403,
            "cloudServersFault",
            "roles",
        ),
        (
            "GET",
            "/servers",
            vec![("x-auth-token", "away")],
            String::new(),
            503,
            "serviceUnavailable",
            "identity is unavailable",
        ),
    ];
    for (method, path, headers, body, status, element, said) in cases {
        for format in ["application/json", "application/xml"] {
            let mut headers = headers.clone();
            headers.push(("accept", format));
            let answer = bed.call(method, path, &headers, &body).await;
            let case = format!("{method} {path} {body:.100}: {}", answer.body);
            assert_eq!(answer.status.as_u16(), status, "{case}");
            let message = if format == "application/json" {
                let fault = answer.json();
                assert_eq!(fault[element]["code"], status, "{case}");
                assert_eq!(fault[element]["details"], "", "{case}");
                fault[element]["message"].as_str().unwrap().to_owned()
            } else {
                let fault = answer.xml();
                assert_eq!(
                    (fault.name.as_str(), fault.attribute("code")),
                    (element, Some(status.to_string().as_str())),
                    "{case}"
                );
                fault.find("message").unwrap().text.clone()
            };
            assert!(message.contains(said), "{said:?} is not in {case}");
        }
    }
    assert_json(&bed.get("/servers").await.json(), &json!({ "servers": [] }));
    assert!(bed.compute.hosts().await.unwrap().iter().all(|host| host.used_memory_mib == 0));
    assert_eq!(bed.get("/limits").await.json()["limits"]["rate"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_token_is_401() {
    let bed = TestBed::new().await;
    let request =
        http::Request::get(format!("/v1.0/{TENANT}/servers")).body(axum::body::Body::empty()).unwrap();
    let answer = bed.send(request).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.json()["unauthorized"]["message"], "X-Auth-Token is missing");
}

/// Every route as every role: each needs its right, and none is served without a token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_requires_its_right() {
    let bed = TestBed::unlimited().await;
    let mut checked = 0;
    for entry in compute::api::v1::routes().entries() {
        let path = entry.path.replace("{tenant}", TENANT).replace("{id}", "77");
        let path = path.replace("{address}", "67.23.0.9").replace("{member}", "200000");
        for (role, right) in [
            ("observer", Some(Right::Observe)),
            ("creator", Some(Right::Create)),
            ("jdoe", Some(Right::Administer)),
            ("jdoe@1", None),
        ] {
            let headers = [("x-auth-token", role), ("content-type", "application/json")];
            let answer = bed.call(entry.method.as_str(), &format!("/{path}"), &headers, "{}").await;
            let refused = answer.status == StatusCode::FORBIDDEN;
            let allowed = right.is_some_and(|right| right >= entry.right);
            assert_eq!(refused, !allowed, "{} {} as {role}: {}", entry.method, entry.path, answer.body);
            checked += 1;
        }
        let headers = [("x-auth-token", "stranger")];
        let answer = bed.call(entry.method.as_str(), &format!("/{path}"), &headers, "").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{} {}", entry.method, entry.path);
    }
    assert_eq!(checked, 33 * 4);
}

/// Another tenant's server counts as absent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_cannot_see_each_other() {
    let bed = TestBed::unlimited().await;
    let (server, _) = bed.active("mine", 1).await;
    let group = format!(r#"{{"sharedIpGroup": {{"name": "g", "server": {server}}}}}"#);
    assert_eq!(bed.post("/shared_ip_groups", &group).await.status, 201);
    let image = format!(r#"{{"image": {{"serverId": {server}, "name": "i"}}}}"#);
    assert_eq!(bed.post("/images", &image).await.status, 202);
    bed.until(server, "ACTIVE").await;
    let theirs = [("x-auth-token", "jdoe@200"), ("content-type", "application/json")];
    for (method, path, body) in [
        ("GET", "servers/1", ""),
        ("DELETE", "servers/1", ""),
        ("PUT", "servers/1", r#"{"server": {"name": "theirs"}}"#),
        ("POST", "servers/1/action", r#"{"reboot": {"type": "HARD"}}"#),
        ("GET", "servers/1/ips", ""),
        ("POST", "servers/1/backup_schedule", r#"{"backupSchedule": {"enabled": false}}"#),
        ("GET", "images/2", ""),
        ("DELETE", "images/2", ""),
        ("POST", "images", r#"{"image": {"serverId": 1, "name": "x"}}"#),
        ("GET", "shared_ip_groups/1", ""),
        ("DELETE", "shared_ip_groups/1", ""),
    ] {
        let answer = bed.call(method, &format!("//v1.0/200/{path}"), &theirs, body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}: {}", answer.body);
    }
    for (path, left) in [("servers", 0), ("images", 1), ("shared_ip_groups", 0)] {
        let answer = bed.call("GET", &format!("//v1.0/200/{path}"), &theirs, "").await.json();
        let list = answer.as_object().unwrap().values().next().unwrap().as_array().unwrap().len();
        assert_eq!(list, left, "{path}");
    }
}
