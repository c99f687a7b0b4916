//! Determines how an operation ended, and checks what must be as before.

use serde_json::{Value, json};

use super::{End, Operation, Stage, Victim};
use crate::cloud::until;
use crate::lab::{BOOT, Guest, Stop};

/// Statuses without an operation in progress.
const AT_REST: [&str; 5] = ["ACTIVE", "VERIFY_RESIZE", "ERROR", "SUSPENDED", "DELETED"];

impl Operation {
    /// Waits until no operation is in progress and the status agrees with the machine.
    pub(super) fn settle(self, stage: &Stage, guest: &Guest) {
        let lab = &stage.lab;
        if self == Self::Delete {
            return lab.vanishes(guest);
        }
        if self == Self::Image {
            until("the image to be ACTIVE or to fail", BOOT, || {
                let image = stage.newest_image();
                ["ACTIVE", "FAILED"].contains(&image["status"].as_str()?).then_some(())
            });
        }
        until(&format!("server {} to finish its operation", guest.id), BOOT, || {
            let status = lab.status(guest);
            if !AT_REST.contains(&status.as_str()) {
                return None;
            }
            let told = match status.as_str() {
                "ACTIVE" => stage.runs(guest),
                "ERROR" | "SUSPENDED" => !stage.runs(guest),
                _ => true,
            };
            // v1.0 shows ACTIVE while an image is being created.
            let statement = format!("SELECT 1 FROM jobs WHERE subject = '{}'", guest.machine);
            (told && lab.cloud.query("compute", &statement).is_empty()).then_some(())
        });
    }

    /// Returns the outcome, as the server and its guest show it.
    pub(super) fn ended(self, stage: &mut Stage, guest: &Guest, victim: Victim) -> End {
        if self == Self::Delete {
            return End::Done;
        }
        let status = stage.lab.status(guest);
        let failed = stage.failure_of(guest);
        if status == "ERROR" || status == "SUSPENDED" {
            assert_eq!(victim, Victim::Qemu, "{status} ({failed:?})");
            stage.revive(guest);
            return End::Revived;
        }
        if let Some(reason) = failed {
            assert_eq!(victim, Victim::Qemu, "it failed: {reason}");
            return End::Undone;
        }
        self.verify(stage, guest);
        End::Done
    }

    /// Checks that the operation took effect.
    fn verify(self, stage: &mut Stage, guest: &Guest) {
        let lab = &stage.lab;
        let shown = lab.shown(guest);
        match self {
            Self::Build | Self::Rebuild => {
                lab.booted(guest, 1);
                assert_eq!(lab.kept(guest), "nothing");
            }
            Self::Password => {
                let mut changed = guest.clone();
                changed.password = format!("secret-{}", stage.serial);
                assert_eq!(lab.says(&changed, "echo in").trim(), "in");
                assert!(
                    !lab.ssh(guest, &guest.private, "true").status.success(),
                    "the old password still works"
                );
            }
            Self::Resize => assert_eq!(shown["status"], "VERIFY_RESIZE"),
            Self::Confirm | Self::Revert => assert_eq!(shown["status"], "ACTIVE"),
            Self::Image => assert_eq!(stage.newest_image()["status"], "ACTIVE"),
            Self::Share | Self::ShareConfigured => {
                assert_eq!(shown["addresses"]["public"].as_array().map(Vec::len), Some(2))
            }
            Self::Unshare => assert_eq!(shown["addresses"]["public"].as_array().map(Vec::len), Some(1)),
            Self::RebootSoft | Self::RebootHard | Self::Delete => {}
        }
    }
}

impl Stage {
    /// Waits until the step is reached or the operation ended without it; returns whether it was reached.
    pub(super) fn meets(&self, stop: &Stop, operation: Operation, guest: &Guest) -> bool {
        let done = |row: &Vec<String>| row[0] != "None";
        let mut looks = 0;
        until(&format!("a step of {}", operation.name()), BOOT, || {
            looks += 1;
            if stop.is_reached() {
                return Some(true);
            }
            if looks % 50 != 0 {
                return None;
            }
            let statement = format!(
                "SELECT finished FROM actions WHERE server = '{}' ORDER BY id DESC LIMIT 1",
                guest.machine
            );
            self.lab.cloud.query("compute", &statement).iter().any(done).then(|| stop.is_reached())
        })
    }

    fn runs(&self, guest: &Guest) -> bool {
        let states = self.lab.host().virsh(&["list", "--state-running", "--uuid"]);
        states.contains(&guest.machine)
    }

    /// Returns what the action log says of the last action, if anything.
    fn failure_of(&self, guest: &Guest) -> Option<String> {
        let statement = format!(
            "SELECT message, finished FROM actions WHERE server = '{}' ORDER BY id DESC LIMIT 1",
            guest.machine
        );
        let row = self.lab.cloud.query("compute", &statement).remove(0);
        assert_ne!(row[1], "None", "the action log shows it as unfinished");
        (row[0] != "None").then(|| row[0].clone())
    }

