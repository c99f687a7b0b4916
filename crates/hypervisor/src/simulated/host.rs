//! One simulated host: its machines, networks and power.

use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::journal::Journal;
use super::settings::Settings;
use super::state::{Machine, State};
use super::steps::Steps;
use crate::{
    Accelerator, Capacity, ConfigDrive, ConsoleChunk, Digest, Error, Event, Hypervisor, ImageSource,
    ImageSpec, Mac, MachineSpec, MachineState, NetworkSpec, NicUsage, Power, Progress, Reboot, Result,
    Snapshot, Usage,
};

const EVENTS_KEPT: usize = 1024;

/// A host on which nothing runs. Clones are the same host.
#[derive(Clone)]
pub struct SimulatedHost(Arc<Inner>);

pub(super) struct Inner {
    name: String,
    settings: Settings,
    pub(super) steps: Steps,
    state: Mutex<State>,
    journal: Mutex<Option<Journal>>,
    events: broadcast::Sender<Event>,
    lost: AtomicBool,
}

impl SimulatedHost {
    /// The hosts that `settings` asks for, named `simulated-1` and so on, which share one [`Steps`]. With a directory,
    /// each finds there what it had before and keeps it there. [`Error::Failed`] if the directory cannot be used.
    pub fn fleet(settings: &Settings, directory: Option<&Path>) -> Result<Vec<Self>> {
        let steps = Steps::default();
        if let Some(directory) = directory {
            std::fs::create_dir_all(directory).map_err(|error| unusable(directory, &error))?;
        }
        (1..=settings.hosts)
            .map(|number| {
                let name = format!("simulated-{number}");
                let file = directory.map(|directory| directory.join(format!("{name}.json")));
                let (journal, state) = match &file {
                    Some(file) => {
                        let (journal, state) = Journal::open(file).map_err(|error| unusable(file, &error))?;
                        (Some(journal), state)
                    }
                    None => (None, State::default()),
                };
                let (events, _) = broadcast::channel(EVENTS_KEPT);
                let settings = settings.clone();
                let (steps, lost) = (steps.clone(), AtomicBool::new(false));
                let (state, journal) = (Mutex::new(state), Mutex::new(journal));
                Ok(Self(Arc::new(Inner { name, settings, steps, state, journal, events, lost })))
            })
            .collect()
    }

    /// One host of default size that answers without delay, for tests.
    pub fn immediate() -> Self {
        let settings = Settings { delay: Duration::ZERO, ..Settings::default() };
        Self::fleet(&settings, None).expect("nothing is read").remove(0)
    }

    /// The gate at which changes wait in step mode.
    pub fn steps(&self) -> &Steps {
        &self.0.steps
    }

    /// Ends a running machine as if its process had been killed.
    pub fn crash(&self, machine: Uuid) {
        let _ = self.change(machine, "crash", |machine| Ok(Some(machine.turn(Power::Crashed, "crashed"))));
    }

    /// Ends a running machine as if its guest had shut itself down.
    pub fn shut_down_from_within(&self, machine: Uuid) {
        let _ =
            self.change(machine, "shut down", |machine| Ok(Some(machine.turn(Power::ShutOff, "shutdown"))));
    }

    /// From now on every call answers [`Error::Unreachable`].
    pub fn lose(&self) {
        self.0.lost.store(true, Ordering::SeqCst);
        let _ = self.0.events.send(Event::HostLost);
    }

    /// The host answers again.
    pub fn come_back(&self) {
        self.0.lost.store(false, Ordering::SeqCst);
        let _ = self.0.events.send(Event::HostBack);
    }

    /// The config drive that was last written for a machine in this process.
    pub fn config_drive(&self, machine: Uuid) -> Option<ConfigDrive> {
        self.0.state.lock().unwrap().config_drives.get(&machine).cloned()
    }

    /// The machine as it was last defined.
    pub fn spec(&self, machine: Uuid) -> Option<MachineSpec> {
        self.0.state.lock().unwrap().machines.get(&machine).map(|machine| machine.spec.clone())
    }

