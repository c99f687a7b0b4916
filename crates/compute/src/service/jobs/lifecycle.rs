//! Power, passwords and the end.

use hypervisor::{Power, Reboot as How};

use super::{Hand, Trouble};
use crate::model::{Reboot, Server};
use crate::store;

/// Whose password the administrative one is.
const ADMINISTRATOR: &str = "root";
/// How often a guest whose agent is silent is asked.
const SILENCE_MAX: i64 = 6;

impl Hand<'_> {
    pub(super) async fn reboot(&self, server: &Server, kind: Reboot) -> Result<(), Trouble> {
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

    pub(super) async fn password(&self, server: &Server, sealed: &str) -> Result<(), Trouble> {
        let sealed = hex::decode(sealed).map_err(|error| Trouble::Failed(error.to_string()))?;
        let plain = self.inner.seal.open(&server.id.to_string(), &sealed)?;
        let password = String::from_utf8(plain).map_err(|error| Trouble::Failed(error.to_string()))?;
        match self.host(server)?.set_password(server.id, ADMINISTRATOR, &password).await {
            // The guest may just be booting.
            Err(error @ hypervisor::Error::GuestSilent { .. }) if self.job.attempts < SILENCE_MAX => {
                return Err(Trouble::Later(error.to_string()));
            }
            set => set?,
        }
        let kept = self.inner.db.write((server.id, sealed), |(server, sealed), tx| {
            Box::pin(async move { store::servers::keep_secret(tx, *server, "password", sealed).await })
        });
        Ok(kept.await?)
    }

    pub(super) async fn suspend(&self, server: &Server) -> Result<(), Trouble> {
        let host = self.host(server)?;
        if host.state(server.id).await?.power == Power::Running {
            host.pause(server.id).await?;
        }
        Ok(())
    }

    pub(super) async fn resume(&self, server: &Server) -> Result<(), Trouble> {
        let host = self.host(server)?;
        match host.state(server.id).await?.power {
            Power::Paused => host.resume(server.id).await?,
            Power::Running => {}
            _ => host.start(server.id).await?,
        }
        self.until_running(server).await
    }

    pub(super) async fn start(&self, server: &Server) -> Result<(), Trouble> {
        let host = self.host(server)?;
        self.networks(host.as_ref()).await?;
        host.start(server.id).await?;
        self.until_running(server).await
    }

    /// Removes everything that a server has anywhere. Every part is well if it is gone already.
    pub(super) async fn delete(&self, server: &Server) -> Result<(), Trouble> {
        let host = self.host(server)?;
        for image in self.inner.images.of_server(server.id).await? {
            if image.status.in_flight() {
                host.drop_snapshot(image.id).await?;
                self.inner.images.fail(image.id, "the server was deleted").await?;
            }
        }
        host.delete(server.id).await?;
        if let Some(other) = &server.other {
            let host_of_other = self.host_named(&other.host)?;
            for host in [host, host_of_other] {
                if let Some(snapshot) = other.snapshot {
                    host.drop_snapshot(snapshot).await?;
                }
            }
            host_of_other.delete(server.id).await?;
        }
        self.inner.networks.release(server.id).await?;
        if !self.inner.settings.keep_images {
            self.inner.images.delete_of_server(server.id).await?;
        }
        Ok(())
    }
}
