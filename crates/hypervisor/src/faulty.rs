//! Fault injection: a host whose n-th call of an operation fails or hangs, or one that stops before and after the calls
//! for which a file lies in a directory.

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
    /// The call does nothing and answers this error.
    Before(Error),
    /// The call does its work, and the answer is lost: this error comes instead.
    After(Error),
    /// The call never answers and does nothing.
    Hang,
}

/// How often a stopped call looks whether it may go on.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A host with faults laid in its way.
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
    /// Counts calls from now on; without a planned fault, every call passes through.
    pub fn new(host: H) -> Self {
        Self { host, plan: Arc::default(), stops: None }
    }

    /// A host that stops where someone outside of the process asks it to. While a file `before.start` lies in `stops`,
    /// the next call of `start` renames it to `reached.before.start` and waits until that is gone; `after.start` stops
    /// the call once its work is done and before anyone knows. So a test kills whatever it wants at a known step.
    pub fn stopping(host: H, stops: &Path) -> Self {
        Self { host, plan: Arc::default(), stops: Some(stops.to_owned()) }
    }

    async fn stop(&self, when: &str, operation: &str) {
        let Some(stops) = &self.stops else { return };
        let asked = stops.join(format!("{when}.{operation}"));
        let reached = stops.join(format!("reached.{when}.{operation}"));
        // Only one call can take the file away.
        if tokio::fs::rename(&asked, &reached).await.is_err() {
            return;
        }
        while tokio::fs::try_exists(&reached).await.unwrap_or(false) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The host behind.
    pub fn inner(&self) -> &H {
        &self.host
    }

    /// Lets the `nth` call (from 1, counted since the beginning) of the trait's method `operation` meet a fault.
    pub fn inject(&self, operation: &str, nth: u32, fault: Fault) {
        self.plan.lock().unwrap().faults.push((operation.to_owned(), nth, fault));
    }

    /// How often the method has been called.
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

macro_rules! meet {
    ($self:ident, $operation:ident ( $($argument:expr),* )) => {{
        $self.stop("before", stringify!($operation)).await;
        match $self.fault(stringify!($operation)) {
            None => {
                let answer = $self.host.$operation($($argument),*).await;
                $self.stop("after", stringify!($operation)).await;
                answer
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
        meet!(self, capacity())
    }
    async fn accelerator(&self) -> Result<Accelerator> {
        meet!(self, accelerator())
    }
    fn events(&self) -> broadcast::Receiver<Event> {
        self.host.events()
    }
    async fn ensure_network(&self, network: &NetworkSpec) -> Result<()> {
        meet!(self, ensure_network(network))
    }
    async fn remove_network(&self, name: &str) -> Result<()> {
        meet!(self, remove_network(name))
    }
    async fn holds_image(&self, image: &Digest) -> Result<bool> {
        meet!(self, holds_image(image))
    }
    async fn images(&self) -> Result<Vec<Digest>> {
        meet!(self, images())
    }
    async fn upload_image(&self, image: &ImageSpec, source: ImageSource, progress: &Progress) -> Result<()> {
        meet!(self, upload_image(image, source, progress))
    }
    async fn drop_image(&self, image: &Digest) -> Result<()> {
        meet!(self, drop_image(image))
    }
    async fn ensure_disk(&self, machine: &MachineSpec) -> Result<()> {
        meet!(self, ensure_disk(machine))
    }
    async fn replace_disk(&self, machine: &MachineSpec) -> Result<()> {
        meet!(self, replace_disk(machine))
    }
    async fn receive_disk(
        &self,
        machine: &MachineSpec,
        snapshot: Uuid,
        source: Snapshot,
        progress: &Progress,
    ) -> Result<()> {
        meet!(self, receive_disk(machine, snapshot, source, progress))
    }
    async fn ensure_config_drive(&self, machine: Uuid, files: &ConfigDrive) -> Result<()> {
        meet!(self, ensure_config_drive(machine, files))
    }
    async fn define(&self, machine: &MachineSpec) -> Result<()> {
        meet!(self, define(machine))
    }
    async fn start(&self, machine: Uuid) -> Result<()> {
        meet!(self, start(machine))
    }
    async fn stop(&self, machine: Uuid) -> Result<()> {
        meet!(self, stop(machine))
    }
    async fn ask_to_shut_down(&self, machine: Uuid) -> Result<()> {
        meet!(self, ask_to_shut_down(machine))
    }
    async fn reboot(&self, machine: Uuid, kind: Reboot) -> Result<()> {
        meet!(self, reboot(machine, kind))
    }
    async fn pause(&self, machine: Uuid) -> Result<()> {
        meet!(self, pause(machine))
    }
    async fn resume(&self, machine: Uuid) -> Result<()> {
        meet!(self, resume(machine))
    }
    async fn state(&self, machine: Uuid) -> Result<MachineState> {
        meet!(self, state(machine))
    }
    async fn machines(&self) -> Result<Vec<MachineState>> {
        meet!(self, machines())
    }
    async fn usage(&self, machine: Uuid) -> Result<Usage> {
        meet!(self, usage(machine))
    }
    async fn console(&self, machine: Uuid, offset: u64, limit: usize) -> Result<ConsoleChunk> {
        meet!(self, console(machine, offset, limit))
    }
    async fn set_password(&self, machine: Uuid, user: &str, password: &str) -> Result<()> {
        meet!(self, set_password(machine, user, password))
    }
    async fn set_addresses(&self, machine: Uuid, card: Mac, allowed: &[IpAddr]) -> Result<()> {
        meet!(self, set_addresses(machine, card, allowed))
    }
    async fn begin_resize(&self, resized: &MachineSpec) -> Result<()> {
        meet!(self, begin_resize(resized))
    }
    async fn revert_resize(&self, original: &MachineSpec) -> Result<()> {
        meet!(self, revert_resize(original))
    }
    async fn confirm_resize(&self, machine: Uuid) -> Result<()> {
        meet!(self, confirm_resize(machine))
    }
    async fn take_snapshot(&self, machine: Uuid, snapshot: Uuid, progress: &Progress) -> Result<()> {
        meet!(self, take_snapshot(machine, snapshot, progress))
    }
    async fn snapshot_bytes(&self, machine: Uuid) -> Result<u64> {
        meet!(self, snapshot_bytes(machine))
    }
    async fn open_snapshot(&self, snapshot: Uuid) -> Result<Snapshot> {
        meet!(self, open_snapshot(snapshot))
    }
    async fn drop_snapshot(&self, snapshot: Uuid) -> Result<()> {
        meet!(self, drop_snapshot(snapshot))
    }
    async fn snapshots(&self) -> Result<Vec<Uuid>> {
        meet!(self, snapshots())
    }
    async fn delete(&self, machine: Uuid) -> Result<()> {
        meet!(self, delete(machine))
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
    async fn a_call_stops_where_a_file_asks_for_it_and_goes_on_when_the_file_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let host = Arc::new(Faulty::stopping(SimulatedHost::immediate(), dir.path()));
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
