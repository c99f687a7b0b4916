//! Changes to a server, as its guest sees them: password and name, rebuild, resize, images. One cloud, several guests.

use std::process::Command;
use std::thread;

use serde_json::{Value, json};
use tests::cloud::{succeed, until};
use tests::host::guest as guest_image;
use tests::lab::{BOOT, Guest, Lab};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

#[test]
fn password_rebuild_resize_and_images_are_real_in_the_guest() {
    let lab = Lab::start();
    thread::scope(|scope| {
        scope.spawn(|| password(&lab));
        scope.spawn(|| rebuild(&lab));
        scope.spawn(|| resize(&lab));
        scope.spawn(|| images(&lab));
    });
    lab.clean();
}

fn end(lab: &Lab, guest: &Guest) {
    assert_eq!(lab.delete(&format!("/servers/{}", guest.id)).status, 202);
    lab.vanishes(guest);
}

/// Update Server: the new password works, the old one does not, and the guest's host name is unchanged.
fn password(lab: &Lab) {
    let mut guest = lab.boot("pass", &json!({}));
    let path = format!("/servers/{}", guest.id);
    let stop = lab.stop_at("after.set_password");
    let answer = lab.send("PUT", &path, &json!({ "server": { "adminPass": "n3w:pa ss\"w'ord" } }));
    assert_eq!(answer.status, 202, "{}", answer.text());
    stop.reached();
    assert_eq!(lab.status(&guest), "PASSWORD");
    let busy = lab.send("POST", &format!("{path}/action"), &json!({ "reboot": { "type": "HARD" } }));
    assert_eq!((busy.status, busy.json()["buildInProgress"]["code"].as_u64()), (409, Some(409)));
    stop.release();
    lab.becomes(&guest, "ACTIVE");
    assert!(!lab.ssh(&guest, &guest.private, "true").status.success(), "the old password still works");
    "n3w:pa ss\"w'ord".clone_into(&mut guest.password);
    assert_eq!(lab.says(&guest, "hostname"), "pass\n");

    let answer = lab.send("PUT", &path, &json!({ "server": { "name": "renamed" } }));
    assert_eq!(answer.status, 202);
    assert_eq!(lab.shown(&guest)["name"], "renamed");
    // Both remain after a boot.
    let boots = lab.boots(&guest);
    lab.act(&guest, &json!({ "reboot": { "type": "SOFT" } }));
    lab.booted(&guest, boots + 1);
    assert_eq!(lab.says(&guest, "hostname"), "pass\n");
    end(lab, &guest);
}

