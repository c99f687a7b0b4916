//! The implementation of [`Hypervisor`] for simulated hosts.

use std::net::IpAddr;

use async_trait::async_trait;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::disks;
use super::host::SimulatedHost;
use super::state::{Machine, State};
use crate::{
    Accelerator, Capacity, ConfigDrive, ConsoleChunk, Digest, Error, Event, Hypervisor, ImageSource,
    ImageSpec, Mac, MachineSpec, MachineState, NetworkSpec, NicUsage, Power, Progress, Reboot, Result,
    Snapshot, Usage,
};

fn refused(operation: &'static str, reason: &str) -> Error {
    Error::Refused { operation, reason: reason.to_owned() }
}

#[async_trait]
impl Hypervisor for SimulatedHost {
    fn host(&self) -> &str {
        &self.0.name
    }

    async fn capacity(&self) -> Result<Capacity> {
        let settings = &self.0.settings;
        let disk_bytes = settings.disk_gib << 30;
        let used = self.read(State::disk_in_use)?;
        Ok(Capacity {
            vcpus: settings.vcpus,
            memory_mib: settings.memory_mib,
            disk_bytes,
            disk_free_bytes: disk_bytes.saturating_sub(used),
            version: "simulated".to_owned(),
        })
    }

    async fn accelerator(&self) -> Result<Accelerator> {
        Ok(Accelerator::None)
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }

    async fn ensure_network(&self, network: &NetworkSpec) -> Result<()> {
        self.pass("ensure_network", None).await?;
        self.write(|state| match state.rest.networks.get(&network.name) {
            Some(existing) if existing != network => {
                Err(refused("ensure_network", &format!("{} exists with other properties", network.name)))
            }
            Some(_) => Ok(()),
            None => {
                state.rest.networks.insert(network.name.clone(), network.clone());
                Ok(())
            }
        })
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.pass("remove_network", None).await?;
        self.write(|state| {
            if state.machines.values().any(|m| m.spec.nics.iter().any(|nic| nic.network == name)) {
                return Err(refused("remove_network", &format!("machines are attached to {name}")));
            }
            state.rest.networks.remove(name);
            Ok(())
        })
    }

    async fn holds_image(&self, image: &Digest) -> Result<bool> {
        self.read(|state| state.rest.images.contains_key(image))
    }

    async fn images(&self) -> Result<Vec<Digest>> {
        self.read(|state| state.rest.images.keys().cloned().collect())
    }

    async fn upload_image(&self, image: &ImageSpec, source: ImageSource, progress: &Progress) -> Result<()> {
        disks::upload_image(self, image, source, progress).await
    }

    async fn drop_image(&self, image: &Digest) -> Result<()> {
        self.pass("drop_image", None).await?;
        self.write(|state| {
            if state.disks.values().any(|disk| disk.image == *image) {
                return Err(refused("drop_image", &format!("a disk is based on image {image}")));
            }
            state.rest.images.remove(image);
            Ok(())
        })
    }

    async fn ensure_disk(&self, machine: &MachineSpec) -> Result<()> {
        disks::ensure_disk(self, machine).await
    }

    async fn replace_disk(&self, machine: &MachineSpec) -> Result<()> {
        disks::replace_disk(self, machine).await
    }

    async fn receive_disk(
        &self,
        machine: &MachineSpec,
        snapshot: Uuid,
        source: Snapshot,
        progress: &Progress,
    ) -> Result<()> {
        disks::receive_disk(self, machine, snapshot, source, progress).await
    }

    async fn ensure_config_drive(&self, machine: Uuid, files: &ConfigDrive) -> Result<()> {
        self.pass("ensure_config_drive", Some(machine)).await?;
        self.write_of(machine, |state| {
            state.config_drives.insert(machine, files.clone());
            state.with_config_drive.insert(machine);
            Ok(())
        })
    }

    async fn define(&self, machine: &MachineSpec) -> Result<()> {
        self.pass("define", Some(machine.id)).await?;
        self.write_of(machine.id, |state| {
            let missing = |what: String| Err(Error::NotFound { operation: "define", what });
            if let Some(nic) = machine.nics.iter().find(|nic| !state.rest.networks.contains_key(&nic.network))
            {
                return missing(format!("network {}", nic.network));
            }
            if !state.disks.contains_key(&machine.id) {
                return missing(format!("disk of machine {}", machine.id));
            }
            if !state.with_config_drive.contains(&machine.id) {
                return missing(format!("config drive of machine {}", machine.id));
            }
            let kernel = |image: &ImageSpec| image.kernel_bytes.is_some();
            if matches!(machine.boot, crate::Boot::Kernel { .. })
                && !state.rest.images.get(&machine.image).is_some_and(kernel)
            {
                return missing(format!("kernel of image {}", machine.image));
            }
            let defined = state.machines.entry(machine.id).or_insert_with(|| Machine::new(machine.clone()));
            defined.spec = machine.clone();
            Ok(())
        })
    }

    async fn start(&self, machine: Uuid) -> Result<()> {
        self.pass("start", Some(machine)).await?;
        self.power_on(machine, "start", false)
    }

    async fn stop(&self, machine: Uuid) -> Result<()> {
        self.pass("stop", Some(machine)).await?;
        self.change(machine, "stop", |m| Ok(m.is_alive().then(|| m.set_power(Power::ShutOff, "destroyed"))))
    }

