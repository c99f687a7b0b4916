//! A build whose host fails goes to another one; what it left on the first is removed when that answers again.

use hypervisor::Power;
use work::{NewJob, Time, jobs};

use super::{Hand, Payload, Trouble, Work};
use crate::store;

/// A host that restarts is back within so many attempts: moving a build is for one that stays away.
const ATTEMPTS_BEFORE: i64 = 5;
/// A job that clears up waits for its host as long as it takes.
const NEVER: Time = Time(i64::MAX);

impl Hand<'_> {
    /// Moves a build to another host if its own is lost and another has room; whether it did.
    pub(super) async fn place_anew(&self) -> Result<bool, Trouble> {
        let server = self.server().await?;
        let waits_in_vain = self.inner.is_lost(&server.host) && self.job.attempts >= ATTEMPTS_BEFORE;
        if self.payload.work != Work::Build || !waits_in_vain {
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
                // A lost host is not up, so it is not found again.
                let found = store::hosts::place(tx, &server.tenant, memory, disk, *overcommit).await?;
                let Some(host) = found.filter(|host| *host != server.host) else { return Ok(None) };
                store::servers::move_to(tx, server, &host).await?;
                let work = Work::Vacate { host: server.host.clone() };
                let job = NewJob {
                    kind: "vacate",
                    subject: &format!("vacate:{}", server.id),
                    payload: Payload { server: server.id, work, action: None }.to_json(),
                    due: *now,
                    deadline: NEVER,
                };
                jobs::enqueue(tx, *now, &job).await?;
                Ok::<_, database::Error>(Some(host))
            })
        });
        let Some(host) = placed.await? else { return Ok(false) };
        tracing::warn!(server = %self.payload.server, host, "a build goes on on another host");
        self.inner.wake();
        Ok(true)
    }

    /// Removes what a build left on a host that it was moved from.
    pub(super) async fn vacate(&self, host: &str) -> Result<(), Trouble> {
        let id = self.payload.server;
        let server =
            self.inner.db.read(id, |id, tx| Box::pin(async move { store::servers::by_id(tx, *id).await }));
        if server.await?.is_some_and(|server| server.host == host) {
            // It came back here meanwhile.
            return Ok(());
        }
        let missing = || Trouble::Later(format!("host {host} is not configured"));
        let host = self.inner.hosts.get(host).ok_or_else(missing)?;
        if host.state(id).await?.power == Power::Running {
            tracing::warn!(host = host.host(), machine = %id, "ending a machine that was built elsewhere");
        }
        Ok(host.delete(id).await?)
    }
}
