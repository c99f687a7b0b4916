//! Scheduled operations: backups in their windows, automatic confirmation of resizes. The cloud's clock is advanced.

use serde_json::{Value, json};
use tests::cloud::until;
use tests::lab::{BOOT, Lab};

const HOUR: u64 = 3600;

/// Returns the second of the day by the cloud's clock.
fn second_of_day(lab: &Lab) -> u64 {
    let now = lab.cloud.admin_json(&["clock"])["now"].as_str().expect("a time").to_owned();
    let part = |range: std::ops::Range<usize>| now[range].parse::<u64>().expect("digits");
    part(11..13) * HOUR + part(14..16) * 60 + part(17..19)
}

fn backups(lab: &Lab) -> Vec<Value> {
    let images = lab.get("/images/detail")["images"].clone();
    let daily = images.as_array().into_iter().flatten().filter(|image| image["name"] == "daily");
    daily.cloned().collect()
}

/// Waits until there is exactly one new backup and it is ACTIVE; returns its id.
fn backed_up(lab: &Lab, before: Option<u64>) -> u64 {
    until("the backup to be made", BOOT, || {
        let found = backups(lab);
        let id = found.first()?["id"].as_u64()?;
        let done = found.len() == 1 && found[0]["status"] == "ACTIVE" && Some(id) != before;
        done.then_some(id)
    })
}

#[test]
fn backups_are_made_in_their_windows_and_undecided_resizes_are_confirmed() {
    let mut lab = Lab::start();
    let guest = lab.boot("clockwork", &json!({}));
    lab.keep(&guest, "monday");

    // A window that opens in 3 to 5 hours, whatever the time is.
    let began = second_of_day(&lab);
    let opens = (began / HOUR / 2 * 2 + 4) % 24;
    let window = format!("H_{opens:02}00_{:02}00", (opens + 2) % 24);
    let schedule = json!({ "backupSchedule": { "enabled": true, "weekly": "DISABLED", "daily": window } });
    let path = format!("/servers/{}/backup_schedule", guest.id);
    assert_eq!(lab.send("POST", &path, &schedule).status, 204, "{window}");
    let until_open = (opens * HOUR + 24 * HOUR - began) % (24 * HOUR);
    lab.advance(until_open - 600);
    assert_eq!(backups(&lab), Vec::<Value>::new(), "ten minutes early");
    lab.advance(900);
    let first = backed_up(&lab, None);
    lab.becomes(&guest, "ACTIVE");

    // The next day another backup replaces it.
    lab.keep(&guest, "tuesday");
    lab.advance(24 * HOUR);
    lab.sign_in();
    let second = backed_up(&lab, Some(first));
    assert_ne!(first, second);

    // Stopped during a whole window: the action log says so, and the next window is used.
    lab.cloud.stop();
    lab.cloud.say("NEPHOS_CLOCK", &format!("+{}", until_open + 300 + 24 * HOUR + 30 * HOUR));
    lab.cloud.launch();
    lab.sign_in();
    until("the missed window to be recorded", BOOT, || {
        let said = lab.cloud.query("compute", "SELECT message FROM actions WHERE action = 'backup'");
        said.iter().any(|row| row[0].contains("window ended")).then_some(())
    });
    assert_eq!(backed_up(&lab, None), second, "no backup was created");
    lab.advance(18 * HOUR);
    lab.sign_in();
    let third = backed_up(&lab, Some(second));

    // It is a complete image: a server from it has the contents of the disk.
    let twin = lab.boot("twin", &json!({ "imageId": third }));
    assert_eq!(lab.kept(&twin), "tuesday");
    assert_eq!(lab.delete(&format!("/servers/{}", twin.id)).status, 202);
    assert_eq!(lab.send("DELETE", &path, &json!({})).status, 204);

    // A resize that is neither confirmed nor reverted is confirmed after a day.
    lab.act(&guest, &json!({ "resize": { "flavorId": 2 } }));
    lab.becomes(&guest, "VERIFY_RESIZE");
    lab.booted(&guest, 2);
    lab.advance(23 * HOUR);
    lab.sign_in();
    assert_eq!(lab.status(&guest), "VERIFY_RESIZE");
    lab.advance(HOUR + 60);
    lab.sign_in();
    lab.becomes(&guest, "ACTIVE");
    assert_eq!(lab.shown(&guest)["flavorId"], 2);
    assert!(!lab.host().volumes().iter().any(|name| name.contains(".resized.")), "one layer");
    assert_eq!(lab.kept(&guest), "tuesday");
    assert_eq!(lab.delete(&format!("/servers/{}", guest.id)).status, 202);
    lab.vanishes(&guest);
    lab.vanishes(&twin);
    lab.clean();
}
