//! A build whose host fails goes to another one, as does a rebuild whose host is given up; what a server left on a host is
//! removed when that answers again.

use hypervisor::Power;
use uuid::Uuid;

use super::bookings::{release, vacate_later};
use super::{JobContext, StepError};
use crate::model::WorkItem;
use crate::model::{Id, Reboot, Server, Vm};
use crate::service::Error;
use crate::service::orders::{Order, Orderer};
use crate::store;

/// A host that restarts is back within so many attempts: what leaves a host is for one that stays away.
pub(super) const ATTEMPTS_BEFORE: i64 = 5;
impl JobContext<'_> {
    /// Moves a build to another host if its own is lost, a rebuild if that is given up, and another has room; whether
    /// it did.
    pub(super) async fn place_anew(&self) -> Result<bool, StepError> {
        let server = self.server().await?;
        let given_up = self.inner.is_given_up(&server.host);
        let waits_in_vain = self.inner.is_lost(&server.host) && self.job.attempts >= ATTEMPTS_BEFORE;
        let moves = match self.payload.work {
            WorkItem::Build => given_up || waits_in_vain,
            WorkItem::Rebuild => given_up,
            _ => false,
        };
        if !moves {
            return Ok(false);
        }
        let overcommit = self.inner.settings.disk_overcommit;
        let input = (self.job.clone(), server, overcommit, self.inner.clock.now());
        let placed = self.inner.db.write(input, |(job, server, overcommit, now), tx| {
            Box::pin(async move {
                if !job.holds(tx).await? {
                    return Ok(None);
                }
                let (memory, disk) = (i64::from(server.flavor.memory_mib), i64::from(server.flavor.disk_gib));
                let size = (memory, disk);
                let found = store::hosts::place_beside(tx, &server.tenant, size, *overcommit, &server.host);
                let Some(host) = found.await? else { return Ok(None) };
                let held = store::servers::held_memory(tx, server.id).await?;
                store::servers::move_to(tx, server, &host, size).await?;
                store::servers::add_ram(tx, &server.tenant, memory - held).await?;
                vacate_later(tx, server.id, &server.host, None, *now).await?;
                Ok::<_, database::Error>(Some(host))
            })
        });
        let Some(host) = placed.await? else { return Ok(false) };
        tracing::warn!(server = %self.payload.server, host, "it is built on another host");
        self.inner.wake();
        Ok(true)
    }

    /// Removes what a server left on a host that it has nothing to do with any more: its machine, the snapshot that its
    /// disk went over by. A server whose resize failed, since this host did not answer, runs again as the original, if it does
    /// not run here.
    pub(super) async fn vacate(
        &self,
        name: &str,
        snapshot: Option<Uuid>,
        unseen: bool,
    ) -> Result<(), StepError> {
        let id = self.payload.server;
        let server =
            self.inner.db.read(id, |id, tx| Box::pin(async move { store::servers::by_id(tx, *id).await }));
        let server = server.await?;
        if self.inner.is_given_up(name) {
            // What is there is removed when it is taken back.
            return Err(StepError::Retry(format!("host {name} is given up")));
        }
        let host = self.host_named(name)?;
        if self.inner.is_lost(name) {
            // To ask a host that hangs would hold the server's turn.
            return Err(StepError::Retry(format!("host {name} does not answer")));
        }
        let state = host.state(id).await?;
        match server {
            // It is here, or is to be.
            Some(server) if server.host == name => {
                let runs = matches!(state.power, Power::Running | Power::Paused);
                match (server.state.task, server.returns(), runs) {
                    (Some(_), _, _) => {}
                    (None, true, false) => self.order(&server, Order::Reboot(Reboot::Hard)).await?,
                    (None, true, true) => self.book_return().await?,
                    (None, false, false) if unseen && self.may_go_back(&server) => {
                        self.order(&server, Order::Revert).await?;
                    }
                    (None, false, _) => {}
                }
            }
            Some(Server { other: Some(other), .. }) if other.host == name => {}
            _ => {
                if state.power == Power::Running {
                    tracing::warn!(host = name, machine = %id, "ending a machine that belongs elsewhere");
                }
                host.delete(id).await?;
            }
        }
        match snapshot {
            Some(snapshot) => Ok(host.drop_snapshot(snapshot).await?),
            None => Ok(()),
        }
    }

    /// Whether the original of a resize to another host may be there.
    pub(super) fn may_go_back(&self, server: &Server) -> bool {
        server.other.as_ref().is_some_and(|other| !self.inner.is_given_up(&other.host))
    }

    async fn order(&self, server: &Server, order: Order) -> Result<(), StepError> {
        match self.inner.accept(Id::Uuid(server.id), order, Orderer::default()).await {
            Ok(_) | Err(Error::Refused(_) | Error::NotFound(_)) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// The original runs: it had not been shut down yet.
    async fn book_return(&self) -> Result<(), StepError> {
        let input = (self.job.clone(), self.payload.server, self.inner.clock.now());
        let booked = self.inner.db.write(input, |(job, id, now), tx| {
            Box::pin(async move {
                let Some(mut server) = store::servers::by_id(tx, *id).await? else { return Ok(()) };
                if !job.holds(tx).await? || server.state.task.is_some() || !server.returns() {
                    return Ok(());
                }
                server.state.vm = Vm::Active;
                (server.power, server.updated) = (Power::Running, *now);
                release(tx, &mut server, *now).await?;
                store::servers::update(tx, &server).await
            })
        });
        Ok(booked.await?)
    }
}
