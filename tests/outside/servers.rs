//! Cloud Servers v1.0 on simulated hosts: what every client uses first.

use tests::cloud::{API_KEY, Cloud, PATIENCE, until};
use tests::http::{Answer, curl, sign_in};

struct Servers {
    cloud: Cloud,
    base: String,
    token: String,
}

impl Servers {
    fn of(cloud: Cloud) -> Self {
        let answer = sign_in(&cloud.url, "admin", API_KEY);
        let base = answer.header("x-server-management-url").to_owned();
        Self { cloud, base, token: format!("X-Auth-Token: {}", answer.header("x-auth-token")) }
    }

    fn call(&self, path: &str, words: &[&str]) -> Answer {
        curl(&[&["-H", &self.token, &format!("{}{path}", self.base)], words].concat())
    }

    fn post(&self, path: &str, content_type: &str, body: &str) -> Answer {
        self.call(path, &["-X", "POST", "-H", &format!("Content-Type: {content_type}"), "-d", body])
    }
}

#[test]
fn the_guides_create_server_in_both_formats() {
    tour(&Servers::of(Cloud::start()));
}

#[test]
fn the_guides_create_server_on_postgresql() {
    let database = crate::durability::postgres();
    tour(&Servers::of(Cloud::start_with(
        &["--hypervisor", "simulated:?delay=20", "--database", &database],
        &[],
    )));
}

fn tour(servers: &Servers) {
    let json = servers.post(
        "/servers",
        "application/json",
        r#"{"server": {"name": "new-server-test", "imageId": 1, "flavorId": 1,
            "metadata": {"My Server Name": "Apache1"},
            "personality": [{"path": "/etc/banner.txt", "contents": "aGVsbG8="}]}}"#,
    );
    assert_eq!((json.status, json.header("content-type")), (202, "application/json"), "{}", json.text());
    let server = &json.json()["server"];
    assert_eq!(
        (&server["id"], &server["status"], &server["progress"]),
        (&1.into(), &"BUILD".into(), &0.into())
    );
    assert_eq!(server["metadata"]["My Server Name"], "Apache1");
    assert!(server["adminPass"].as_str().unwrap().len() >= 8);
    assert_eq!(server["hostId"].as_str().unwrap().len(), 32);
    assert_eq!(server["addresses"]["public"].as_array().unwrap().len(), 1);
    assert_eq!(server["addresses"]["private"].as_array().unwrap().len(), 1);

    let xml = servers.post(
        "/servers.xml",
        "application/xml",
        r#"<server xmlns="http://docs.rackspacecloud.com/servers/api/v1.0" name="second" imageId="1" flavorId="2">
             <metadata><meta key="My Server Name">Apache1</meta></metadata>
             <personality><file path="/etc/banner.txt"> aGVs
               bG8= </file></personality></server>"#,
    );
    assert_eq!(
        (xml.status, xml.header("content-type")),
        (202, "application/xml; charset=UTF-8"),
        "{}",
        xml.text()
    );
    assert!(
        xml.text().contains(
            "<server xmlns=\"http://docs.rackspacecloud.com/servers/api/v1.0\" id=\"2\" name=\"second\""
        ),
        "{}",
        xml.text()
    );

    for id in [1, 2] {
        until("the server to be ACTIVE", PATIENCE, || {
            let answer = servers.call(&format!("/servers/{id}"), &[]).json();
            (answer["server"]["status"] == "ACTIVE").then_some(())
        });
    }
    let list = servers.call("/servers", &[]).json();
    assert_eq!(list["servers"].as_array().unwrap().len(), 2);
    assert_eq!(servers.call("/servers/1/ips/public.json", &[]).json()["public"].as_array().unwrap().len(), 1);
    for kind in ["SOFT", "HARD"] {
        let body = format!("{{\"reboot\": {{\"type\": \"{kind}\"}}}}");
        assert_eq!(servers.post("/servers/1/action", "application/json", &body).status, 202, "{kind}");
        until("the reboot to end", PATIENCE, || {
            (servers.call("/servers/1", &[]).json()["server"]["status"] == "ACTIVE").then_some(())
        });
    }
    assert_eq!(servers.call("/servers/1", &["-X", "DELETE"]).status, 202);
    until("the server to be deleted", PATIENCE, || {
        (servers.call("/servers/1", &[]).status == 404).then_some(())
    });
    let limits = servers.call("/limits", &[]).json();
    assert_eq!(limits["limits"]["absolute"]["maxTotalRAMSize"], 51200);
    assert_eq!(servers.call("/flavors/1", &[]).json()["flavor"]["name"], "256 MB Server");
    assert_eq!(servers.call("/images/1", &[]).json()["image"]["status"], "ACTIVE");
}

