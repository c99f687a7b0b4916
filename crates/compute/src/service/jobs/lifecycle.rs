//! Power, passwords and the end.

use database::{BoxFuture, Tx};
use hypervisor::{Power, Reboot as How};
use uuid::Uuid;

use super::bookings::vacate_later;
use super::{JobContext, StepError};
use crate::model::{Reboot, Server};
use crate::store;

/// Whose password the administrative one is.
const ADMINISTRATOR: &str = "root";
/// How often a guest whose agent is silent is asked.
const SILENCE_MAX: i64 = 6;

impl JobContext<'_> {
    pub(super) async fn reboot(&self, server: &Server, kind: Reboot) -> Result<(), StepError> {
        let host = self.host(server)?;
        let running = host.state(server.id).await?.power == Power::Running;
        if server.other.is_some() {
            // A way over or back that failed may have left it without addresses.
            host.define(&self.respec(server, server.flavor).await?).await?;
        }
        match kind {
            Reboot::Soft if running => host.reboot(server.id, How::Soft).await?,
            // There is no guest to ask.
            Reboot::Soft => host.start(server.id).await?,
            Reboot::Hard => host.reboot(server.id, How::Hard).await?,
        }
        self.until_running(server).await
    }

    pub(super) async fn password(&self, server: &Server, sealed: &str) -> Result<(), StepError> {
        let sealed = hex::decode(sealed).map_err(|error| StepError::Failed(error.to_string()))?;
        let plain = self.inner.seal.open(&server.id.to_string(), &sealed)?;
        let password = String::from_utf8(plain).map_err(|error| StepError::Failed(error.to_string()))?;
        match self.host(server)?.set_password(server.id, ADMINISTRATOR, &password).await {
            // The guest may just be booting.
            Err(error @ hypervisor::Error::GuestSilent { .. }) if self.job.attempts < SILENCE_MAX => {
                return Err(StepError::Retry(error.to_string()));
            }
            set => set?,
        }
        let kept = self.inner.db.write((server.id, sealed), |(server, sealed), tx| {
            Box::pin(async move { store::servers::keep_secret(tx, *server, "password", sealed).await })
        });
        Ok(kept.await?)
    }

    pub(super) async fn suspend(&self, server: &Server) -> Result<(), StepError> {
        let host = self.host(server)?;
        if host.state(server.id).await?.power == Power::Running {
            host.pause(server.id).await?;
        }
        Ok(())
    }

    pub(super) async fn resume(&self, server: &Server) -> Result<(), StepError> {
        let host = self.host(server)?;
        match host.state(server.id).await?.power {
            Power::Paused => host.resume(server.id).await?,
            // One that runs already may be half started.
            _ => host.start(server.id).await?,
        }
        self.until_running(server).await
    }

    pub(super) async fn start(&self, server: &Server) -> Result<(), StepError> {
        let host = self.host(server)?;
        self.networks(host.as_ref()).await?;
        host.start(server.id).await?;
        self.until_running(server).await
    }

    /// Removes everything that a server has anywhere. Every part is well if it is gone already. A host that stays away
    /// keeps only its own part waiting.
    pub(super) async fn delete(&self, server: &Server) -> Result<(), StepError> {
        let (own, other) = tokio::join!(self.clear_own(server), self.clear_other(server));
        own?;
        other?;
        self.inner.networks.release(server.id).await?;
        if !self.inner.settings.keep_images {
            self.inner.images.delete_of_server(server.id).await?;
        }
        Ok(())
    }

    /// The server's own host.
    async fn clear_own(&self, server: &Server) -> Result<(), StepError> {
        let host = self.host(server)?;
        for image in self.inner.images.of_server(server.id).await? {
            if image.status.in_flight() {
                host.drop_snapshot(image.id).await?;
                self.inner.images.fail(image.id, "the server was deleted").await?;
            }
        }
        if let Some(snapshot) = server.other.as_ref().and_then(|other| other.snapshot) {
            host.drop_snapshot(snapshot).await?;
        }
        host.delete(server.id).await?;
        self.free(server, &server.host, None, |server, tx| {
            Box::pin(async move { store::servers::hold_room(tx, server.id, &server.host, 0, 0).await })
        })
        .await
    }

    /// The second host of a resize that leaves the first one.
    async fn clear_other(&self, server: &Server) -> Result<(), StepError> {
        let Some(other) = &server.other else { return Ok(()) };
        let host = self.host_named(&other.host)?;
        if let Some(snapshot) = other.snapshot {
            host.drop_snapshot(snapshot).await?;
        }
        host.delete(server.id).await?;
        self.free(server, &other.host, other.snapshot, |server, tx| {
            Box::pin(async move { store::crossing::end(tx, server).await })
        })
        .await
    }

    /// Gives back what was booked for a part that is gone, while the job is this holder's. What a host that is given up may
    /// still have of it is removed when that is taken back.
    async fn free<F>(
        &self,
        server: &Server,
        host: &str,
        snapshot: Option<Uuid>,
        unit: F,
    ) -> Result<(), StepError>
    where
        F: for<'a> Fn(&'a Server, &'a mut Tx) -> BoxFuture<'a, Result<(), database::Error>>
            + Send
            + Sync
            + 'static,
    {
        let left = self.inner.is_given_up(host).then(|| (host.to_owned(), self.inner.clock.now()));
        let input = (self.job.clone(), server.clone(), left, snapshot, unit);
        let freed = self.inner.db.write(input, |(job, server, left, snapshot, unit), tx| {
            Box::pin(async move {
                if !job.holds(tx).await? {
                    return Ok(None);
                }
                if let Some((host, now)) = left {
                    vacate_later(tx, server.id, host, *snapshot, *now).await?;
                }
                unit(server, tx).await?;
                Ok::<_, database::Error>(Some(()))
            })
        });
        freed.await?.ok_or(StepError::LeaseLost)
    }
}
