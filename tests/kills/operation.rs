//! The asynchronous operations: how each is prepared and started, and which calls to the host it makes.

use serde_json::{Value, json};

use super::Stage;
use crate::lab::{BOOT, Guest};

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Create Server.
    Build,
    /// Reboot Server, SOFT.
    RebootSoft,
    /// Reboot Server, HARD.
    RebootHard,
    /// Update Server, the password.
    Password,
    /// Rebuild Server.
    Rebuild,
    /// Resize Server.
    Resize,
    /// Confirm Resized Server.
    Confirm,
    /// Revert Resized Server.
    Revert,
    /// Create an Image.
    Image,
    /// Share an IP Address without configuration.
    Share,
    /// Share an IP Address with configuration.
    ShareConfigured,
    /// Unshare an IP Address.
    Unshare,
    /// Delete Server.
    Delete,
}

type Step = (&'static str, bool);

impl Operation {
    /// All operations; those that need a new server come last.
    pub const ALL: [Self; 13] = [
        Self::RebootSoft,
        Self::RebootHard,
        Self::Password,
        Self::Rebuild,
        Self::Resize,
        Self::Confirm,
        Self::Revert,
        Self::Image,
        Self::Share,
        Self::ShareConfigured,
        Self::Unshare,
        Self::Delete,
        Self::Build,
    ];

    /// Returns the name in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::RebootSoft => "reboot SOFT",
            Self::RebootHard => "reboot HARD",
            Self::Password => "password",
            Self::Rebuild => "rebuild",
            Self::Resize => "resize",
            Self::Confirm => "confirm",
            Self::Revert => "revert",
            Self::Image => "image",
            Self::Share => "share",
            Self::ShareConfigured => "share, configured",
            Self::Unshare => "unshare",
            Self::Delete => "delete",
        }
    }

    /// Returns the calls to the host that it makes, each with whether the machine has a process at that time.
    #[must_use]
    pub fn steps(self) -> &'static [Step] {
        match self {
            Self::Build => &[
                ("before.ensure_network", false),
                ("after.ensure_network", false),
                ("before.upload_image", false),
                ("during.upload_image", false),
                ("after.upload_image", false),
                ("before.ensure_disk", false),
                ("after.ensure_disk", false),
                ("before.ensure_config_drive", false),
                ("after.ensure_config_drive", false),
                ("before.define", false),
                ("during.define", false),
                ("after.define", false),
                ("before.start", false),
                ("during.start", false),
                ("after.start", true),
                ("after.state", true),
            ],
            Self::RebootSoft | Self::RebootHard => &[
                ("before.reboot", true),
                ("during.reboot", true),
                ("after.reboot", true),
                ("after.state", true),
            ],
            Self::Password => {
                &[("before.set_password", true), ("during.set_password", true), ("after.set_password", true)]
            }
            Self::Rebuild => &[
                ("before.ensure_network", true),
                ("before.stop", true),
                ("after.stop", false),
                ("before.replace_disk", false),
                ("after.replace_disk", false),
                ("before.ensure_config_drive", false),
                ("after.ensure_config_drive", false),
                ("before.define", false),
                ("after.define", false),
                ("before.start", false),
                ("during.start", false),
                ("after.start", true),
                ("after.state", true),
            ],
            Self::Resize => &[
                ("before.ask_to_shut_down", true),
                ("after.ask_to_shut_down", true),
                ("before.stop", false),
                ("after.stop", false),
                ("before.begin_resize", false),
                ("during.begin_resize", false),
                ("after.begin_resize", false),
                ("before.define", false),
                ("after.define", false),
                ("before.start", false),
                ("after.start", true),
                ("after.state", true),
            ],
            Self::Confirm => &[
                ("before.confirm_resize", true),
                ("during.confirm_resize", true),
                ("after.confirm_resize", true),
            ],
            Self::Revert => &[
                ("before.stop", true),
                ("after.stop", false),
                ("before.revert_resize", false),
                ("during.revert_resize", false),
                ("after.revert_resize", false),
                ("before.define", false),
                ("after.define", false),
                ("before.start", false),
                ("after.start", true),
                ("after.state", true),
            ],
            Self::Image => &[
                ("before.take_snapshot", true),
                ("during.take_snapshot", true),
                ("after.take_snapshot", true),
                ("before.open_snapshot", true),
                ("after.open_snapshot", true),
                ("before.drop_snapshot", true),
                ("after.drop_snapshot", true),
            ],
            Self::Share => &[("before.set_addresses", true), ("after.set_addresses", true)],
            Self::ShareConfigured => &[
                ("before.set_addresses", true),
                ("after.set_addresses", true),
                ("before.ensure_config_drive", true),
                ("after.ensure_config_drive", true),
                ("before.ask_to_shut_down", true),
                ("after.ask_to_shut_down", true),
                ("before.stop", false),
                ("after.stop", false),
                ("before.start", false),
                ("after.start", true),
                ("after.state", true),
            ],
            Self::Unshare => &[
                ("before.set_addresses", true),
                ("after.set_addresses", true),
                ("before.ensure_config_drive", true),
                ("after.ensure_config_drive", true),
            ],
            Self::Delete => &[("before.delete", true), ("during.delete", true), ("after.delete", false)],
        }
    }

    /// Brings the cloud into the state in which the operation may start.
    pub(super) fn prepare(self, stage: &mut Stage) -> Option<Guest> {
        match self {
            Self::Build => {
                // Remove all images from the host, so that the operation transfers one.
                stage.dismiss();
                stage.forget_images();
                None
            }
            Self::Delete => Some(stage.lab.boot("doomed", &json!({}))),
            _ => {
                let guest = stage.actors().guest.clone();
                match self {
                    Self::Confirm | Self::Revert => stage.resize(&guest),
                    Self::Rebuild => stage.lab.keep(&guest, "old"),
                    Self::Unshare => stage.share(&guest, false),
                    _ => {}
                }
                Some(guest)
            }
        }
    }

    /// Starts the operation.
    pub(super) fn begin(self, stage: &mut Stage, guest: Option<Guest>) -> Guest {
        let Some(guest) = guest else { return stage.lab.create("new", &json!({})) };
        let path = format!("/servers/{}", guest.id);
        let act = |action: Value| stage.lab.send("POST", &format!("{path}/action"), &action);
        let answer = match self {
            Self::Build => unreachable!("has no guest yet"),
            Self::RebootSoft => act(json!({ "reboot": { "type": "SOFT" } })),
            Self::RebootHard => act(json!({ "reboot": { "type": "HARD" } })),
            Self::Password => {
                stage.serial += 1;
                let password = format!("secret-{}", stage.serial);
                stage.lab.send("PUT", &path, &json!({ "server": { "adminPass": password } }))
            }
            Self::Rebuild => act(json!({ "rebuild": {} })),
            Self::Resize => act(json!({ "resize": { "flavorId": stage.other_flavor(&guest) } })),
            Self::Confirm => act(json!({ "confirmResize": null })),
            Self::Revert => act(json!({ "revertResize": null })),
            Self::Image => stage.lab.send(
                "POST",
                "/images",
                &json!({ "image": { "serverId": guest.id, "name": "shot" } }),
            ),
            Self::Share | Self::ShareConfigured => stage.ask_to_share(&guest, self == Self::ShareConfigured),
            Self::Unshare => {
                let vip = stage.actors().owner.public.clone();
                stage.lab.delete(&format!("{path}/ips/public/{vip}"))
            }
            Self::Delete => stage.lab.delete(&path),
        };
        assert!(answer.status / 100 == 2, "{}: {}", self.name(), answer.text());
        guest
    }
}