#[test]
fn bad_input_gets_the_guides_faults_and_changes_nothing() {
    let servers = Servers::of(Cloud::start());
    let json = "application/json";
    let cases = [
        (servers.call("/servers", &["-X", "PATCH"]), 405, "badMethod"),
        (servers.call("/nothing", &[]), 404, "itemNotFound"),
        (servers.call("/servers/99", &[]), 404, "itemNotFound"),
        (servers.post("/servers", json, "{\"server\": {"), 400, "badRequest"),
        (servers.post("/servers", "application/xml", "<server name="), 400, "badRequest"),
        (servers.post("/servers", "text/plain", "hello"), 415, "badMediaType"),
        (servers.post("/servers", json, r#"{"server": {"name": "x", "flavorId": 1}}"#), 400, "badRequest"),
        (servers.post("/servers", json, r#"{"server": {"name": "x", "imageId": 1, "flavorId": 99}}"#), 400, "badRequest"),
        (servers.post("/servers", json,
            r#"{"server": {"name": "x", "imageId": 1, "flavorId": 1, "personality": [{"path": "/x", "contents": "!!"}]}}"#),
            400, "badRequest"),
    ];
    for (answer, status, fault) in cases {
        assert_eq!(answer.status, status, "{fault}: {}", answer.text());
        let body = answer.json();
        assert_eq!(body[fault]["code"], status, "{body}");
        assert!(!body[fault]["message"].as_str().unwrap().is_empty());
    }
    let xml = servers.call("/servers/99.xml", &[]);
    assert!(
        xml.text().contains(
            "<itemNotFound xmlns=\"http://docs.rackspacecloud.com/servers/api/v1.0\" code=\"404\">"
        )
    );
    let nobody = curl(&[&format!("{}/servers", servers.base)]);
    assert_eq!((nobody.status, nobody.json()["unauthorized"]["code"].as_u64()), (401, Some(401)));
    assert_eq!(servers.call("/servers", &[]).json()["servers"], serde_json::json!([]));
}

#[test]
fn without_libvirt_storage_is_served_and_a_create_says_what_to_install() {
    let cloud =
        Cloud::start_with(&["--hypervisor", "qemu+unix:///system?socket=/nonexistent/libvirt-sock"], &[]);
    let servers = Servers::of(cloud);
    let account = format!("{}/v1/AUTH_100001/c", servers.cloud.url);
    assert_eq!(curl(&["-X", "PUT", "-H", &servers.token, &account]).status, 201);
    let file = servers.cloud.dir.path().join("disk.raw");
    std::fs::write(&file, vec![0; 1 << 20]).unwrap();
    let imported = servers.cloud.admin_json(&["image", "import", file.to_str().unwrap(), "--format", "raw"]);
    assert_eq!(imported["id"], 1);
    let answer = servers.post(
        "/servers",
        "application/json",
        r#"{"server": {"name": "x", "imageId": 1, "flavorId": 1}}"#,
    );
    assert_eq!(answer.status, 503, "{}", answer.text());
    let text = answer.text();
    assert!(text.contains("serviceUnavailable") || text.contains("serverCapacityUnavailable"), "{text}");
    assert!(text.contains("libvirt") || text.contains("install"), "{text}");
    assert_eq!(servers.call("/servers", &[]).json()["servers"], serde_json::json!([]));
}

#[test]
fn hostile_images_are_rejected() {
    use std::process::Command;
    use tests::cloud::succeed;
    let cloud = Cloud::start();
    let dir = cloud.dir.path();
    let make = |words: &[&str]| succeed(Command::new("qemu-img").args(words).current_dir(dir));
    make(&["create", "-q", "-f", "qcow2", "base.qcow2", "16M"]);
    make(&["create", "-q", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", "backed.qcow2", "16M"]);
    make(&["create", "-q", "-f", "qcow2", "-o", "data_file=data.raw,data_file_raw=on", "split.qcow2", "16M"]);
    make(&["create", "-q", "-f", "qcow2", "huge.qcow2", "60T"]);
    make(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        "secret,id=s,data=abc",
        "-o",
        "encrypt.format=aes,encrypt.key-secret=s",
        "locked.qcow2",
        "16M",
    ]);
    std::fs::write(dir.join("not.qcow2"), b"#!/bin/sh\n").unwrap();
    for (name, why) in
        [("backed", "backing"), ("split", "data file"), ("huge", ""), ("locked", "encrypt"), ("not", "")]
    {
        let path = dir.join(format!("{name}.qcow2"));
        let refused = cloud.admin(&["image", "import", path.to_str().unwrap(), "--format", "qcow2"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{name}: {said}");
        assert!(said.to_lowercase().contains(why), "{name}: {said}");
    }
    let taken =
        cloud.admin_json(&["image", "import", dir.join("base.qcow2").to_str().unwrap(), "--format", "qcow2"]);
    assert_eq!((taken["name"].as_str(), taken["status"].as_str()), (Some("base"), Some("active")));
    let listed = cloud.admin(&["image", "list", "--json"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 2, "the built-in image and this one");
}
