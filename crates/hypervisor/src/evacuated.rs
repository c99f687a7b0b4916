//! The stand-in for a host that the operator declared lost: it has no machines, accepts nothing new, and every
//! removal succeeds.

use std::net::IpAddr;

use async_trait::async_trait;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::{
    Accelerator, Capacity, ConfigDrive, ConsoleChunk, Digest, Error, Event, Hypervisor, ImageSource,
    ImageSpec, Mac, MachineSpec, MachineState, NetworkSpec, Power, Progress, Reboot, Result, Snapshot, Usage,
};

/// The stand-in for a host that the operator declared lost.
pub struct EvacuatedHost {
    name: String,
    events: broadcast::Sender<Event>,
}

impl EvacuatedHost {
    /// Returns the stand-in for the host with this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), events: broadcast::channel(1).0 }
    }

    fn refuse<T>(&self, operation: &'static str) -> Result<T> {
        Err(Error::Failed { operation, reason: format!("host {} is evacuated", self.name) })
    }
}

fn no_machine<T>(operation: &'static str, machine: Uuid) -> Result<T> {
    Err(Error::NoMachine { operation, machine })
}

#[async_trait]
impl Hypervisor for EvacuatedHost {
    fn host(&self) -> &str {
        &self.name
    }
    async fn capacity(&self) -> Result<Capacity> {
        self.refuse("capacity")
    }
    async fn accelerator(&self) -> Result<Accelerator> {
        self.refuse("accelerator")
    }
    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
    async fn ensure_network(&self, _: &NetworkSpec) -> Result<()> {
        self.refuse("ensure_network")
    }
    async fn remove_network(&self, _: &str) -> Result<()> {
        Ok(())
    }
    async fn holds_image(&self, _: &Digest) -> Result<bool> {
        Ok(false)
    }
    async fn images(&self) -> Result<Vec<Digest>> {
        Ok(Vec::new())
    }
    async fn upload_image(&self, _: &ImageSpec, _: ImageSource, _: &Progress) -> Result<()> {
        self.refuse("upload_image")
    }
    async fn drop_image(&self, _: &Digest) -> Result<()> {
        Ok(())
    }
    async fn ensure_disk(&self, _: &MachineSpec) -> Result<()> {
        self.refuse("ensure_disk")
    }
    async fn replace_disk(&self, _: &MachineSpec) -> Result<()> {
        self.refuse("replace_disk")
    }
    async fn receive_disk(&self, _: &MachineSpec, _: Uuid, _: Snapshot, _: &Progress) -> Result<()> {
        self.refuse("receive_disk")
    }
    async fn ensure_config_drive(&self, _: Uuid, _: &ConfigDrive) -> Result<()> {
        self.refuse("ensure_config_drive")
    }
    async fn define(&self, _: &MachineSpec) -> Result<()> {
        self.refuse("define")
    }
    async fn start(&self, machine: Uuid) -> Result<()> {
        no_machine("start", machine)
    }
    async fn stop(&self, machine: Uuid) -> Result<()> {
        no_machine("stop", machine)
    }
    async fn ask_to_shut_down(&self, machine: Uuid) -> Result<()> {
        no_machine("ask_to_shut_down", machine)
    }
    async fn reboot(&self, machine: Uuid, _: Reboot) -> Result<()> {
        no_machine("reboot", machine)
    }
    async fn pause(&self, machine: Uuid) -> Result<()> {
        no_machine("pause", machine)
    }
    async fn resume(&self, machine: Uuid) -> Result<()> {
        no_machine("resume", machine)
    }
    async fn state(&self, id: Uuid) -> Result<MachineState> {
        Ok(MachineState { id, power: Power::Absent, reason: "its host is evacuated".to_owned() })
    }
    async fn machines(&self) -> Result<Vec<MachineState>> {
        Ok(Vec::new())
    }
    async fn usage(&self, machine: Uuid) -> Result<Usage> {
        no_machine("usage", machine)
    }
    async fn console(&self, machine: Uuid, _: u64, _: usize) -> Result<ConsoleChunk> {
        no_machine("console", machine)
    }
    async fn set_password(&self, machine: Uuid, _: &str, _: &str) -> Result<()> {
        no_machine("set_password", machine)
    }
    async fn set_addresses(&self, machine: Uuid, _: Mac, _: &[IpAddr]) -> Result<()> {
        no_machine("set_addresses", machine)
    }
    async fn begin_resize(&self, resized: &MachineSpec) -> Result<()> {
        no_machine("begin_resize", resized.id)
    }
    async fn revert_resize(&self, original: &MachineSpec) -> Result<()> {
        no_machine("revert_resize", original.id)
    }
    async fn confirm_resize(&self, machine: Uuid) -> Result<()> {
        no_machine("confirm_resize", machine)
    }
    async fn take_snapshot(&self, machine: Uuid, _: Uuid, _: &Progress) -> Result<()> {
        no_machine("take_snapshot", machine)
    }
    async fn snapshot_bytes(&self, machine: Uuid) -> Result<u64> {
        no_machine("snapshot_bytes", machine)
    }
    async fn open_snapshot(&self, snapshot: Uuid) -> Result<Snapshot> {
        Err(Error::NotFound { operation: "open_snapshot", what: format!("snapshot {snapshot}") })
    }
    async fn drop_snapshot(&self, _: Uuid) -> Result<()> {
        Ok(())
    }
    async fn snapshots(&self) -> Result<Vec<Uuid>> {
        Ok(Vec::new())
    }
    async fn delete(&self, _: Uuid) -> Result<()> {
        Ok(())
    }
}
