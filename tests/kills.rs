//! Kills Nephos, libvirt and QEMU at every step of every asynchronous operation. Whichever dies, the operation ends as
//! promised, nothing is left over, and no server stays in an intermediate state.

mod check;
mod operation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use serde_json::{Value, json};

pub use operation::Operation;

use crate::lab::{Guest, Lab};

/// The process to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// Nephos, which is then restarted.
    Nephos,
    /// The host's libvirt daemon, which is then restarted.
    Libvirt,
    /// The machine's QEMU.
    Qemu,
}

impl Victim {
    /// All victims.
    pub const ALL: [Self; 3] = [Self::Nephos, Self::Libvirt, Self::Qemu];

    /// Returns the name in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nephos => "Nephos",
            Self::Libvirt => "libvirtd",
            Self::Qemu => "QEMU",
        }
    }
}

/// One kill.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The operation in progress.
    pub operation: Operation,
    /// The call to the host at which to kill: `before.start`, `after.start`; `during.start` lets the call begin first.
    pub step: &'static str,
    /// The process to kill.
    pub victim: Victim,
}

/// The outcome of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The operation succeeded.
    Done,
    /// The operation failed with a reason, and the server is as before.
    Undone,
    /// The server showed ERROR, its log had the reason, and a hard reboot or rebuild recovered it.
    Revived,
    /// The operation does not perform this step.
    Elsewhere,
    /// A promise was broken.
    Broken(String),
}

impl End {
    /// Returns the word for the table.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Done => "done",
            Self::Undone => "undone",
            Self::Revived => "revived",
            Self::Elsewhere => "not met",
            Self::Broken(_) => "BROKEN",
        }
    }
}

/// A cloud to run cases in, with a server to perform operations on and another that owns the shared address.
pub struct Stage {
    lab: Lab,
    actors: Option<Actors>,
    serial: u32,
}

struct Actors {
    /// The server to perform operations on.
    guest: Guest,
    /// The owner of the shared address.
    owner: Guest,
    group: Value,
}

impl Stage {
    /// Starts a cloud.
    #[must_use]
    pub fn new() -> Self {
        Self { lab: Lab::start(), actors: None, serial: 0 }
    }

    /// Runs a case. Broken promises are returned as an outcome.
    pub fn play(&mut self, case: Case) -> End {
        let began = Instant::now();
        let end = catch_unwind(AssertUnwindSafe(|| self.act(case))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            End::Broken(text.unwrap_or_default())
        });
        let Case { operation, step, victim } = case;
        let seconds = began.elapsed().as_secs();
        println!("{:<16} {step:<28} {:<9} {} ({seconds} s)", operation.name(), victim.name(), end.word());
        if let End::Broken(reason) = &end {
            println!("    {reason}");
            self.begin_anew();
        }
        end
    }

    /// Deletes everything and checks that nothing is left over.
    pub fn close(mut self) -> Result<(), String> {
        catch_unwind(AssertUnwindSafe(|| {
            self.dismiss();
            self.lab.clean();
        }))
        .map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
    }

    fn dismiss(&mut self) {
        let Some(actors) = self.actors.take() else { return };
        for guest in [&actors.guest, &actors.owner] {
            assert_eq!(self.lab.delete(&format!("/servers/{}", guest.id)).status, 202);
        }
        for guest in [&actors.guest, &actors.owner] {
            self.lab.vanishes(guest);
        }
        let group = actors.group;
        assert_eq!(self.lab.delete(&format!("/shared_ip_groups/{group}")).status, 204);
    }

    /// Starts a new cloud, so that a broken promise does not affect later cases.
    fn begin_anew(&mut self) {
        self.actors = None;
        let log = self.lab.cloud.log();
        let told: Vec<&str> = log.lines().filter(|line| !line.contains(" request: ")).collect();
        told.iter().rev().take(8).rev().for_each(|line| println!("    {line}"));
        self.lab = Lab::start();
    }

    /// Returns the servers, creating them first if necessary.
    fn actors(&mut self) -> &Actors {
        if self.actors.is_none() {
            let owner = self.lab.create("owner", &json!({}));
            let body = json!({ "sharedIpGroup": { "name": "ha", "server": owner.id } });
            let answer = self.lab.send("POST", "/shared_ip_groups", &body);
            assert_eq!(answer.status, 201, "{}", answer.text());
            let group = answer.json()["sharedIpGroup"]["id"].clone();
            let guest = self.lab.boot("victim", &json!({ "sharedIpGroupId": group }));
            self.lab.becomes(&owner, "ACTIVE");
            self.actors = Some(Actors { guest, owner, group });
        }
        self.actors.as_ref().expect("made above")
    }

    fn act(&mut self, case: Case) -> End {
        let Case { operation, step, victim } = case;
        let (when, call) = step.split_once('.').expect("a step has a point");
        let known = operation.prepare(self);
        let stop = self.lab.stop_at(&format!("{}.{call}", if when == "during" { "before" } else { when }));
        let guest = operation.begin(self, known);
        if !self.meets(&stop, operation, &guest) {
            stop.release();
            operation.settle(self, &guest);
            self.restore(operation, &guest);
            return End::Elsewhere;
        }
        if when == "during" {
            stop.release();
        }
        match victim {
            Victim::Nephos => {
                self.lab.cloud.kill();
                stop.release();
                self.lab.cloud.launch();
            }
            Victim::Libvirt => {
                self.lab.host().crash();
                stop.release();
                self.lab.host().back();
            }
            Victim::Qemu => {
                assert!(self.lab.host().crash_machine(&guest.machine), "no QEMU at this step");
                stop.release();
            }
        }
        operation.settle(self, &guest);
        let end = operation.ended(self, &guest, victim);
        self.restore(operation, &guest);
        end
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns every case: each operation at each of its steps, with each process that can be killed there.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for operation in Operation::ALL {
        for step in operation.steps() {
            let (name, has_qemu) = step;
            let victims = Victim::ALL.into_iter().filter(|victim| *victim != Victim::Qemu || *has_qemu);
            cases.extend(victims.map(|victim| Case { operation, step: name, victim }));
        }
    }
    cases
}