    fn newest_image(&self) -> Value {
        let images = self.lab.get("/images/detail")["images"].clone();
        let mine = images.as_array().into_iter().flatten().filter(|image| image["serverId"].is_u64());
        mine.max_by_key(|image| image["id"].as_u64()).cloned().unwrap_or_default()
    }

    /// Recovers a server as its owner would.
    fn revive(&self, guest: &Guest) {
        let boots = self.lab.boots(guest);
        self.lab.act(guest, &json!({ "reboot": { "type": "HARD" } }));
        until("the server to recover", BOOT, || {
            let status = self.lab.status(guest);
            assert_ne!(status, "ERROR", "a hard reboot did not recover it");
            (status == "ACTIVE").then_some(())
        });
        self.lab.booted(guest, boots + 1);
    }

    /// Reverts what a case changed and checks that nothing is left over.
    pub(super) fn restore(&mut self, operation: Operation, guest: &Guest) {
        match operation {
            Operation::Delete => {
                assert!(
                    !self.lab.host().volumes().iter().any(|name| name.starts_with(&guest.machine)),
                    "volumes are left over"
                );
                assert!(
                    !self.lab.host().virsh(&["nwfilter-list"]).contains(&guest.machine),
                    "filters are left over"
                );
                return;
            }
            Operation::Build => {
                assert_eq!(self.lab.delete(&format!("/servers/{}", guest.id)).status, 202);
                self.lab.vanishes(guest);
                return self.lab.clean();
            }
            _ => {}
        }
        if self.lab.status(guest) == "VERIFY_RESIZE" {
            // If its confirmation was interrupted, the resize can only be confirmed; the machine may be off meanwhile.
            let runs = self.runs(guest);
            self.lab.act(guest, &json!({ "confirmResize": null }));
            if runs {
                self.lab.becomes(guest, "ACTIVE");
            } else {
                until("the resize to be confirmed", BOOT, || {
                    let status = self.lab.status(guest);
                    ["ERROR", "SUSPENDED"].contains(&status.as_str()).then_some(())
                });
                self.revive(guest);
            }
        }
        if operation == Operation::Image {
            let id = self.newest_image()["id"].clone();
            assert_eq!(self.lab.delete(&format!("/images/{id}")).status, 204);
        }
        let shared =
            self.lab.shown(guest)["addresses"]["public"].as_array().is_some_and(|all| all.len() == 2);
        if shared {
            let vip = self.actors().owner.public.clone();
            assert_eq!(self.lab.delete(&format!("/servers/{}/ips/public/{vip}", guest.id)).status, 202);
            self.lab.becomes(guest, "ACTIVE");
        }
        if operation == Operation::Password {
            self.learn_password(guest);
        }
        self.wait_for_guest(guest);
        self.assert_whole(guest);
    }

    /// Finds out which of the two passwords is valid after setting the new one was interrupted.
    fn learn_password(&mut self, guest: &Guest) {
        let new = format!("secret-{}", self.serial);
        self.wait_for_guest(guest);
        let mut other = guest.clone();
        other.password.clone_from(&new);
        let opens = until("one of the two passwords to work", BOOT, || {
            let found = [guest, &other]
                .into_iter()
                .find(|guest| self.lab.ssh(guest, &guest.private, "true").status.success());
            found.map(|guest| guest.password.clone())
        });
        if let Some(actors) = &mut self.actors {
            actors.guest.password = opens;
        }
    }

    /// Waits until the machine's current run has booted: the end of its console log is that of a boot.
    fn wait_for_guest(&self, guest: &Guest) {
        until("the guest to boot", BOOT, || {
            self.lab
                .ssh(guest, &guest.private, "test -e /run/facts")
                .status
                .code()
                .is_some_and(|code| code != 255)
                .then_some(())
        });
    }

    /// Checks that there is one disk, one config drive, one console, the filters of two interfaces, and no image in transfer.
    fn assert_whole(&self, guest: &Guest) {
        let host = self.lab.host();
        let mut left = Vec::new();
        let whole =
            ["config.iso", "console.log", "disk.qcow2"].map(|suffix| format!("{}.{suffix}", guest.machine));
        let clean = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("leftovers to be removed", BOOT, || {
                let mine = host.volumes().into_iter().filter(|name| name.starts_with(&guest.machine));
                let snapshots = host.volumes().into_iter().filter(|name| name.starts_with("snapshot-"));
                left = mine.chain(snapshots).collect();
                (left == whole).then_some(())
            });
        }));
        assert!(clean.is_ok(), "expected {whole:?}, found {left:?}");
        let filters = host.virsh(&["nwfilter-list"]);
        assert_eq!(filters.matches(&guest.machine).count(), 2, "{filters}");
        let statement = format!("SELECT vm, task FROM servers WHERE id = '{}'", guest.machine);
        assert_eq!(self.lab.cloud.query("compute", &statement), [["active", "None"]]);
    }
}
