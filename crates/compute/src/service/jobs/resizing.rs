//! Resizes: the old size is kept until it is confirmed, by its owner or after a day by itself.

use hypervisor::Power;

use super::{JobContext, StepError};
use crate::model::{Flavor, Server, Task};
use crate::service::Error;
use crate::service::orders::{Order, Orderer};

impl JobContext<'_> {
    pub(super) async fn resize(&self, server: Server, flavor: i64) -> Result<(), StepError> {
        let (server, flavor) = self.prepare_resize(server, flavor).await?;
        let host = self.host(&server)?;
        let spec = self.respec(&server, flavor).await?;
        self.power_down(&server).await?;
        self.progress(30).await?;
        host.begin_resize(&spec).await?;
        self.progress(60).await?;
        host.define(&spec).await?;
        host.start(server.id).await?;
        self.progress(90).await?;
        self.until_running(&server).await
    }

    pub(super) async fn prepare_resize(
        &self,
        server: Server,
        flavor: i64,
    ) -> Result<(Server, &'static Flavor), StepError> {
        let flavor =
            Flavor::by_number(flavor).ok_or_else(|| StepError::Failed("there is no such flavor".into()))?;
        if server.state.task != Some(Task::ResizeQueued) {
            return Ok((server, flavor));
        }
        Ok((self.show(|server| server.state.task = Some(Task::ResizePrep)).await?, flavor))
    }

    /// What a failed resize left is undone, as far as its host answers: the server is to run as it was.
    pub(super) async fn undo_resize(&self, server: &Server) -> Result<(), StepError> {
        let host = self.host(server)?;
        let spec = self.respec(server, server.flavor).await?;
        host.stop(server.id).await?;
        host.revert_resize(&spec).await?;
        host.define(&spec).await?;
        host.start(server.id).await?;
        self.until_running(server).await
    }

    pub(super) async fn confirm(&self, server: &Server) -> Result<(), StepError> {
        if server.other.is_some() {
            return self.confirm_crossing(server).await;
        }
        Ok(self.host(server)?.confirm_resize(server.id).await?)
    }

    pub(super) async fn revert(&self, server: Server) -> Result<(), StepError> {
        if server.other.is_some() {
            return self.revert_crossing(server).await;
        }
        let host = self.host(&server)?;
        if let Some(resize) = server.resize {
            let spec = self.respec(&server, resize.from).await?;
            host.stop(server.id).await?;
            host.revert_resize(&spec).await?;
            host.define(&spec).await?;
            // It is decided: whatever happens from here on happens to the old size.
            self.show(|server| {
                if let Some(resize) = server.resize.take() {
                    server.flavor = resize.from;
                }
            })
            .await?;
        }
        host.start(server.id).await?;
        self.until_running(&server).await
    }

    /// The day is over: what was not decided is confirmed.
    pub(super) async fn auto_confirm(&self, server: &Server) -> Result<(), StepError> {
        let id = crate::model::Id::Uuid(server.id);
        match self.inner.accept(id, Order::Confirm, Orderer::default()).await {
            Ok(_) | Err(Error::Refused(_) | Error::NotFound(_)) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// The machine in another size. Its image may be deleted since: the disk is there, only its boot is needed.
    pub(super) async fn respec(
        &self,
        server: &Server,
        flavor: &Flavor,
    ) -> Result<hypervisor::MachineSpec, StepError> {
        let image = self.inner.images.by_id_or_tombstone(server.image).await?;
        self.spec(server, flavor, &image)
    }

    /// Asks the guest to shut down, and cuts the power if it does not.
    pub(super) async fn power_down(&self, server: &Server) -> Result<(), StepError> {
        let host = self.host(server)?;
        // Where asking fails nobody knows whether the guest was asked, so it must not be left to itself: it would be
        // off some time after the resize was given up. Its power is cut as if it had not listened.
        if host.state(server.id).await?.power == Power::Running
            && host.ask_to_shut_down(server.id).await.is_ok()
        {
            let down = async {
                while host.state(server.id).await?.power == Power::Running {
                    tokio::time::sleep(super::building::LOOK_EVERY).await;
                }
                Ok::<_, StepError>(())
            };
            if let Ok(down) = tokio::time::timeout(GUEST_GOES_DOWN_WITHIN, down).await {
                down?;
            }
        }
        Ok(host.stop(server.id).await?)
    }
}

/// A guest has so long to shut down before its power is cut.
const GUEST_GOES_DOWN_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);
