//! Power state, password changes and deletion.

use database::{BoxFuture, Tx};
use hypervisor::{Power, Reboot as RebootKind};
use uuid::Uuid;

use super::reservations::enqueue_cleanup;
use super::{JobContext, StepError};
use crate::model::{Reboot, Server};
use crate::store;
use crate::store::hosts::Size;

/// The user whose password is the administrative one.
const ADMINISTRATOR: &str = "root";
/// Maximum number of attempts if the guest's agent does not respond.
const SILENT_ATTEMPTS_MAX: i64 = 6;

impl JobContext<'_> {
    pub(super) async fn reboot(&self, server: &Server, kind: Reboot) -> Result<(), StepError> {
        let host = self.host(server)?;
        let running = host.state(server.id).await?.power == Power::Running;
        if server.other.is_some() {
            // A failed migration or rollback may have removed its addresses.
            host.define(&self.spec_with_flavor(server, server.flavor).await?).await?;
        }
        match kind {
            Reboot::Soft if running => host.reboot(server.id, RebootKind::Soft).await?,
            // No guest is running that could be asked to reboot.
            Reboot::Soft => host.start(server.id).await?,
            Reboot::Hard => host.reboot(server.id, RebootKind::Hard).await?,
        }
        self.until_running(server).await
    }

    pub(super) async fn password(&self, server: &Server, sealed: &str) -> Result<(), StepError> {
        let sealed = hex::decode(sealed).map_err(|error| StepError::Failed(error.to_string()))?;
        let plain = self.inner.seal.open(&server.id.to_string(), &sealed)?;
        let password = String::from_utf8(plain).map_err(|error| StepError::Failed(error.to_string()))?;
        match self.host(server)?.set_password(server.id, ADMINISTRATOR, &password).await {
            // The guest may still be booting.
            Err(error @ hypervisor::Error::GuestSilent { .. }) if self.job.attempts < SILENT_ATTEMPTS_MAX => {
                return Err(StepError::Retry(error.to_string()));
            }
            set => set?,
        }
        let stored = self.inner.db.write((server.id, sealed), |(server, sealed), tx| {
            Box::pin(async move { store::servers::set_secret(tx, *server, "password", sealed).await })
        });
        Ok(stored.await?)
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
            // Start even a running machine: a start may have been interrupted.
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

    /// Removes everything that belongs to a server. Every step is idempotent: it succeeds if absent. An unreachable
    /// host delays only its own part.
    pub(super) async fn delete(&self, server: &Server) -> Result<(), StepError> {
        let (own, other) =
            tokio::join!(self.delete_from_own_host(server), self.delete_from_other_host(server));
        own?;
        other?;
        self.inner.networks.release(server.id).await?;
        if !self.inner.settings.keep_images {
            self.inner.images.delete_of_server(server.id).await?;
        }
        Ok(())
    }

    /// Deletes everything from the server's own host.
    async fn delete_from_own_host(&self, server: &Server) -> Result<(), StepError> {
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
        self.release_host(server, &server.host, None, |server, tx| {
            Box::pin(async move { store::servers::reserve(tx, server.id, &server.host, Size::ZERO).await })
        })
        .await
    }

    /// Deletes everything from the second host of a resize to another host.
    async fn delete_from_other_host(&self, server: &Server) -> Result<(), StepError> {
        let Some(other) = &server.other else { return Ok(()) };
        let host = self.host_named(&other.host)?;
        if let Some(snapshot) = other.snapshot {
            host.drop_snapshot(snapshot).await?;
        }
        host.delete(server.id).await?;
        self.release_host(server, &other.host, other.snapshot, |server, tx| {
            Box::pin(async move { store::migration::end(tx, server).await })
        })
        .await
    }

    /// Runs `release`, which frees the reservation on a host, in a transaction that checks the job's lease. If the host is
    /// evacuated, also enqueues a cleanup for when it is reinstated.
    async fn release_host<F>(
        &self,
        server: &Server,
        host: &str,
        snapshot: Option<Uuid>,
        release: F,
    ) -> Result<(), StepError>
    where
        F: for<'a> Fn(&'a Server, &'a mut Tx) -> BoxFuture<'a, Result<(), database::Error>>
            + Send
            + Sync
            + 'static,
    {
        let evacuated = self.inner.is_evacuated(host).then(|| (host.to_owned(), self.inner.clock.now()));
        let input = (self.job.clone(), server.clone(), evacuated, snapshot, release);
        let released = self.inner.db.write(input, |(job, server, evacuated, snapshot, release), tx| {
            Box::pin(async move {
                if !job.holds(tx).await? {
                    return Ok(None);
                }
                if let Some((host, now)) = evacuated {
                    enqueue_cleanup(tx, server.id, host, *snapshot, *now).await?;
                }
                release(server, tx).await?;
                Ok::<_, database::Error>(Some(()))
            })
        });
        released.await?.ok_or(StepError::LeaseLost)
    }
}
