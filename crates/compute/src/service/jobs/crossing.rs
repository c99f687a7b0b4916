//! Resizes that take a server to another host, since its own has no room.
//!
//! The guest is shut down, a snapshot of its disk goes over as a stream, and the original stays as it is, off and without
//! addresses. The books change sides before the new machine is started, never after: from then on only the new host may
//! run it, and whoever wants the original again has to see the new machine off first. So both never run at once.

use hypervisor::{Boot, Hypervisor, MachineSpec, Power, Progress};
use uuid::Uuid;

use super::bookings::retreat;
use super::placing::ATTEMPTS_BEFORE;
use super::{JobContext, StepError};
use crate::model::{Flavor, Server};
use crate::store;

/// How far a resize is at the end of each step, in hundredths.
const AFTER_IMAGE: u8 = 10;
const AFTER_SHUTDOWN: u8 = 15;
const AFTER_SNAPSHOT: u8 = 40;
const AFTER_TRANSFER: u8 = 80;
const AFTER_DEFINITION: u8 = 85;
const AFTER_START: u8 = 95;
/// How often a transfer that breaks is begun again.
const TRANSFERS_MAX: i64 = 6;

impl JobContext<'_> {
    pub(super) async fn cross(&self, server: Server, flavor: i64, to: &str) -> Result<(), StepError> {
        let (mut server, flavor) = self.prepare_resize(server, flavor).await?;
        if server.host != to {
            if self.job.attempts >= ATTEMPTS_BEFORE
                && [to, server.host.as_str()].into_iter().any(|host| self.inner.is_lost(host))
            {
                return Err(StepError::Failed("a host that it needs stays away".into()));
            }
            let snapshot = server.other.as_ref().and_then(|other| other.snapshot);
            let snapshot = snapshot.ok_or_else(|| StepError::Failed("it was given up".into()))?;
            self.bring_over(&server, flavor, to, snapshot).await?;
            server = self.change_sides().await?;
        }
        let host = self.host(&server)?;
        host.define(&self.respec(&server, flavor).await?).await?;
        self.progress(AFTER_DEFINITION).await?;
        host.start(server.id).await?;
        self.progress(AFTER_START).await?;
        self.until_running(&server).await?;
        if let Some(other) = &server.other
            && let Some(snapshot) = other.snapshot
            && let Err(error) = self.host_named(&other.host)?.drop_snapshot(snapshot).await
        {
            tracing::warn!(%error, server = %server.id, "a snapshot is left until the resize is decided");
        }
        Ok(())
    }

    /// From a running machine here to all that one needs there.
    async fn bring_over(
        &self,
        server: &Server,
        flavor: &Flavor,
        to: &str,
        snapshot: Uuid,
    ) -> Result<(), StepError> {
        let (from, target) = (self.host(server)?, self.host_named(to)?);
        let (from, target) = (from.as_ref(), target.as_ref());
        let spec = self.respec(server, flavor).await?;
        // What can fail while the guest still runs comes first.
        self.networks(target).await?;
        if matches!(spec.boot, Boot::Kernel { .. }) {
            let image = self.inner.images.by_id_or_tombstone(server.image).await?;
            self.bring_image(target, &image, AFTER_IMAGE).await?;
        }
        if server.progress < AFTER_SHUTDOWN {
            self.room_for_transfer(server, target).await?;
        }
        self.power_down(server).await?;
        self.progress(AFTER_SHUTDOWN).await?;
        let progress = Progress::new();
        let taking = from.take_snapshot(server.id, snapshot, &progress);
        self.showing_transfer((AFTER_SHUTDOWN, AFTER_SNAPSHOT), &progress, taking).await?;
        self.progress(AFTER_SNAPSHOT).await?;
        let source = from.open_snapshot(snapshot).await?;
        let progress = Progress::new();
        let receiving = target.receive_disk(&spec, snapshot, source, &progress);
        match self.showing_transfer((AFTER_SNAPSHOT, AFTER_TRANSFER), &progress, receiving).await {
            // Either side may have gone away in the middle, and be back.
            Err(StepError::Failed(reason)) if self.job.attempts < TRANSFERS_MAX => {
                return Err(StepError::Retry(reason));
            }
            received => received?,
        }
        self.progress(AFTER_TRANSFER).await?;
        self.write_drive_on(target, server).await?;
        // No two hosts give the same addresses at once.
        Ok(from.define(&without_addresses(self.respec(server, server.flavor).await?)).await?)
    }

    /// What goes over is on both hosts for a while. Books count whole disks, and more than there is where an operator
    /// lets them: what is free is asked for.
    async fn room_for_transfer(&self, server: &Server, target: &dyn Hypervisor) -> Result<(), StepError> {
        let from = self.host(server)?;
        let bytes = from.snapshot_bytes(server.id).await?;
        for host in [from.as_ref(), target] {
            let free = host.capacity().await?.disk_free_bytes;
            if free < bytes {
                let mib = |bytes: u64| bytes >> 20;
                let reason =
                    format!("a host lacks the room: its disk has {} MiB, {} are free", mib(bytes), mib(free));
                return Err(StepError::Failed(reason));
            }
        }
        Ok(())
    }

    /// A failed resize is undone: the server is to run as it was, where it was. That is refused as long as the new host
    /// cannot say that it does not run there.
    pub(super) async fn undo_crossing(&self, server: Server, to: &str, flavor: i64) -> Result<(), StepError> {
        if server.host == to {
            let flavor = Flavor::by_number(flavor).unwrap_or(server.flavor);
            self.stand_down(&server, flavor).await?;
        }
        let server = self.turn_back(to).await?;
        self.run_original(&server).await
    }

    /// The original is removed once the new machine is seen to be there.
    pub(super) async fn confirm_crossing(&self, server: &Server) -> Result<(), StepError> {
        match self.host(server)?.state(server.id).await?.power {
            Power::Absent => {
                Err(StepError::Failed("its machine is gone from its host: the original is kept".into()))
            }
            // A revert that failed may have left it without addresses.
            Power::ShutOff => {
                let spec = self.respec(server, server.flavor).await?;
                Ok(self.host(server)?.define(&spec).await?)
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn revert_crossing(&self, server: Server) -> Result<(), StepError> {
        let mut server = server;
        if server.resize.is_some() {
            if !self.may_go_back(&server) {
                return Err(StepError::Failed("its original went with its host, which was given up".into()));
            }
            self.stand_down(&server, server.flavor).await?;
            let from = server.host.clone();
            server = self.turn_back(&from).await?;
        }
        self.run_original(&server).await
    }

    /// The machine is off and without addresses.
    async fn stand_down(&self, server: &Server, flavor: &Flavor) -> Result<(), StepError> {
        let host = self.host(server)?;
        match host.stop(server.id).await {
            Err(error) if error.is_absent() => return Ok(()),
            stopped => stopped?,
        }
        Ok(host.define(&without_addresses(self.respec(server, flavor).await?)).await?)
    }

    async fn run_original(&self, server: &Server) -> Result<(), StepError> {
        let host = self.host(server)?;
        // Its machine may be running already, where this comes again.
        self.networks(host.as_ref()).await?;
        host.define(&self.respec(server, server.flavor).await?).await?;
        host.start(server.id).await?;
        self.until_running(server).await
    }

    /// From here on it is the new host that runs it.
    async fn change_sides(&self) -> Result<Server, StepError> {
        let input = (self.job.clone(), self.payload.server, self.inner.clock.now());
        let changed = self.inner.db.write(input, |(job, id, now), tx| {
            Box::pin(async move {
                if !job.holds(tx).await? {
                    return Ok(None);
                }
                store::crossing::change_sides(tx, *id, *now).await?;
                store::servers::by_id(tx, *id).await
            })
        });
        changed.await?.ok_or(StepError::LeaseLost)
    }

    /// From here on it is the original that is run, and never again the machine that is `away`.
    async fn turn_back(&self, away: &str) -> Result<Server, StepError> {
        let input = (self.job.clone(), self.payload.server, away.to_owned(), self.inner.clock.now());
        let turned = self.inner.db.write(input, |(job, id, away, now), tx| {
            Box::pin(async move {
                if !job.holds(tx).await? {
                    return Ok(None);
                }
                let Some(mut server) = store::servers::by_id(tx, *id).await? else { return Ok(None) };
                retreat(tx, &mut server, away, *now).await?;
                store::servers::update(tx, &server).await?;
                Ok::<_, database::Error>(Some(server))
            })
        });
        turned.await?.ok_or(StepError::LeaseLost)
    }
}

/// The machine as it is kept: nothing that its host gives it may be given elsewhere, too.
fn without_addresses(mut spec: MachineSpec) -> MachineSpec {
    for nic in &mut spec.nics {
        nic.lease = None;
        nic.allowed.clear();
    }
    spec
}
