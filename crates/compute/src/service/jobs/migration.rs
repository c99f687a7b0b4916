//! Resize to another host, used when the current host lacks capacity.
//!
//! The guest is shut down and a snapshot of its disk is streamed to the target host. The original machine is kept, shut off and
//! without addresses.
//!
//! Invariant: at most one of the two machines runs. The row names the new host before the new machine is started. From then on
//! only the new host may run it; going back to the original first requires the new host to confirm that its machine is stopped.

use hypervisor::{Boot, Hypervisor, MachineSpec, Power, Progress};
use uuid::Uuid;

use super::relocation::ATTEMPTS_BEFORE_RELOCATION;
use super::reservations::rollback;
use super::{JobContext, StepError};
use crate::model::{Flavor, Server};
use crate::store;

/// Progress in percent at the end of each step.
const AFTER_IMAGE: u8 = 10;
const AFTER_SHUTDOWN: u8 = 15;
const AFTER_SNAPSHOT: u8 = 40;
const AFTER_TRANSFER: u8 = 80;
const AFTER_DEFINITION: u8 = 85;
const AFTER_START: u8 = 95;
/// Maximum number of attempts of a transfer whose connection breaks.
const TRANSFER_ATTEMPTS_MAX: i64 = 6;

impl JobContext<'_> {
    pub(super) async fn migrate(&self, server: Server, flavor: i64, to: &str) -> Result<(), StepError> {
        let (mut server, flavor) = self.prepare_resize(server, flavor).await?;
        if server.host != to {
            let unreachable =
                [to, server.host.as_str()].into_iter().find(|host| self.inner.is_unreachable(host));
            if let Some(host) = unreachable.filter(|_| self.job.attempts >= ATTEMPTS_BEFORE_RELOCATION) {
                return Err(StepError::Failed(format!(
                    "host {host}, needed for this resize, is unreachable"
                )));
            }
            let snapshot = server.other.as_ref().and_then(|other| other.snapshot);
            let snapshot = snapshot.ok_or_else(|| StepError::Failed("the resize was cancelled".into()))?;
            self.copy_to_host(&server, flavor, to, snapshot).await?;
            server = self.switch_host().await?;
        }
        let host = self.host(&server)?;
        host.define(&self.spec_with_flavor(&server, flavor).await?).await?;
        self.set_progress(AFTER_DEFINITION).await?;
        host.start(server.id).await?;
        self.set_progress(AFTER_START).await?;
        self.until_running(&server).await?;
        if let Some(other) = &server.other
            && let Some(snapshot) = other.snapshot
            && let Err(error) = self.host_named(&other.host)?.drop_snapshot(snapshot).await
        {
            tracing::warn!(%error, server = %server.id, "cannot delete the snapshot of a migration; it is deleted when the resize is confirmed or reverted");
        }
        Ok(())
    }

    /// Stops the guest and copies its disk, config drive and kernel to the target host.
    async fn copy_to_host(
        &self,
        server: &Server,
        flavor: &Flavor,
        to: &str,
        snapshot: Uuid,
    ) -> Result<(), StepError> {
        let (from, target) = (self.host(server)?, self.host_named(to)?);
        let (from, target) = (from.as_ref(), target.as_ref());
        let spec = self.spec_with_flavor(server, flavor).await?;
        // Do everything that can fail before stopping the guest.
        self.networks(target).await?;
        if matches!(spec.boot, Boot::Kernel { .. }) {
            let image = self.inner.images.by_id_or_tombstone(server.image).await?;
            self.ensure_image(target, &image, AFTER_IMAGE).await?;
        }
        if server.progress < AFTER_SHUTDOWN {
            self.check_free_space(server, target).await?;
        }
        self.shut_down(server).await?;
        self.set_progress(AFTER_SHUTDOWN).await?;
        let progress = Progress::new();
        let snapshotting = from.take_snapshot(server.id, snapshot, &progress);
        self.with_transfer_progress((AFTER_SHUTDOWN, AFTER_SNAPSHOT), &progress, snapshotting).await?;
        self.set_progress(AFTER_SNAPSHOT).await?;
        let source = from.open_snapshot(snapshot).await?;
        let progress = Progress::new();
        let receiving = target.receive_disk(&spec, snapshot, source, &progress);
        match self.with_transfer_progress((AFTER_SNAPSHOT, AFTER_TRANSFER), &progress, receiving).await {
            // The connection may have broken and recovered; retry the transfer.
            Err(StepError::Failed(reason)) if self.job.attempts < TRANSFER_ATTEMPTS_MAX => {
                return Err(StepError::Retry(reason));
            }
            received => received?,
        }
        self.set_progress(AFTER_TRANSFER).await?;
        self.write_drive_on(target, server).await?;
        // Invariant: at most one host allows these addresses at any time.
        Ok(from.define(&without_addresses(self.spec_with_flavor(server, server.flavor).await?)).await?)
    }

    /// Checks that both hosts have space for the snapshot, which both store for a while. Reservations cannot tell: they count
    /// whole disks and may be overcommitted.
    async fn check_free_space(&self, server: &Server, target: &dyn Hypervisor) -> Result<(), StepError> {
        let from = self.host(server)?;
        let bytes = from.snapshot_bytes(server.id).await?;
        for host in [from.as_ref(), target] {
            let free = host.capacity().await?.disk_free_bytes;
            if free < bytes {
                let mib = |bytes: u64| bytes >> 20;
                let reason = format!(
                    "host {} lacks disk space: the snapshot needs {} MiB, {} MiB are free",
                    host.host(),
                    mib(bytes),
                    mib(free)
                );
                return Err(StepError::Failed(reason));
            }
        }
        Ok(())
    }

    /// Undoes a failed resize: the original machine runs again on its host. Fails as long as the new host cannot
    /// confirm that its machine is stopped.
    pub(super) async fn undo_migration(
        &self,
        server: Server,
        to: &str,
        flavor: i64,
    ) -> Result<(), StepError> {
        if server.host == to {
            let flavor = Flavor::by_number(flavor).unwrap_or(server.flavor);
            self.stop_without_addresses(&server, flavor).await?;
        }
        let server = self.switch_back(to).await?;
        self.run_original(&server).await
    }

    /// Checks that the new machine exists before the original is removed.
    pub(super) async fn confirm_migration(&self, server: &Server) -> Result<(), StepError> {
        match self.host(server)?.state(server.id).await?.power {
            Power::Absent => Err(StepError::Failed(
                "the machine no longer exists on its host: the original is kept".into(),
            )),
            // A failed revert may have removed its addresses.
            Power::ShutOff => {
                let spec = self.spec_with_flavor(server, server.flavor).await?;
                Ok(self.host(server)?.define(&spec).await?)
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn revert_migration(&self, server: Server) -> Result<(), StepError> {
        let mut server = server;
        if server.resize.is_some() {
            if !self.can_revert(&server) {
                return Err(StepError::Failed("the original was lost with its host".into()));
            }
            self.stop_without_addresses(&server, server.flavor).await?;
            let from = server.host.clone();
            server = self.switch_back(&from).await?;
        }
        self.run_original(&server).await
    }

    /// Stops the machine and removes its addresses. Succeeds if there is no machine.
    async fn stop_without_addresses(&self, server: &Server, flavor: &Flavor) -> Result<(), StepError> {
        let host = self.host(server)?;
        match host.stop(server.id).await {
            Err(error) if error.is_absent() => return Ok(()),
            stopped => stopped?,
        }
        Ok(host.define(&without_addresses(self.spec_with_flavor(server, flavor).await?)).await?)
    }

    async fn run_original(&self, server: &Server) -> Result<(), StepError> {
        let host = self.host(server)?;
        // All steps are idempotent: after a retry the machine may be running already.
        self.networks(host.as_ref()).await?;
        host.define(&self.spec_with_flavor(server, server.flavor).await?).await?;
        host.start(server.id).await?;
        self.until_running(server).await
    }

    /// Records that the target host is now the server's host: from here on only it may run the machine.
    async fn switch_host(&self) -> Result<Server, StepError> {
        let input = (self.job.clone(), self.payload.server, self.inner.clock.now());
        let switched = self.inner.db.write(input, |(job, id, now), tx| {
            Box::pin(async move {
                if !job.holds(tx).await? {
                    return Ok(None);
                }
                store::migration::switch_host(tx, *id, *now).await?;
                store::servers::by_id(tx, *id).await
            })
        });
        switched.await?.ok_or(StepError::LeaseLost)
    }

    /// Records that the server is its original machine again: from here on the machine on host `left` must not run.
    async fn switch_back(&self, left: &str) -> Result<Server, StepError> {
        let input = (self.job.clone(), self.payload.server, left.to_owned(), self.inner.clock.now());
        let switched = self.inner.db.write(input, |(job, id, left, now), tx| {
            Box::pin(async move {
                if !job.holds(tx).await? {
                    return Ok(None);
                }
                let Some(mut server) = store::servers::by_id(tx, *id).await? else { return Ok(None) };
                rollback(tx, &mut server, left, *now).await?;
                store::servers::update(tx, &server).await?;
                Ok::<_, database::Error>(Some(server))
            })
        });
        switched.await?.ok_or(StepError::LeaseLost)
    }
}

/// Removes all addresses from a machine that is kept shut off, so that no two hosts allow them.
fn without_addresses(mut spec: MachineSpec) -> MachineSpec {
    for nic in &mut spec.nics {
        nic.lease = None;
        nic.allowed.clear();
    }
    spec
}
