//! Custom images over the public API, with curl: an object becomes an image even if the program is killed; tenants share it.

use std::process::Command;

use serde_json::{Value, json};
use tests::cloud::{Cloud, PATIENCE, succeed, until};
use tests::http::{Answer, curl, sign_in};

const KEY: &str = "0123456789abcdef";

/// A user's access to the APIs.
struct User {
    files: String,
    servers: String,
    token: String,
}

impl User {
    fn signed_in(cloud: &Cloud, name: &str, key: &str) -> Self {
        let answer = sign_in(&cloud.url, name, key);
        Self {
            files: answer.header("x-storage-url").to_owned(),
            servers: answer.header("x-server-management-url").to_owned(),
            token: format!("X-Auth-Token: {}", answer.header("x-auth-token")),
        }
    }

    /// Creates a tenant with a user.
    fn new(cloud: &Cloud, tenant: &str) -> Self {
        assert!(cloud.admin(&["tenant", "create", tenant]).status.success());
        let words = ["user", "create", tenant, "--tenant", tenant, "--api-key", KEY];
        assert!(cloud.admin(&words).status.success());
        Self::signed_in(cloud, tenant, KEY)
    }

    fn tenant(&self) -> &str {
        self.servers.rsplit('/').next().unwrap()
    }

    fn file(&self, path: &str, words: &[&str]) -> Answer {
        curl(&[&["-H", &self.token, &format!("{}/{path}", self.files)], words].concat())
    }

    fn put(&self, container: &str, object: &str, file: &std::path::Path) {
        assert_eq!(self.file(container, &["-X", "PUT"]).status / 100, 2);
        let path = file.display().to_string();
        assert_eq!(self.file(&format!("{container}/{object}"), &["-X", "PUT", "-T", &path]).status, 201);
    }

    fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let url = format!("{}{path}", self.servers);
        let words = ["-H", &self.token, "-X", method, "-H", "Content-Type: application/json", &url];
        if body.is_empty() { curl(&words) } else { curl(&[&words[..], &["-d", body]].concat()) }
    }

    fn register(&self, source: &str, format: &str) -> Answer {
        let new = json!({ "image": { "name": "disk", "source": source, "format": format } });
        self.call("POST", "/images", &new.to_string())
    }

    fn image(&self, id: &Value) -> Value {
        self.call("GET", &format!("/images/{id}"), "").json()["image"].clone()
    }

    /// Waits until an image is ACTIVE or FAILED and returns it.
    fn settled(&self, id: &Value) -> Value {
        until("the image to be ACTIVE or FAILED", PATIENCE, || {
            let image = self.image(id);
            ["ACTIVE", "FAILED"].contains(&image["status"].as_str().unwrap_or_default()).then_some(image)
        })
    }

    fn names(&self) -> Vec<String> {
        let list = self.call("GET", "/images", "").json();
        list["images"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// Counts pins, announced pins, pins to release, and temporary files.
fn left(cloud: &Cloud) -> [usize; 4] {
    let rows = |database: &str, table: &str| {
        let found = cloud.query(database, &format!("SELECT pin FROM {table}"));
        found.iter().filter(|row| !row[0].contains('/')).count()
    };
    let aside = std::fs::read_dir(cloud.data().join("scratch")).map_or(0, Iterator::count);
    [rows("files", "pins"), rows("images", "pinnings"), rows("images", "discarded"), aside]
}

#[test]
fn an_upload_becomes_an_image_though_the_program_is_killed() {
    let mut cloud = Cloud::start();
    let ann = User::new(&cloud, "ann");
    let (raw, disk) = (cloud.dir.path().join("disk.raw"), cloud.dir.path().join("disk.qcow2"));
    let random = ["if=/dev/urandom", "bs=1M", "count=96", "status=none", &format!("of={}", raw.display())];
    succeed(Command::new("dd").args(random));
    succeed(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(&disk));
    ann.put("disks", "disk.qcow2", &disk);
    let answer = ann.register("disks/disk.qcow2", "qcow2");
    assert_eq!(answer.status, 202, "{}", answer.text());
    let asked = answer.json()["image"].clone();
    assert_eq!((&asked["status"], &asked["progress"]), (&json!("QUEUED"), &json!(0)));
    cloud.kill();
    cloud.launch();
    // The object may be deleted: the image is a copy of what was registered.
    assert_eq!(ann.file("disks/disk.qcow2", &["-X", "DELETE"]).status, 204);
    let image = ann.settled(&asked["id"]);
    assert_eq!(image["status"], "ACTIVE", "{image}");
    assert_eq!(left(&cloud), [1, 0, 0, 0]);
    let server = json!({ "server": { "name": "s", "imageId": asked["id"], "flavorId": 1 } });
    let built = ann.call("POST", "/servers", &server.to_string());
    assert_eq!(built.status, 202, "{}", built.text());
    until("the server", PATIENCE, || {
        (ann.call("GET", "/servers/1", "").json()["server"]["status"] == "ACTIVE").then_some(())
    });
    assert_eq!(ann.call("DELETE", &format!("/images/{}", asked["id"]), "").status, 204);
    assert_eq!(left(&cloud), [0, 0, 0, 0]);
}

#[test]
fn an_object_that_is_not_a_disk_is_rejected_with_the_reason() {
    let cloud = Cloud::start_saying(&["--hypervisor", "simulated:?delay=20"], &[], &[("NEPHOS_CLOCK", "+0")]);
    let ann = User::new(&cloud, "ann");
    let path = |name: &str| cloud.dir.path().join(name);
    std::fs::write(path("plain"), vec![0; 1024]).unwrap();
    let backed = ["create", "-q", "-f", "qcow2", "-b", "/etc/shadow", "-F", "raw"];
    succeed(Command::new("qemu-img").args(backed).arg(path("backed")).arg("16M"));
    succeed(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(path("huge")).arg("700G"));
    for (object, said) in [("backed", "backing file"), ("huge", "virtual size"), ("plain", "not a qcow2")] {
        ann.put("disks", object, &path(object));
        let answer = ann.register(&format!("disks/{object}"), "qcow2");
        assert_eq!(answer.status, 202, "{}", answer.text());
        let id = answer.json()["image"]["id"].clone();
        let image = ann.settled(&id);
        let reason = image["reason"].as_str().unwrap_or_default();
        assert!(image["status"] == "FAILED" && reason.contains(said), "{image}");
        assert_eq!(ann.call("DELETE", &format!("/images/{id}"), "").status, 204);
    }
    // A large object's content is its segments; its manifest must not be used as a disk.
    let manifest = json!([{ "path": "/disks/plain" }]).to_string();
    let put = ann.file("disks/large?multipart-manifest=put", &["-X", "PUT", "-d", &manifest]);
    assert_eq!(put.status, 201, "{}", put.text());
    std::fs::write(path("empty"), "").unwrap();
    let (empty, header) = (path("empty").display().to_string(), "X-Object-Manifest: disks/plain");
    assert_eq!(ann.file("disks/dynamic", &["-X", "PUT", "-H", header, "-T", &empty]).status, 201);
    for object in ["large", "dynamic"] {
        let large = ann.register(&format!("disks/{object}"), "raw");
        let said = large.text();
        assert_eq!((large.status, said.contains("refers to other objects")), (400, true), "{said}");
    }
    // An expired object is missing, whether or not it was removed yet.
    let file = path("plain").display().to_string();
    let dying = ["-X", "PUT", "-H", "X-Delete-After: 60", "-T", &file];
    assert_eq!(ann.file("disks/dying", &dying).status, 201);
    cloud.admin_json(&["clock", "--advance", "61"]);
    assert_eq!(ann.register("disks/dying", "raw").status, 404);
    let missing = ann.register("disks/nothing", "raw");
    assert_eq!((missing.status, &missing.json()["itemNotFound"]["code"]), (404, &json!(404)));
    until("everything to be removed", PATIENCE, || (left(&cloud) == [0, 0, 0, 0]).then_some(()));
    assert_eq!(ann.names(), ["Simulated"]);
}

#[test]
fn tenants_and_the_operator_share_images() {
    let cloud = Cloud::start();
    let (ann, bob) = (User::new(&cloud, "ann"), User::new(&cloud, "bob"));
    std::fs::write(cloud.dir.path().join("plain"), vec![0; 1024]).unwrap();
    ann.put("disks", "plain", &cloud.dir.path().join("plain"));
    let id = ann.register("disks/plain", "raw").json()["image"]["id"].clone();
    assert_eq!(ann.settled(&id)["status"], "ACTIVE");
    let access = format!("/images/{id}/access");
    let (with_bob, nobody) = (format!("{access}/{}", bob.tenant()), format!("{access}/123456789"));
    assert_eq!(bob.names(), ["Simulated"]);
    // The API does not reveal which accounts exist, and does not accept names.
    let by_name = format!("{access}/bob");
    for stranger in [&nobody, &by_name] {
        assert_eq!(ann.call("PUT", stranger, "").status, 204);
        assert_eq!(bob.names(), ["Simulated"]);
        assert_eq!(ann.call("DELETE", stranger, "").status, 204);
    }
    assert_eq!(ann.call("PUT", &with_bob, "").status, 204);
    assert_eq!(bob.names(), ["Simulated", "disk"]);
    let shown = json!({ "access": { "public": false, "tenants": [bob.tenant()] } });
    assert_eq!(ann.call("GET", &access, "").json(), shown);
    let server = json!({ "server": { "name": "s", "imageId": id, "flavorId": 1 } }).to_string();
    assert_eq!(bob.call("POST", "/servers", &server).status, 202);
    assert_eq!(bob.call("DELETE", &format!("/images/{id}"), "").status, 403);
    assert_eq!(ann.call("DELETE", &with_bob, "").status, 204);
    assert_eq!(bob.call("POST", "/servers", &server).status, 400);

    // The operator does the same with any tenant's image and with the cloud's own.
    let number = id.to_string();
    let card = cloud.admin_json(&["image", "share", &number, "--tenant", "bob"]);
    assert_eq!((&card["owner"], &card["tenants"]), (&json!(ann.tenant()), &json!([bob.tenant()])));
    assert_eq!(bob.names(), ["Simulated", "disk"]);
    let of_bob = cloud.admin(&["image", "list", "--tenant", "bob"]);
    let table = String::from_utf8(of_bob.stdout).unwrap();
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["ID", "NAME", "UUID", "STATUS", "OWNER", "PROGRESS", "PUBLIC", "TENANTS"]);
    let row: Vec<&str> = table.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!((row[1], row[4], row[6], row[7]), ("disk", ann.tenant(), "false", bob.tenant()), "{table}");
    assert_eq!(cloud.admin_json(&["image", "unshare", &number, "--tenant", "bob"])["tenants"], json!([]));
    assert_eq!(cloud.admin_json(&["image", "unshare", "1", "--public"])["public"], false);
    assert_eq!(bob.names(), [""; 0]);
    assert_eq!(cloud.admin_json(&["image", "list"])["name"], "Simulated");
    assert_eq!(cloud.admin_json(&["image", "share", "1", "--public"])["public"], true);
    assert_eq!(bob.names(), ["Simulated"]);
    for words in
        [&["share", "1"][..], &["share", "1", "--public", "--tenant", "bob"], &["share", "99", "--public"]]
    {
        assert!(!cloud.admin(&[&["image"], words].concat()).status.success(), "{words:?}");
    }

    // A deleted tenant is no longer listed.
    assert_eq!(ann.call("PUT", &with_bob, "").status, 204);
    assert!(cloud.admin(&["tenant", "delete", "bob"]).status.success());
    until("bob to be removed from the members", PATIENCE, || {
        (ann.call("GET", &access, "").json()["access"]["tenants"] == json!([])).then_some(())
    });
}
