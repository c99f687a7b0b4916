//! The state of a simulated host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{ConfigDrive, Digest, ImageSpec, MachineSpec, MachineState, NetworkSpec, Power};

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    #[serde(flatten)]
    pub rest: Rest,
    pub disks: BTreeMap<Uuid, Disk>,
    pub machines: BTreeMap<Uuid, Machine>,
    #[serde(skip)]
    pub config_drives: BTreeMap<Uuid, ConfigDrive>,
    /// Machines whose config drive exists. Its content is not stored across restarts.
    pub with_config_drive: std::collections::BTreeSet<Uuid>,
}

/// The state that belongs to no machine.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    pub networks: BTreeMap<String, NetworkSpec>,
    pub images: BTreeMap<Digest, ImageSpec>,
    /// Virtual size of each snapshot, in bytes.
    pub snapshots: BTreeMap<Uuid, u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Disk {
    pub image: Digest,
    pub bytes: u64,
    /// Size before a resize that is neither confirmed nor reverted.
    pub before_resize: Option<u64>,
    /// The snapshot of another host that it was created from.
    #[serde(default)]
    pub received: Option<Uuid>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub spec: MachineSpec,
    pub power: Power,
    pub reason: String,
    pub console: String,
    pub boots: u32,
    /// Never written to the state file: on a real host only the guest stores passwords.
    #[serde(skip)]
    pub password: Option<String>,
}

impl Machine {
    pub fn new(spec: MachineSpec) -> Self {
        let reason = "defined".to_owned();
        Self { spec, power: Power::ShutOff, reason, console: String::new(), boots: 0, password: None }
    }

    pub fn is_alive(&self) -> bool {
        matches!(self.power, Power::Running | Power::Paused)
    }

    pub fn set_power(&mut self, power: Power, reason: &str) -> MachineState {
        self.power = power;
        reason.clone_into(&mut self.reason);
        self.state()
    }

    pub fn boot(&mut self) -> MachineState {
        self.boots += 1;
        let line = format!("{} booted (boot {})\n", self.spec.name, self.boots);
        self.console.push_str(&line);
        self.set_power(Power::Running, "booted")
    }

    pub fn state(&self) -> MachineState {
        MachineState { id: self.spec.id, power: self.power, reason: self.reason.clone() }
    }
}

impl State {
    /// Returns the memory in MiB of all live machines except one.
    pub fn memory_used_by_others(&self, machine: Uuid) -> u64 {
        let others = self.machines.values().filter(|m| m.spec.id != machine && m.is_alive());
        others.map(|m| m.spec.memory_mib).sum()
    }

    /// Removes everything that belongs to a machine.
    pub fn remove_machine(&mut self, machine: Uuid) {
        self.machines.remove(&machine);
        self.disks.remove(&machine);
        self.config_drives.remove(&machine);
        self.with_config_drive.remove(&machine);
    }

    pub fn disk_in_use(&self) -> u64 {
        self.disks.values().map(|disk| disk.bytes).sum()
    }
}
