//! Creates images of servers, on request and in backup windows.

use std::time::Duration;

use hypervisor::Progress;
use images::Status;
use uuid::Uuid;
use work::Time;

use super::{JobContext, StepError};
use crate::model::{Cadence, Id, NewImage, Server};
use crate::service::orders::{Order, Requester};
use crate::service::{Error, schedules};
use crate::store;

/// Interval at which progress is written to the database.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Progress in percent once the snapshot is taken; storing it is the rest.
const AFTER_SNAPSHOT: u8 = 40;

impl JobContext<'_> {
    pub(super) async fn image(&self, server: &Server, new: &NewImage) -> Result<(), StepError> {
        let (images, host) = (&self.inner.images, self.host(server)?);
        let begun = images::NewImage {
            id: new.id,
            owner: server.tenant.clone(),
            name: new.name.clone(),
            server: (server.id, server.number),
            origin: new.origin(),
        };
        if images.begin(begun).await?.status != Status::Active {
            images.advance(new.id, Status::Preparing, 0).await?;
            let progress = Progress::new();
            let snapshotting = host.take_snapshot(server.id, new.id, &progress);
            self.with_progress(new.id, Status::Preparing, (0, AFTER_SNAPSHOT), &progress, snapshotting)
                .await?;
            images.advance(new.id, Status::Saving, AFTER_SNAPSHOT).await?;
            let snapshot = host.open_snapshot(new.id).await?;
            let progress = Progress::new();
            let saving = images.save(new.id, snapshot, &progress);
            self.with_progress(new.id, Status::Saving, (AFTER_SNAPSHOT, 99), &progress, saving).await?;
        }
        Ok(host.drop_snapshot(new.id).await?)
    }

    /// Removes the snapshot of a failed image if its host is reachable, and sets the image to FAILED.
    pub(super) async fn undo_image(&self, server: &Server, image: Uuid, reason: &str) {
        if let Ok(host) = self.host(server)
            && let Err(error) = host.drop_snapshot(image).await
        {
            tracing::warn!(%error, %image, "cannot delete the snapshot of a failed image; the next check of the host retries");
        }
        if let Err(error) = self.inner.images.fail(image, reason).await {
            tracing::warn!(%error, %image, "cannot mark an image as failed; the next sweep retries");
        }
    }

    /// Runs `running` and writes the image's progress meanwhile, scaled to the range `from..to` percent.
    async fn with_progress<T, E: Into<StepError>>(
        &self,
        image: Uuid,
        status: Status,
        (from, to): (u8, u8),
        progress: &Progress,
        running: impl Future<Output = Result<T, E>>,
    ) -> Result<T, StepError> {
        tokio::pin!(running);
        let mut written = from;
        loop {
            tokio::select! {
                done = &mut running => return done.map_err(Into::into),
                () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                    let percent = u16::from(progress.percent()) * u16::from(to - from) / 100;
                    let now = from + u8::try_from(percent).unwrap_or(0);
                    if now != written {
                        written = now;
                        self.inner.images.advance(image, status, now).await?;
                    }
                }
            }
        }
    }

    /// Requests the image of an open backup window and enqueues the job of the next window. A busy server is retried until the
    /// window closes. A missed window is recorded in the action log.
    pub(super) async fn backup(
        &self,
        server: &Server,
        cadence: Cadence,
        start: Time,
        end: Time,
    ) -> Result<(), StepError> {
        let now = self.inner.clock.now();
        let mut missed = None;
        if now < start {
            return Err(StepError::Retry("the backup window is not open yet".into()));
        } else if now >= end {
            missed = Some("the backup window ended before an image could be created");
        } else if !self.window_has_image(server.id, cadence, end).await? {
            let name = cadence.origin().as_str().to_owned();
            let new = NewImage { id: Uuid::new_v4(), name, cadence: Some(cadence), window_end: Some(end.0) };
            let order = Order::Image(new);
            match self.inner.accept(Id::Uuid(server.id), order, Requester::default()).await {
                Ok(_) => {}
                Err(Error::Refused(refusal)) => return Err(StepError::Retry(refusal.to_string())),
                Err(other) => return Err(other.into()),
            }
        }
        let input = (self.job.clone(), server.id, cadence, end, now, missed);
        let enqueued = self.inner.db.write(input, |(job, server, cadence, end, now, missed), tx| {
            Box::pin(async move {
                if !job.finish(tx).await? {
                    return Ok(());
                }
                if let Some(missed) = missed {
                    let entry = store::actions::begin(tx, *server, "backup", "", "", *now).await?;
                    store::actions::finish(tx, &entry, Some(missed), *now).await?;
                }
                let schedule = store::schedules::get(tx, *server).await?;
                schedules::enqueue_backup(tx, *server, schedule, *cadence, *now.max(end), *now).await
            })
        });
        enqueued.await?;
        self.inner.wake();
        Err(StepError::LeaseLost)
    }

    /// Returns whether the window's image was requested already: this job may have crashed after that.
    async fn window_has_image(&self, server: Uuid, cadence: Cadence, end: Time) -> Result<bool, StepError> {
        let served = self.inner.db.read((server, cadence), |(server, cadence), tx| {
            Box::pin(async move { store::schedules::served_until(tx, *server, *cadence).await })
        });
        Ok(served.await? >= end)
    }
}
