//! One simulated host: its machines, networks and power.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::broadcast;
use uuid::Uuid;

use super::journal::Journal;
use super::settings::Settings;
use super::state::{Machine, State};
use super::steps::Steps;
use crate::{ConfigDrive, Error, Event, MachineSpec, MachineState, Power, Result};

const EVENTS_KEPT: usize = 1024;

/// A simulated host. Clones are the same host.
#[derive(Clone)]
pub struct SimulatedHost(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) steps: Steps,
    state: Mutex<State>,
    journal: Mutex<Option<Journal>>,
    pub(super) events: broadcast::Sender<Event>,
    unreachable: AtomicBool,
}

impl SimulatedHost {
    /// Returns the hosts described by `settings`, named `simulated-1` and so on, which share one [`Steps`]. With a
    /// directory, each reads and stores its state there. [`Error::Failed`] if the directory cannot be used.
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
                let (steps, unreachable) = (steps.clone(), AtomicBool::new(false));
                let (state, journal) = (Mutex::new(state), Mutex::new(journal));
                Ok(Self(Arc::new(Inner { name, settings, steps, state, journal, events, unreachable })))
            })
            .collect()
    }

    /// Returns one host of default size without delays, for tests.
    pub fn immediate() -> Self {
        let settings = Settings { delay: Duration::ZERO, ..Settings::default() };
        Self::fleet(&settings, None).expect("no file is read").remove(0)
    }

    /// The gate that blocks changes in step mode.
    pub fn steps(&self) -> &Steps {
        &self.0.steps
    }

    /// Stops a running machine as if its process had been killed.
    pub fn crash(&self, machine: Uuid) {
        let _ =
            self.change(machine, "crash", |machine| Ok(Some(machine.set_power(Power::Crashed, "crashed"))));
    }

    /// Stops a running machine as if its guest had shut itself down.
    pub fn shut_down_from_within(&self, machine: Uuid) {
        let _ = self
            .change(machine, "shut down", |machine| Ok(Some(machine.set_power(Power::ShutOff, "shutdown"))));
    }

    /// Makes every call return [`Error::Unreachable`].
    pub fn disconnect(&self) {
        self.0.unreachable.store(true, Ordering::SeqCst);
        let _ = self.0.events.send(Event::HostLost);
    }

    /// Makes the host reachable again.
    pub fn reconnect(&self) {
        self.0.unreachable.store(false, Ordering::SeqCst);
        let _ = self.0.events.send(Event::HostBack);
    }

    /// Returns the config drive that this process last wrote for a machine.
    pub fn config_drive(&self, machine: Uuid) -> Option<ConfigDrive> {
        self.0.state.lock().unwrap().config_drives.get(&machine).cloned()
    }

    /// Returns the machine's last definition.
    pub fn spec(&self, machine: Uuid) -> Option<MachineSpec> {
        self.0.state.lock().unwrap().machines.get(&machine).map(|machine| machine.spec.clone())
    }

    /// Returns a machine's power state and definition on each of these hosts, read atomically, even from unreachable hosts.
    pub fn machine_on_each(hosts: &[Self], machine: Uuid) -> Vec<Option<(Power, MachineSpec)>> {
        // No deadlock: all callers lock in the order of the fleet, and nothing else locks two hosts.
        let states: Vec<_> = hosts.iter().map(|host| host.0.state.lock().unwrap()).collect();
        let found = |state: &std::sync::MutexGuard<'_, State>| {
            state.machines.get(&machine).map(|machine| (machine.power, machine.spec.clone()))
        };
        states.iter().map(found).collect()
    }

    /// Returns every machine's power state and definition, even while the host is unreachable.
    pub fn all_machines(&self) -> Vec<(Power, MachineSpec)> {
        let state = self.0.state.lock().unwrap();
        state.machines.values().map(|machine| (machine.power, machine.spec.clone())).collect()
    }

    /// Returns the password that was last set in the guest.
    pub fn password(&self, machine: Uuid) -> Option<String> {
        self.0.state.lock().unwrap().machines.get(&machine).and_then(|machine| machine.password.clone())
    }

    /// Returns how often the machine has booted.
    pub fn boots(&self, machine: Uuid) -> u32 {
        self.0.state.lock().unwrap().machines.get(&machine).map_or(0, |machine| machine.boots)
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(super) fn check_reachable(&self) -> Result<()> {
        if self.0.unreachable.load(Ordering::SeqCst) {
            let hint = "a test disconnected it".to_owned();
            return Err(Error::Unreachable {
                uri: self.0.name.clone(),
                reason: "disconnected".to_owned(),
                hint,
            });
        }
        Ok(())
    }

    pub(super) async fn pass(&self, operation: &'static str, machine: Option<Uuid>) -> Result<()> {
        self.check_reachable()?;
        self.0.steps.pass(operation, machine, self.0.settings.delay).await;
        self.check_reachable()
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> Result<T> {
        self.check_reachable()?;
        Ok(read(&self.0.state.lock().unwrap()))
    }

    /// Applies a change to the state that belongs to no machine and saves it. If `apply` fails, it must not have
    /// changed anything.
    pub(super) fn write<T>(&self, apply: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        self.apply_and_save(apply, Journal::save_rest)
    }

    /// As [`Self::write`], for the state of one machine.
    pub(super) fn write_of<T>(
        &self,
        machine: Uuid,
        apply: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        self.apply_and_save(apply, |journal, state| journal.save_machine(state, machine))
    }

    fn apply_and_save<T>(
        &self,
        apply: impl FnOnce(&mut State) -> Result<T>,
        save: impl FnOnce(&mut Journal, &State) -> std::io::Result<()>,
    ) -> Result<T> {
        let mut state = self.0.state.lock().unwrap();
        let result = apply(&mut state)?;
        if let Some(journal) = &mut *self.0.journal.lock().unwrap() {
            save(journal, &state).map_err(|error| unusable(journal.path(), &error))?;
        }
        Ok(result)
    }

    /// Changes a machine and sends an event if `apply` returns a new power state.
    pub(super) fn change(
        &self,
        id: Uuid,
        operation: &'static str,
        apply: impl FnOnce(&mut Machine) -> Result<Option<MachineState>>,
    ) -> Result<()> {
        let new_state = self.write_of(id, |state| {
            apply(state.machines.get_mut(&id).ok_or(Error::NoMachine { operation, machine: id })?)
        })?;
        if let Some(state) = new_state {
            let _ = self.0.events.send(Event::Machine(state));
        }
        Ok(())
    }

    pub(super) fn read_machine<T>(
        &self,
        id: Uuid,
        operation: &'static str,
        read: impl FnOnce(&Machine) -> T,
    ) -> Result<T> {
        self.read(|state| state.machines.get(&id).map(read))?
            .ok_or(Error::NoMachine { operation, machine: id })
    }

    fn check_memory(&self, state: &State, id: Uuid, memory_mib: u64, operation: &'static str) -> Result<()> {
        let used = state.memory_used_by_others(id);
        let total = self.0.settings.memory_mib;
        if used + memory_mib > total {
            let reason =
                format!("{memory_mib} MiB requested, {} of {total} MiB free", total.saturating_sub(used));
            return Err(Error::NoCapacity { operation, reason });
        }
        Ok(())
    }

    pub(super) fn power_on(&self, id: Uuid, operation: &'static str, reboot: bool) -> Result<()> {
        let new_state = self.write_of(id, |state| {
            let found = state.machines.get(&id).ok_or(Error::NoMachine { operation, machine: id })?;
            if found.is_alive() && !reboot {
                return Ok(None);
            }
            self.check_memory(state, id, found.spec.memory_mib, operation)?;
            Ok(state.machines.get_mut(&id).map(Machine::boot))
        })?;
        if let Some(state) = new_state {
            let _ = self.0.events.send(Event::Machine(state));
        }
        Ok(())
    }
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Failed { operation: "save simulated state", reason: format!("{}: {error}", path.display()) }
}
