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

/// A host on which nothing runs. Clones are the same host.
#[derive(Clone)]
pub struct SimulatedHost(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) steps: Steps,
    state: Mutex<State>,
    journal: Mutex<Option<Journal>>,
    pub(super) events: broadcast::Sender<Event>,
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
    pub(super) fn change(
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

    pub(super) fn look<T>(
        &self,
        id: Uuid,
        operation: &'static str,
        look: impl FnOnce(&Machine) -> T,
    ) -> Result<T> {
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

    pub(super) fn power_on(&self, id: Uuid, operation: &'static str, anew: bool) -> Result<()> {
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