/// Rebuild Server: the disk is replaced; ids, addresses and password are unchanged.
fn rebuild(lab: &Lab) {
    let guest = lab.boot("phoenix", &json!({}));
    let before = lab.shown(&guest);
    lab.keep(&guest, "old");
    lab.act(&guest, &json!({ "rebuild": {} }));
    let progress = lab.becomes(&guest, "ACTIVE");
    assert!(progress.is_sorted(), "{progress:?}");
    lab.booted(&guest, 2);
    assert_eq!(lab.kept(&guest), "nothing");
    assert_eq!(lab.fact(&guest, "personality="), Some("applied".into()));

    // From another image: the same file under another name, and so with the same digest.
    let disk = guest_image().join("guest.qcow2").display().to_string();
    let second =
        lab.cloud.admin_json(&["image", "import", &disk, "--format", "qcow2", "--name", "By loader"]);
    lab.keep(&guest, "old again");
    lab.act(&guest, &json!({ "rebuild": { "imageId": second["id"] } }));
    lab.becomes(&guest, "ACTIVE");
    lab.booted(&guest, 3);
    assert_eq!(lab.kept(&guest), "nothing");
    let after = lab.shown(&guest);
    assert_eq!((&after["imageId"], &before["imageId"]), (&second["id"], &json!(1)));
    for same in ["id", "name", "hostId", "addresses", "flavorId"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    let wrong =
        lab.send("POST", &format!("/servers/{}/action", guest.id), &json!({ "rebuild": { "imageId": 999 } }));
    assert_eq!((wrong.status, lab.status(&guest).as_str()), (400, "ACTIVE"));
    end(lab, &guest);
}

fn assert_size(lab: &Lab, guest: &Guest, mib: u64, gib: u64) {
    let (memory, disk) = (lab.number(guest, "memory="), lab.number(guest, "root-size="));
    // The kernel reserves some of the memory, the file system some of the disk.
    assert!(memory > (mib - 80) * MIB && memory <= mib * MIB, "{memory} bytes of {mib} MiB");
    assert!(disk > gib * GIB * 9 / 10 && disk <= gib * GIB, "{disk} bytes of {gib} GiB");
}

/// Resize Server: both sizes take effect and the data is kept; after a revert everything is as before.
fn resize(lab: &Lab) {
    let guest = lab.boot("grows", &json!({}));
    lab.keep(&guest, "small");
    assert_size(lab, &guest, 256, 10);

    let stop = lab.stop_at("before.begin_resize");
    lab.act(&guest, &json!({ "resize": { "flavorId": 2 } }));
    stop.reached();
    assert_eq!(lab.status(&guest), "PREP_RESIZE");
    stop.release();
    let progress = lab.becomes(&guest, "VERIFY_RESIZE");
    assert!(progress.is_sorted() && progress.len() >= 2, "{progress:?}");
    lab.booted(&guest, 2);
    assert_size(lab, &guest, 512, 20);
    assert_eq!(lab.kept(&guest), "small");
    lab.keep(&guest, "large");
    let again =
        lab.send("POST", &format!("/servers/{}/action", guest.id), &json!({ "resize": { "flavorId": 1 } }));
    assert_eq!(again.json()["backupOrResizeInProgress"]["code"], 409, "{}", again.text());

    lab.act(&guest, &json!({ "revertResize": null }));
    lab.becomes(&guest, "ACTIVE");
    lab.booted(&guest, 3);
    assert_size(lab, &guest, 256, 10);
    assert_eq!((lab.kept(&guest).as_str(), lab.shown(&guest)["flavorId"].as_u64()), ("small", Some(1)));

    lab.act(&guest, &json!({ "resize": { "flavorId": 2 } }));
    lab.becomes(&guest, "VERIFY_RESIZE");
    lab.booted(&guest, 4);
    lab.keep(&guest, "large for good");
    let answer =
        lab.send("POST", &format!("/servers/{}/action", guest.id), &json!({ "confirmResize": null }));
    assert_eq!(answer.status, 204);
    until("the disk to have one layer", BOOT, || {
        (!lab.host().volumes().contains(&format!("{}.resized.qcow2", guest.machine))).then_some(())
    });
    lab.becomes(&guest, "ACTIVE");
    assert_eq!(lab.kept(&guest), "large for good");
    assert_eq!(lab.boots(&guest), 4, "confirming needs no boot");
    end(lab, &guest);
}

fn image(lab: &Lab, id: u64) -> Value {
    lab.get(&format!("/images/{id}"))["image"].clone()
}

/// Create an Image: every status, the bytes in the owner's account, and a server from it; Custom Image Upload.
fn images(lab: &Lab) {
    let guest = lab.boot("photo", &json!({}));
    lab.keep(&guest, "in the picture");
    let (taking, saving) = (lab.stop_at("before.take_snapshot"), lab.stop_at("after.open_snapshot"));
    let answer = lab.send("POST", "/images", &json!({ "image": { "serverId": guest.id, "name": "Snap" } }));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let asked = answer.json()["image"].clone();
    let id = asked["id"].as_u64().unwrap();
    assert_eq!((&asked["status"], &asked["progress"]), (&json!("QUEUED"), &json!(0)));
    taking.reached();
    assert_eq!(image(lab, id)["status"], "PREPARING");
    assert_eq!(lab.status(&guest), "ACTIVE", "a server is ACTIVE while an image is made of it");
    taking.release();
    saving.reached();
    let half = image(lab, id);
    assert_eq!(half["status"], "SAVING");
    assert!(half["progress"].as_u64() >= Some(40), "{half}");
    saving.release();
    let mut seen = vec![40];
    until("the image to be ACTIVE", BOOT, || {
        let image = image(lab, id);
        seen.extend(image["progress"].as_u64());
        (image["status"] == "ACTIVE").then_some(())
    });
    assert!(seen.is_sorted(), "{seen:?}");

    // It is an object of the owner, and a valid disk image.
    let listed = lab.call(&format!("{}/cloudservers?format=json", lab.files), &[]).json();
    let name = listed[0]["name"].as_str().expect("an object").to_owned();
    let copy = lab.cloud.dir.path().join("copy.qcow2");
    let url = format!("{}/cloudservers/{name}", lab.files);
    let download = lab.call(&url, &[]);
    assert_eq!(download.status, 200);
    std::fs::write(&copy, download.body).unwrap();
    let info: Value =
        serde_json::from_str(&succeed(Command::new("qemu-img").args(["info", "--output=json"]).arg(&copy)))
            .unwrap();
    assert_eq!((&info["format"], &info["backing-filename"]), (&json!("qcow2"), &Value::Null));
    assert_eq!(info["virtual-size"], 10 * GIB);
    succeed(Command::new("qemu-img").args(["check", "-q"]).arg(&copy));

    let twin = lab.create("twin", &json!({ "imageId": id, "flavorId": 2 }));
    // The object may be deleted: servers and images from it are not affected.
    assert_eq!(lab.call(&url, &["-X", "DELETE"]).status, 204);
    lab.becomes(&twin, "ACTIVE");
    lab.booted(&twin, 1);
    assert_eq!(lab.kept(&twin), "in the picture");
    assert_eq!(lab.says(&twin, "hostname"), "twin\n");
    end(lab, &twin);
    end(lab, &guest);
    upload(lab);
}

/// Custom Image Upload: stored in Cloud Files, registered by its owner, booted with its own boot loader.
fn upload(lab: &Lab) {
    let put = |name: &str, path: &str| {
        assert_eq!(lab.call(&format!("{}/mine", lab.files), &["-X", "PUT"]).status / 100, 2);
        let answer = lab.call(&format!("{}/mine/{name}", lab.files), &["-X", "PUT", "-T", path]);
        assert_eq!(answer.status, 201, "{}", answer.text());
    };
    let settled = |object: &str| {
        let source = format!("mine/{object}.qcow2");
        let new = json!({ "image": { "name": object, "source": source, "format": "qcow2" } });
        let answer = lab.send("POST", "/images", &new);
        assert_eq!(
            (answer.status, &answer.json()["image"]["status"]),
            (202, &json!("QUEUED")),
            "{}",
            answer.text()
        );
        let id = answer.json()["image"]["id"].as_u64().unwrap();
        until("the image to be ACTIVE or FAILED", BOOT, || {
            let image = image(lab, id);
            ["ACTIVE", "FAILED"].contains(&image["status"].as_str().unwrap()).then_some(image)
        })
    };
    let backed = lab.cloud.dir.path().join("backed.qcow2").display().to_string();
    let words = ["create", "-q", "-f", "qcow2", "-b", "/etc/shadow", "-F", "raw", &backed, "16M"];
    succeed(Command::new("qemu-img").args(words));
    put("backed.qcow2", &backed);
    let refused = settled("backed");
    assert!(refused["reason"].as_str().unwrap_or_default().contains("backing file"), "{refused}");
    // The operator gets the same errors, and no image remains.
    let register = |object: &str| {
        lab.cloud.admin(&["image", "register", object, "--tenant", "100001", "--format", "qcow2", "--json"])
    };
    let refused = register("mine/backed.qcow2");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("backing"), "{said}");
    assert_eq!(register("mine/nothing.qcow2").status.code(), Some(1));

    put("own.qcow2", &guest_image().join("guest.qcow2").display().to_string());
    let own = settled("own");
    assert_eq!(own["status"], "ACTIVE", "{own}");
    let names = lab.get("/images")["images"].clone();
    assert!(names.as_array().unwrap().iter().any(|image| image["name"] == "own"), "{names}");
    let guest = lab.boot("by-loader", &json!({ "imageId": own["id"] }));
    assert_eq!(lab.says(&guest, "hostname"), "by-loader\n");
    end(lab, &guest);
    // An image that the operator registers belongs to the tenant too, and replaces the one with the same name.
    let taken = register("mine/own.qcow2");
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    assert_eq!(lab.call(&format!("{}/images/{}", lab.base, own["id"]), &[]).status, 404);
}