    async fn ask_to_shut_down(&self, machine: Uuid) -> Result<()> {
        let power = self.read_machine(machine, "ask_to_shut_down", |m| m.power)?;
        if power == Power::Paused {
            return Err(refused("ask_to_shut_down", "the machine is paused"));
        }
        if power == Power::Running {
            let host = self.clone();
            tokio::spawn(async move {
                // The guest has received the request, so it shuts down even if its host becomes unreachable meanwhile.
                host.0.steps.pass("ask_to_shut_down", Some(machine), host.0.settings.delay).await;
                let _ = host.change(machine, "ask_to_shut_down", |m| {
                    Ok((m.power == Power::Running).then(|| m.set_power(Power::ShutOff, "shutdown")))
                });
            });
        }
        Ok(())
    }

    async fn reboot(&self, machine: Uuid, kind: Reboot) -> Result<()> {
        let power = self.read_machine(machine, "reboot", |m| m.power)?;
        if kind == Reboot::Soft && power != Power::Running {
            return Err(refused("reboot", "the machine is not running"));
        }
        self.pass("reboot", Some(machine)).await?;
        self.power_on(machine, "reboot", true)
    }

    async fn pause(&self, machine: Uuid) -> Result<()> {
        self.pass("pause", Some(machine)).await?;
        self.change(machine, "pause", |m| match m.power {
            Power::Running => Ok(Some(m.set_power(Power::Paused, "user"))),
            Power::Paused => Ok(None),
            _ => Err(refused("pause", "the machine does not run")),
        })
    }

    async fn resume(&self, machine: Uuid) -> Result<()> {
        self.pass("resume", Some(machine)).await?;
        self.change(machine, "resume", |m| match m.power {
            Power::Paused => Ok(Some(m.set_power(Power::Running, "unpaused"))),
            Power::Running => Ok(None),
            _ => Err(refused("resume", "the machine is shut off")),
        })
    }

    async fn state(&self, machine: Uuid) -> Result<MachineState> {
        let found = self.read(|state| state.machines.get(&machine).map(Machine::state))?;
        Ok(found.unwrap_or(MachineState { id: machine, power: Power::Absent, reason: "absent".to_owned() }))
    }

    async fn machines(&self) -> Result<Vec<MachineState>> {
        self.read(|state| state.machines.values().map(Machine::state).collect())
    }

    async fn usage(&self, machine: Uuid) -> Result<Usage> {
        let unused = |mac| NicUsage { mac, received_bytes: 0, sent_bytes: 0 };
        self.read_machine(machine, "usage", |m| Usage {
            cpu_ns: 0,
            nics: m.spec.nics.iter().map(|nic| unused(nic.mac)).collect(),
        })
    }

    async fn console(&self, machine: Uuid, offset: u64, limit: usize) -> Result<ConsoleChunk> {
        self.read_machine(machine, "console", |m| {
            let log = m.console.as_bytes();
            let from = usize::try_from(offset).ok().filter(|from| *from <= log.len()).unwrap_or(0);
            let to = log.len().min(from.saturating_add(limit));
            ConsoleChunk { offset: from as u64, bytes: log[from..to].to_vec(), end: log.len() as u64 }
        })
    }

    async fn set_password(&self, machine: Uuid, user: &str, password: &str) -> Result<()> {
        self.pass("set_password", Some(machine)).await?;
        self.change(machine, "set_password", |m| {
            if m.power != Power::Running {
                return Err(refused("set_password", "the machine is not running"));
            }
            if user == "root" {
                m.password = Some(password.to_owned());
            }
            Ok(None)
        })
    }

    async fn set_addresses(&self, machine: Uuid, card: Mac, allowed: &[IpAddr]) -> Result<()> {
        self.pass("set_addresses", Some(machine)).await?;
        self.change(machine, "set_addresses", |m| {
            let nic = m.spec.nics.iter_mut().find(|nic| nic.mac == card);
            let absent =
                || Error::NotFound { operation: "set_addresses", what: format!("network card {card}") };
            nic.ok_or_else(absent)?.allowed = allowed.to_vec();
            Ok(None)
        })
    }

    async fn begin_resize(&self, resized: &MachineSpec) -> Result<()> {
        disks::begin_resize(self, resized).await
    }

    async fn revert_resize(&self, original: &MachineSpec) -> Result<()> {
        disks::revert_resize(self, original).await
    }

    async fn confirm_resize(&self, machine: Uuid) -> Result<()> {
        disks::confirm_resize(self, machine).await
    }

    async fn take_snapshot(&self, machine: Uuid, snapshot: Uuid, progress: &Progress) -> Result<()> {
        disks::take_snapshot(self, machine, snapshot, progress).await
    }

    async fn snapshot_bytes(&self, machine: Uuid) -> Result<u64> {
        disks::snapshot_bytes(self, machine)
    }

    async fn open_snapshot(&self, snapshot: Uuid) -> Result<Snapshot> {
        disks::open_snapshot(self, snapshot)
    }

    async fn drop_snapshot(&self, snapshot: Uuid) -> Result<()> {
        self.pass("drop_snapshot", None).await?;
        self.write(|state| {
            state.rest.snapshots.remove(&snapshot);
            Ok(())
        })
    }

    async fn snapshots(&self) -> Result<Vec<Uuid>> {
        self.read(|state| state.rest.snapshots.keys().copied().collect())
    }

    async fn delete(&self, machine: Uuid) -> Result<()> {
        self.pass("delete", Some(machine)).await?;
        self.write_of(machine, |state| {
            state.remove_machine(machine);
            Ok(())
        })
    }
}
