//! Relocation: moves a build from an unreachable host, or a rebuild from an evacuated one, to another host. Cleanup: removes
//! what a server left on a host once the host is reachable again.

use hypervisor::Power;
use uuid::Uuid;

use super::reservations::{enqueue_cleanup, release_reservations};
use super::{JobContext, StepError};
use crate::model::{Id, Reboot, Server, Vm, WorkItem};
use crate::service::Error;
use crate::service::orders::{Order, Requester};
use crate::store;
use crate::store::hosts::Size;

/// Number of attempts before a job leaves an unreachable host. A host that only restarts is back earlier.
pub(super) const ATTEMPTS_BEFORE_RELOCATION: i64 = 5;

impl JobContext<'_> {
    /// Moves a build to another host if its own is unreachable or evacuated, or a rebuild if its host is evacuated, and another
    /// host has capacity. Returns whether it did.
    pub(super) async fn relocate(&self) -> Result<bool, StepError> {
        let server = self.server().await?;
        let evacuated = self.inner.is_evacuated(&server.host);
        let unreachable =
            self.inner.is_unreachable(&server.host) && self.job.attempts >= ATTEMPTS_BEFORE_RELOCATION;
        let moves = match self.payload.work {
            WorkItem::Build => evacuated || unreachable,
            WorkItem::Rebuild => evacuated,
            _ => false,
        };
        if !moves {
            return Ok(false);
        }
        let overcommit = self.inner.settings.disk_overcommit;
        let input = (self.job.clone(), server, overcommit, self.inner.clock.now());
        let moved = self.inner.db.write(input, |(job, server, overcommit, now), tx| {
            Box::pin(async move {
                if !job.holds(tx).await? {
                    return Ok(None);
                }
                let size = Size::of(server.flavor);
                let found =
                    store::hosts::choose_other_host(tx, &server.tenant, size, *overcommit, &server.host);
                let Some(host) = found.await? else { return Ok(None) };
                let reserved = store::servers::reserved_memory(tx, server.id).await?;
                store::servers::move_to(tx, server, &host, size).await?;
                store::servers::add_ram(tx, &server.tenant, size.memory_mib - reserved).await?;
                enqueue_cleanup(tx, server.id, &server.host, None, *now).await?;
                Ok::<_, database::Error>(Some(host))
            })
        });
        let Some(host) = moved.await? else { return Ok(false) };
        tracing::warn!(server = %self.payload.server, host, "moved a build to another host: its own is unreachable or evacuated");
        self.inner.wake();
        Ok(true)
    }

    /// Removes what a server left on a host that it no longer uses: its machine and the snapshot of its migration.
    ///
    /// With `check_machine`, a resize to this host failed while the host was unreachable: if the machine does not run here, the
    /// resize is reverted.
    pub(super) async fn clean_up_host(
        &self,
        name: &str,
        snapshot: Option<Uuid>,
        check_machine: bool,
    ) -> Result<(), StepError> {
        let id = self.payload.server;
        let server =
            self.inner.db.read(id, |id, tx| Box::pin(async move { store::servers::by_id(tx, *id).await }));
        let server = server.await?;
        if self.inner.is_evacuated(name) {
            // The cleanup runs once the host is reinstated.
            return Err(StepError::Retry(format!("host {name} is evacuated")));
        }
        let host = self.host_named(name)?;
        if self.inner.is_unreachable(name) {
            // A call to an unresponsive host would hold the machine's lock for a long time.
            return Err(StepError::Retry(format!("host {name} is unreachable")));
        }
        let state = host.state(id).await?;
        match server {
            // The server is on this host, or is going back to it.
            Some(server) if server.host == name => {
                let runs = matches!(state.power, Power::Running | Power::Paused);
                match (server.state.task, server.is_rolling_back(), runs) {
                    (Some(_), _, _) => {}
                    (None, true, false) => self.order(&server, Order::Reboot(Reboot::Hard)).await?,
                    (None, true, true) => self.finish_rollback().await?,
                    (None, false, false) if check_machine && self.can_revert(&server) => {
                        self.order(&server, Order::Revert).await?;
                    }
                    (None, false, _) => {}
                }
            }
            Some(Server { other: Some(other), .. }) if other.host == name => {}
            _ => {
                if state.power == Power::Running {
                    tracing::warn!(host = name, machine = %id, "deleting a running machine: its server is on another host");
                }
                host.delete(id).await?;
            }
        }
        match snapshot {
            Some(snapshot) => Ok(host.drop_snapshot(snapshot).await?),
            None => Ok(()),
        }
    }

    /// Returns whether a resize to another host can be reverted: the host of the original is not evacuated.
    pub(super) fn can_revert(&self, server: &Server) -> bool {
        server.other.as_ref().is_some_and(|other| !self.inner.is_evacuated(&other.host))
    }

    async fn order(&self, server: &Server, order: Order) -> Result<(), StepError> {
        match self.inner.accept(Id::Uuid(server.id), order, Requester::default()).await {
            Ok(_) | Err(Error::Refused(_) | Error::NotFound(_)) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// Ends a rollback whose original machine is running because it had not been shut down yet.
    async fn finish_rollback(&self) -> Result<(), StepError> {
        let input = (self.job.clone(), self.payload.server, self.inner.clock.now());
        let finished = self.inner.db.write(input, |(job, id, now), tx| {
            Box::pin(async move {
                let Some(mut server) = store::servers::by_id(tx, *id).await? else { return Ok(()) };
                if !job.holds(tx).await? || server.state.task.is_some() || !server.is_rolling_back() {
                    return Ok(());
                }
                server.state.vm = Vm::Active;
                (server.power, server.updated) = (Power::Running, *now);
                release_reservations(tx, &mut server, *now).await?;
                store::servers::update(tx, &server).await
            })
        });
        Ok(finished.await?)
    }
}
