//! Builds a machine: networks, image, disk, config drive, definition, start.

use std::time::Duration;

use hypervisor::{Hypervisor, MachineSpec, Power, Progress};
use images::Image;
use networks::machine_nics;

use super::{JobContext, StepError};
use crate::model::{File, Flavor, Server};
use crate::service::Transfer;

/// Progress in percent at the end of each step.
const AFTER_NETWORKS: u8 = 5;
const AFTER_IMAGE: u8 = 70;
const AFTER_DISK: u8 = 80;
const AFTER_DRIVE: u8 = 85;
const AFTER_DEFINITION: u8 = 90;
const AFTER_START: u8 = 95;
/// Interval at which a transfer's progress is written to the database.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Interval at which the power state of a machine is polled.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Number of polls after which a machine that does not run counts as failed.
const POLLS_MAX: u32 = 300;

impl JobContext<'_> {
    pub(super) async fn build(&self, server: Server) -> Result<(), StepError> {
        let host = self.host(&server)?;
        self.networks(host.as_ref()).await?;
        self.set_progress(AFTER_NETWORKS).await?;
        let image = self.inner.images.by_id(server.image).await?;
        self.ensure_image(host.as_ref(), &image, AFTER_IMAGE).await?;
        let spec = self.spec(&server, server.flavor, &image)?;
        host.ensure_disk(&spec).await?;
        self.set_progress(AFTER_DISK).await?;
        self.launch(&server, &spec).await
    }

    pub(super) async fn rebuild(&self, server: Server) -> Result<(), StepError> {
        let host = self.host(&server)?;
        self.networks(host.as_ref()).await?;
        self.set_progress(AFTER_NETWORKS).await?;
        // The image may have been deleted; its bytes are still on the host.
        let image = self.inner.images.by_id_or_tombstone(server.image).await?;
        self.ensure_image(host.as_ref(), &image, AFTER_IMAGE).await?;
        if server.resize.is_some() && server.other.is_none() {
            // The resize failed during its revert. The new disk has the current size, so keep that.
            match host.confirm_resize(server.id).await {
                // Its host was evacuated, so there is no machine on this one yet.
                Err(error) if error.is_absent() => {}
                confirmed => confirmed?,
            }
        }
        match host.stop(server.id).await {
            // A build that failed early has no machine.
            Err(error) if error.is_absent() => {}
            stopped => stopped?,
        }
        let spec = self.spec(&server, server.flavor, &image)?;
        host.replace_disk(&spec).await?;
        self.set_progress(AFTER_DISK).await?;
        self.launch(&server, &spec).await
    }

    /// Writes the config drive, defines the machine and starts it. The disk must exist.
    async fn launch(&self, server: &Server, spec: &MachineSpec) -> Result<(), StepError> {
        let host = self.host(server)?;
        self.write_drive(server).await?;
        self.set_progress(AFTER_DRIVE).await?;
        host.define(spec).await?;
        self.set_progress(AFTER_DEFINITION).await?;
        host.start(server.id).await?;
        self.set_progress(AFTER_START).await?;
        self.until_running(server).await
    }

    pub(super) async fn networks(&self, host: &dyn Hypervisor) -> Result<(), StepError> {
        let transfer = Transfer::Networks { host: host.host().to_owned() };
        let _guard = self.inner.transfer_locks.get(transfer).acquire().await;
        for network in self.inner.networks.specs() {
            host.ensure_network(&network).await?;
        }
        Ok(())
    }

    /// Copies an image to the host unless it is there, and advances the progress up to `end` percent. Concurrent builds that
    /// need the same image on the same host wait for one transfer.
    pub(super) async fn ensure_image(
        &self,
        host: &dyn Hypervisor,
        image: &Image,
        end: u8,
    ) -> Result<(), StepError> {
        let content = image.content.as_ref().ok_or(StepError::Failed("the image has no content".into()))?;
        let spec = content.spec();
        if host.holds_image(&spec.digest).await? {
            return self.set_progress(end).await;
        }
        let transfer = Transfer::Image { host: host.host().to_owned(), digest: spec.digest.clone() };
        let _guard = self.inner.transfer_locks.get(transfer).acquire().await;
        let source = self.inner.images.source(image).await?;
        let progress = Progress::new();
        let upload = host.upload_image(&spec, source, &progress);
        self.with_transfer_progress((AFTER_NETWORKS, end), &progress, upload).await?;
        self.set_progress(end).await
    }

    /// Runs a transfer and writes the server's progress meanwhile, scaled to the range `from..to` percent.
    pub(super) async fn with_transfer_progress<T>(
        &self,
        (from, to): (u8, u8),
        progress: &Progress,
        running: impl Future<Output = hypervisor::Result<T>>,
    ) -> Result<T, StepError> {
        tokio::pin!(running);
        let mut written = 0;
        loop {
            tokio::select! {
                done = &mut running => return done.map_err(Into::into),
                () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                    let percent = u16::from(progress.percent()) * u16::from(to - from) / 100;
                    if percent != written {
                        written = percent;
                        self.set_progress(from + u8::try_from(percent).unwrap_or(to - from)).await?;
                    }
                }
            }
        }
    }

    /// Returns the specification of a server's machine with this flavor and image.
    pub(super) fn spec(
        &self,
        server: &Server,
        flavor: &Flavor,
        image: &Image,
    ) -> Result<MachineSpec, StepError> {
        let content = image.content.as_ref().ok_or(StepError::Failed("the image has no content".into()))?;
        Ok(MachineSpec {
            id: server.id,
            name: server.name.clone(),
            memory_mib: u64::from(flavor.memory_mib),
            vcpus: flavor.vcpus,
            cpu_shares: flavor.cpu_shares,
            disk_bytes: flavor.disk_bytes(),
            image: content.digest.clone(),
            boot: content.boot(),
            nics: machine_nics(&server.interfaces),
        })
    }

    /// Writes the config drive. It contains the personality files only until the build is done.
    pub(super) async fn write_drive(&self, server: &Server) -> Result<(), StepError> {
        self.write_drive_on(self.host(server)?.as_ref(), server).await
    }

    pub(super) async fn write_drive_on(
        &self,
        host: &dyn Hypervisor,
        server: &Server,
    ) -> Result<(), StepError> {
        let password = self.password_of(server.id).await?;
        let files = match self.secret(server.id, "files").await? {
            Some(plain) => serde_json::from_slice::<Vec<(String, Vec<u8>)>>(&plain)
                .map_err(|error| StepError::Failed(error.to_string()))?,
            None => Vec::new(),
        };
        let files: Vec<File> = files.into_iter().map(|(path, contents)| File { path, contents }).collect();
        let networks = self.inner.networks.config();
        let drive = super::super::config_drive::build(server, password.as_deref(), &files, networks);
        Ok(host.ensure_config_drive(server.id, &drive).await?)
    }

    pub(super) async fn until_running(&self, server: &Server) -> Result<(), StepError> {
        let host = self.host(server)?;
        for _ in 0..POLLS_MAX {
            let state = host.state(server.id).await?;
            match state.power {
                Power::Running => return Ok(()),
                Power::Crashed => {
                    return Err(StepError::Failed(format!("the machine crashed ({})", state.reason)));
                }
                Power::Absent => return Err(StepError::Failed("the machine no longer exists".into())),
                Power::ShutOff | Power::Paused => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
        Err(StepError::Failed("the machine does not stay running".into()))
    }
}
