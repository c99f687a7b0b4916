//! Fault injection: a host whose n-th call of an operation fails or hangs, or whose calls stop while a file exists in
//! a directory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::{
    Accelerator, Capacity, ConfigDrive, ConsoleChunk, Digest, Error, Event, Hypervisor, ImageSource,
    ImageSpec, Mac, MachineSpec, MachineState, NetworkSpec, Progress, Reboot, Result, Snapshot, Usage,
};

/// What happens instead of the call, or after it.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The call does nothing and returns this error.
    Before(Error),
    /// The call does its work and then returns this error, as if the reply were lost.
    After(Error),
    /// The call does nothing and never returns.
    Hang,
}

/// Interval at which a stopped call polls whether it may continue.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A host with injected faults.
pub struct Faulty<H> {
    host: H,
    plan: Arc<Mutex<Plan>>,
    stops: Option<PathBuf>,
}

#[derive(Default)]
struct Plan {
    calls: HashMap<&'static str, u32>,
    faults: Vec<(String, u32, Fault)>,
}

impl<H: Hypervisor> Faulty<H> {
    /// Wraps a host. Calls are counted from now on and passed through unless a fault is injected.
    pub fn new(host: H) -> Self {
        Self { host, plan: Arc::default(), stops: None }
    }

    /// Wraps a host whose calls can be stopped from outside the process. If `stops` contains a file `before.start`,
    /// the next call of `start` renames it to `reached.before.start` and waits until that file is deleted.
    /// `after.start` stops the call after its work and before it returns. This allows a test to kill a process at a
    /// known step.
    pub fn with_stop_files(host: H, stops: &Path) -> Self {
        Self { host, plan: Arc::default(), stops: Some(stops.to_owned()) }
    }

