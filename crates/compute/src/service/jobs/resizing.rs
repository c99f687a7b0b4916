//! Resize: the old size is kept until the resize is confirmed by the owner, or automatically after a day.

use hypervisor::Power;

use super::{JobContext, StepError};
use crate::model::{Flavor, Server, Task};
use crate::service::Error;
use crate::service::orders::{Order, Requester};

impl JobContext<'_> {
    pub(super) async fn resize(&self, server: Server, flavor: i64) -> Result<(), StepError> {
        let (server, flavor) = self.prepare_resize(server, flavor).await?;
        let host = self.host(&server)?;
        let spec = self.spec_with_flavor(&server, flavor).await?;
        self.shut_down(&server).await?;
        self.set_progress(30).await?;
        host.begin_resize(&spec).await?;
        self.set_progress(60).await?;
        host.define(&spec).await?;
        host.start(server.id).await?;
        self.set_progress(90).await?;
        self.until_running(&server).await
    }

    pub(super) async fn prepare_resize(
        &self,
        server: Server,
        flavor: i64,
    ) -> Result<(Server, &'static Flavor), StepError> {
        let flavor =
            Flavor::by_number(flavor).ok_or_else(|| StepError::Failed("the flavor does not exist".into()))?;
        if server.state.task != Some(Task::ResizeQueued) {
            return Ok((server, flavor));
        }
        Ok((self.update_server(|server| server.state.task = Some(Task::ResizePrep)).await?, flavor))
    }

    /// Undoes a failed resize: the server runs again in its old size.
    pub(super) async fn undo_resize(&self, server: &Server) -> Result<(), StepError> {
        let host = self.host(server)?;
        let spec = self.spec_with_flavor(server, server.flavor).await?;
        host.stop(server.id).await?;
        host.revert_resize(&spec).await?;
        host.define(&spec).await?;
        host.start(server.id).await?;
        self.until_running(server).await
    }

    pub(super) async fn confirm(&self, server: &Server) -> Result<(), StepError> {
        if server.other.is_some() {
            return self.confirm_migration(server).await;
        }
        Ok(self.host(server)?.confirm_resize(server.id).await?)
    }

    pub(super) async fn revert(&self, server: Server) -> Result<(), StepError> {
        if server.other.is_some() {
            return self.revert_migration(server).await;
        }
        let host = self.host(&server)?;
        if let Some(resize) = server.resize {
            let spec = self.spec_with_flavor(&server, resize.from).await?;
            host.stop(server.id).await?;
            host.revert_resize(&spec).await?;
            host.define(&spec).await?;
            // The revert is decided: from here on a failure concerns the old size.
            self.update_server(|server| {
                if let Some(resize) = server.resize.take() {
                    server.flavor = resize.from;
                }
            })
            .await?;
        }
        host.start(server.id).await?;
        self.until_running(&server).await
    }

    /// Confirms a resize that was neither confirmed nor reverted in time.
    pub(super) async fn auto_confirm(&self, server: &Server) -> Result<(), StepError> {
        let id = crate::model::Id::Uuid(server.id);
        match self.inner.accept(id, Order::Confirm, Requester::default()).await {
            Ok(_) | Err(Error::Refused(_) | Error::NotFound(_)) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// Returns the specification of the server's machine with this flavor. Works with a deleted image: the disk
    /// exists, only the boot settings are needed.
    pub(super) async fn spec_with_flavor(
        &self,
        server: &Server,
        flavor: &Flavor,
    ) -> Result<hypervisor::MachineSpec, StepError> {
        let image = self.inner.images.by_id_or_tombstone(server.image).await?;
        self.spec(server, flavor, &image)
    }

    /// Asks the guest to shut down, and powers it off if it does not do so in time.
    pub(super) async fn shut_down(&self, server: &Server) -> Result<(), StepError> {
        let host = self.host(server)?;
        // If the request fails, the guest may have received it anyway and would shut down at any time, even after the job was
        // cancelled. Therefore power it off as well.
        if host.state(server.id).await?.power == Power::Running
            && host.ask_to_shut_down(server.id).await.is_ok()
        {
            let down = async {
                while host.state(server.id).await?.power == Power::Running {
                    tokio::time::sleep(super::building::POLL_INTERVAL).await;
                }
                Ok::<_, StepError>(())
            };
            if let Ok(down) = tokio::time::timeout(GUEST_SHUTDOWN_TIMEOUT, down).await {
                down?;
            }
        }
        Ok(host.stop(server.id).await?)
    }
}

/// Time that a guest has to shut down before it is powered off.
const GUEST_SHUTDOWN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);