    /// A machine's power and definition on each of these hosts, all at one moment, also while hosts are lost.
    pub fn machine_on_each(hosts: &[Self], machine: Uuid) -> Vec<Option<(Power, MachineSpec)>> {
        // Every caller locks in the order of the fleet, and nothing else locks two hosts at once.
        let states: Vec<_> = hosts.iter().map(|host| host.0.state.lock().unwrap()).collect();
        let found = |state: &std::sync::MutexGuard<'_, State>| {
            state.machines.get(&machine).map(|machine| (machine.power, machine.spec.clone()))
        };
        states.iter().map(found).collect()
    }

    /// Every machine's power and definition, also while the host is lost.
    pub fn machines_even_if_lost(&self) -> Vec<(Power, MachineSpec)> {
        let state = self.0.state.lock().unwrap();
        state.machines.values().map(|machine| (machine.power, machine.spec.clone())).collect()
    }

    /// The password that the guest was last given through its agent.
    pub fn password(&self, machine: Uuid) -> Option<String> {
        self.0.state.lock().unwrap().machines.get(&machine).and_then(|machine| machine.password.clone())
    }

    /// How often the machine has booted.
    pub fn boots(&self, machine: Uuid) -> u32 {
        self.0.state.lock().unwrap().machines.get(&machine).map_or(0, |machine| machine.boots)
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(super) fn answers(&self) -> Result<()> {
        if self.0.lost.load(Ordering::SeqCst) {
            let hint = "it was made unreachable by a test".to_owned();
            return Err(Error::Unreachable { uri: self.0.name.clone(), reason: "lost".to_owned(), hint });
        }
        Ok(())
    }

    pub(super) async fn pass(&self, operation: &'static str, machine: Option<Uuid>) -> Result<()> {
        self.answers()?;
        self.0.steps.pass(operation, machine, self.0.settings.delay).await;
        self.answers()
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T> {
        self.answers()?;
        Ok(look(&self.0.state.lock().unwrap()))
    }

    /// Applies a change to what is no machine's and keeps it; a change that fails must have changed nothing.
    pub(super) fn write<T>(&self, apply: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        self.keeping(apply, Journal::keep_rest)
    }

    /// As [`Self::write`], of what is one machine's.
    pub(super) fn write_of<T>(
        &self,
        machine: Uuid,
        apply: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        self.keeping(apply, |journal, state| journal.keep_machine(state, machine))
    }

    fn keeping<T>(
        &self,
        apply: impl FnOnce(&mut State) -> Result<T>,
        keep: impl FnOnce(&mut Journal, &State) -> std::io::Result<()>,
    ) -> Result<T> {
        let mut state = self.0.state.lock().unwrap();
        let answer = apply(&mut state)?;
        if let Some(journal) = &mut *self.0.journal.lock().unwrap() {
            keep(journal, &state).map_err(|error| unusable(journal.path(), &error))?;
        }
        Ok(answer)
    }

    /// Changes a machine and announces the power state that it came to.
    fn change(
        &self,
        id: Uuid,
        operation: &'static str,
        apply: impl FnOnce(&mut Machine) -> Result<Option<MachineState>>,
    ) -> Result<()> {
        let turned = self.write_of(id, |state| {
            apply(state.machines.get_mut(&id).ok_or(Error::NoMachine { operation, machine: id })?)
        })?;
        if let Some(state) = turned {
            let _ = self.0.events.send(Event::Machine(state));
        }
        Ok(())
    }

    fn look<T>(&self, id: Uuid, operation: &'static str, look: impl FnOnce(&Machine) -> T) -> Result<T> {
        self.read(|state| state.machines.get(&id).map(look))?
            .ok_or(Error::NoMachine { operation, machine: id })
    }

    fn room_for(&self, state: &State, id: Uuid, memory_mib: u64, operation: &'static str) -> Result<()> {
        let used = state.memory_in_use_beside(id);
        let total = self.0.settings.memory_mib;
        if used + memory_mib > total {
            let reason = format!("{memory_mib} MiB wanted, {} of {total} free", total.saturating_sub(used));
            return Err(Error::NoCapacity { operation, reason });
        }
        Ok(())
    }

    fn power_on(&self, id: Uuid, operation: &'static str, anew: bool) -> Result<()> {
        let turned = self.write_of(id, |state| {
            let found = state.machines.get(&id).ok_or(Error::NoMachine { operation, machine: id })?;
            if found.alive() && !anew {
                return Ok(None);
            }
            self.room_for(state, id, found.spec.memory_mib, operation)?;
            Ok(state.machines.get_mut(&id).map(Machine::boot))
        })?;
        if let Some(state) = turned {
            let _ = self.0.events.send(Event::Machine(state));
        }
        Ok(())
    }
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Failed { operation: "keep simulated state", reason: format!("{}: {error}", path.display()) }
}

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
        super::disks::upload_image(self, image, source, progress).await
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
        super::disks::ensure_disk(self, machine).await
    }

    async fn replace_disk(&self, machine: &MachineSpec) -> Result<()> {
        super::disks::replace_disk(self, machine).await
    }

    async fn receive_disk(
        &self,
        machine: &MachineSpec,
        snapshot: Uuid,
        source: Snapshot,
        progress: &Progress,
    ) -> Result<()> {
        super::disks::receive_disk(self, machine, snapshot, source, progress).await
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
        self.change(machine, "stop", |m| Ok(m.alive().then(|| m.turn(Power::ShutOff, "destroyed"))))
    }

    async fn ask_to_shut_down(&self, machine: Uuid) -> Result<()> {
        let power = self.look(machine, "ask_to_shut_down", |m| m.power)?;
        if power == Power::Paused {
            return Err(refused("ask_to_shut_down", "the machine is paused"));
        }
        if power == Power::Running {
            let host = self.clone();
            tokio::spawn(async move {
                // The guest was asked: it shuts down even if its host is unreachable by then.
                host.0.steps.pass("ask_to_shut_down", Some(machine), host.0.settings.delay).await;
                let _ = host.change(machine, "ask_to_shut_down", |m| {
                    Ok((m.power == Power::Running).then(|| m.turn(Power::ShutOff, "shutdown")))
                });
            });
        }
        Ok(())
    }

    async fn reboot(&self, machine: Uuid, kind: Reboot) -> Result<()> {
        let power = self.look(machine, "reboot", |m| m.power)?;
        if kind == Reboot::Soft && power != Power::Running {
            return Err(refused("reboot", "the machine is not running"));
        }
        self.pass("reboot", Some(machine)).await?;
        self.power_on(machine, "reboot", true)
    }

    async fn pause(&self, machine: Uuid) -> Result<()> {
        self.pass("pause", Some(machine)).await?;
        self.change(machine, "pause", |m| match m.power {
            Power::Running => Ok(Some(m.turn(Power::Paused, "user"))),
            Power::Paused => Ok(None),
            _ => Err(refused("pause", "the machine does not run")),
        })
    }

    async fn resume(&self, machine: Uuid) -> Result<()> {
        self.pass("resume", Some(machine)).await?;
        self.change(machine, "resume", |m| match m.power {
            Power::Paused => Ok(Some(m.turn(Power::Running, "unpaused"))),
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
        self.look(machine, "usage", |m| Usage {
            cpu_ns: 0,
            nics: m.spec.nics.iter().map(|nic| unused(nic.mac)).collect(),
        })
    }

    async fn console(&self, machine: Uuid, offset: u64, limit: usize) -> Result<ConsoleChunk> {
        self.look(machine, "console", |m| {
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
        super::disks::begin_resize(self, resized).await
    }

    async fn revert_resize(&self, original: &MachineSpec) -> Result<()> {
        super::disks::revert_resize(self, original).await
    }

    async fn confirm_resize(&self, machine: Uuid) -> Result<()> {
        super::disks::confirm_resize(self, machine).await
    }

    async fn take_snapshot(&self, machine: Uuid, snapshot: Uuid, progress: &Progress) -> Result<()> {
        super::disks::take_snapshot(self, machine, snapshot, progress).await
    }

    async fn snapshot_bytes(&self, machine: Uuid) -> Result<u64> {
        super::disks::snapshot_bytes(self, machine)
    }

    async fn open_snapshot(&self, snapshot: Uuid) -> Result<Snapshot> {
        super::disks::open_snapshot(self, snapshot)
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
            state.forget(machine);
            Ok(())
        })
    }
}