impl Stage {
    pub(super) fn other_flavor(&self, guest: &Guest) -> u64 {
        if self.lab.shown(guest)["flavorId"] == 1 { 2 } else { 1 }
    }

    fn resize(&self, guest: &Guest) {
        let boots = self.lab.boots(guest);
        self.lab.act(guest, &json!({ "resize": { "flavorId": self.other_flavor(guest) } }));
        self.lab.becomes(guest, "VERIFY_RESIZE");
        self.lab.booted(guest, boots + 1);
    }

    fn ask_to_share(&mut self, guest: &Guest, configure: bool) -> crate::http::Answer {
        let actors = self.actors();
        let body = json!({ "shareIp": { "sharedIpGroupId": actors.group, "configureServer": configure } });
        let path = format!("/servers/{}/ips/public/{}", guest.id, actors.owner.public);
        self.lab.send("PUT", &path, &body)
    }

    fn share(&mut self, guest: &Guest, configure: bool) {
        assert_eq!(self.ask_to_share(guest, configure).status, 202);
        self.lab.becomes(guest, "ACTIVE");
    }

    /// Removes every image from the host.
    fn forget_images(&self) {
        let host = self.lab.host();
        for name in host.volumes().iter().filter(|name| name.starts_with("image-")) {
            std::fs::remove_file(host.pool().join(name)).expect("an image");
        }
        let _ = host.virsh(&["pool-refresh", "nephos"]);
        assert!(host.volumes().is_empty(), "{:?} within {BOOT:?}", host.volumes());
    }
}