    async fn stop(&self, when: &str, operation: &str) {
        let Some(stops) = &self.stops else { return };
        let asked = stops.join(format!("{when}.{operation}"));
        let reached = stops.join(format!("reached.{when}.{operation}"));
        // Renaming succeeds for only one call.
        if tokio::fs::rename(&asked, &reached).await.is_err() {
            return;
        }
        while tokio::fs::try_exists(&reached).await.unwrap_or(false) {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The wrapped host.
    pub fn inner(&self) -> &H {
        &self.host
    }

    /// Injects a fault into the `nth` call of the trait's method `operation`, counted from 1 since [`Faulty::new`].
    pub fn inject(&self, operation: &str, nth: u32, fault: Fault) {
        self.plan.lock().unwrap().faults.push((operation.to_owned(), nth, fault));
    }

    /// Returns how often the method was called.
    pub fn calls(&self, operation: &str) -> u32 {
        self.plan.lock().unwrap().calls.get(operation).copied().unwrap_or(0)
    }

    fn fault(&self, operation: &'static str) -> Option<Fault> {
        let mut plan = self.plan.lock().unwrap();
        let calls = plan.calls.entry(operation).or_insert(0);
        *calls += 1;
        let call = *calls;
        let found = plan.faults.iter().find(|(name, nth, _)| name == operation && *nth == call);
        found.map(|(_, _, fault)| fault.clone())
    }
}

macro_rules! call {
    ($self:ident, $operation:ident ( $($argument:expr),* )) => {{
        $self.stop("before", stringify!($operation)).await;
        match $self.fault(stringify!($operation)) {
            None => {
                let result = $self.host.$operation($($argument),*).await;
                $self.stop("after", stringify!($operation)).await;
                result
            }
            Some(Fault::Before(error)) => Err(error),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::After(error)) => {
                $self.host.$operation($($argument),*).await?;
                Err(error)
            }
        }
    }};
}

#[async_trait]
impl<H: Hypervisor> Hypervisor for Faulty<H> {
    fn host(&self) -> &str {
        self.host.host()
    }
    async fn capacity(&self) -> Result<Capacity> {
        call!(self, capacity())
    }
    async fn accelerator(&self) -> Result<Accelerator> {
        call!(self, accelerator())
    }
    fn events(&self) -> broadcast::Receiver<Event> {
        self.host.events()
    }
    async fn ensure_network(&self, network: &NetworkSpec) -> Result<()> {
        call!(self, ensure_network(network))
    }
    async fn remove_network(&self, name: &str) -> Result<()> {
        call!(self, remove_network(name))
    }
    async fn holds_image(&self, image: &Digest) -> Result<bool> {
        call!(self, holds_image(image))
    }
    async fn images(&self) -> Result<Vec<Digest>> {
        call!(self, images())
    }
    async fn upload_image(&self, image: &ImageSpec, source: ImageSource, progress: &Progress) -> Result<()> {
        call!(self, upload_image(image, source, progress))
    }
    async fn drop_image(&self, image: &Digest) -> Result<()> {
        call!(self, drop_image(image))
    }
    async fn ensure_disk(&self, machine: &MachineSpec) -> Result<()> {
        call!(self, ensure_disk(machine))
    }
    async fn replace_disk(&self, machine: &MachineSpec) -> Result<()> {
        call!(self, replace_disk(machine))
    }
    async fn receive_disk(
        &self,
        machine: &MachineSpec,
        snapshot: Uuid,
        source: Snapshot,
        progress: &Progress,
    ) -> Result<()> {
        call!(self, receive_disk(machine, snapshot, source, progress))
    }
    async fn ensure_config_drive(&self, machine: Uuid, files: &ConfigDrive) -> Result<()> {
        call!(self, ensure_config_drive(machine, files))
    }
    async fn define(&self, machine: &MachineSpec) -> Result<()> {
        call!(self, define(machine))
    }
    async fn start(&self, machine: Uuid) -> Result<()> {
        call!(self, start(machine))
    }
    async fn stop(&self, machine: Uuid) -> Result<()> {
        call!(self, stop(machine))
    }
    async fn ask_to_shut_down(&self, machine: Uuid) -> Result<()> {
        call!(self, ask_to_shut_down(machine))
    }
    async fn reboot(&self, machine: Uuid, kind: Reboot) -> Result<()> {
        call!(self, reboot(machine, kind))
    }
    async fn pause(&self, machine: Uuid) -> Result<()> {
        call!(self, pause(machine))
    }
    async fn resume(&self, machine: Uuid) -> Result<()> {
        call!(self, resume(machine))
    }
    async fn state(&self, machine: Uuid) -> Result<MachineState> {
        call!(self, state(machine))
    }
    async fn machines(&self) -> Result<Vec<MachineState>> {
        call!(self, machines())
    }
    async fn usage(&self, machine: Uuid) -> Result<Usage> {
        call!(self, usage(machine))
    }
    async fn console(&self, machine: Uuid, offset: u64, limit: usize) -> Result<ConsoleChunk> {
        call!(self, console(machine, offset, limit))
    }
    async fn set_password(&self, machine: Uuid, user: &str, password: &str) -> Result<()> {
        call!(self, set_password(machine, user, password))
    }
    async fn set_addresses(&self, machine: Uuid, card: Mac, allowed: &[IpAddr]) -> Result<()> {
        call!(self, set_addresses(machine, card, allowed))
    }
    async fn begin_resize(&self, resized: &MachineSpec) -> Result<()> {
        call!(self, begin_resize(resized))
    }
    async fn revert_resize(&self, original: &MachineSpec) -> Result<()> {
        call!(self, revert_resize(original))
    }
    async fn confirm_resize(&self, machine: Uuid) -> Result<()> {
        call!(self, confirm_resize(machine))
    }
    async fn take_snapshot(&self, machine: Uuid, snapshot: Uuid, progress: &Progress) -> Result<()> {
        call!(self, take_snapshot(machine, snapshot, progress))
    }
    async fn snapshot_bytes(&self, machine: Uuid) -> Result<u64> {
        call!(self, snapshot_bytes(machine))
    }
    async fn open_snapshot(&self, snapshot: Uuid) -> Result<Snapshot> {
        call!(self, open_snapshot(snapshot))
    }
    async fn drop_snapshot(&self, snapshot: Uuid) -> Result<()> {
        call!(self, drop_snapshot(snapshot))
    }
    async fn snapshots(&self) -> Result<Vec<Uuid>> {
        call!(self, snapshots())
    }
    async fn delete(&self, machine: Uuid) -> Result<()> {
        call!(self, delete(machine))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::SimulatedHost;

    #[tokio::test]
    async fn only_the_chosen_call_fails() {
        let host = Faulty::new(SimulatedHost::immediate());
        let error = Error::Failed { operation: "machines", reason: "injected".to_owned() };
        host.inject("machines", 2, Fault::Before(error.clone()));
        assert_eq!(host.machines().await, Ok(vec![]));
        assert_eq!(host.machines().await, Err(error));
        assert_eq!(host.machines().await, Ok(vec![]));
        assert_eq!(host.calls("machines"), 3);
    }

    #[tokio::test]
    async fn a_call_stops_while_its_stop_file_exists() {
        let dir = tempfile::tempdir().unwrap();
        let host = Arc::new(Faulty::with_stop_files(SimulatedHost::immediate(), dir.path()));
        assert_eq!(host.machines().await, Ok(vec![]));
        for when in ["before", "after"] {
            std::fs::write(dir.path().join(format!("{when}.machines")), "").unwrap();
            let reached = dir.path().join(format!("reached.{when}.machines"));
            let call = tokio::spawn({
                let host = Arc::clone(&host);
                async move { host.machines().await }
            });
            while !reached.exists() {
                tokio::task::yield_now().await;
            }
            assert!(!call.is_finished(), "{when}");
            assert_eq!(host.calls("machines"), if when == "before" { 1 } else { 3 });
            std::fs::remove_file(reached).unwrap();
            assert_eq!(call.await.unwrap(), Ok(vec![]));
        }
    }
}
