//! Images of servers, on demand and in backup windows.

use std::time::Duration;

use hypervisor::Progress;
use images::Status;
use uuid::Uuid;
use work::Time;

use super::{JobContext, StepError};
use crate::model::NewImage;
use crate::model::{Cadence, Id, Server};
use crate::service::orders::{Order, Orderer};
use crate::service::{Error, schedules};
use crate::store;

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(250);
/// The snapshot's share of the progress; storing it is the rest.
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
            let taking = host.take_snapshot(server.id, new.id, &progress);
            self.showing(new.id, Status::Preparing, (0, AFTER_SNAPSHOT), &progress, taking).await?;
            images.advance(new.id, Status::Saving, AFTER_SNAPSHOT).await?;
            let snapshot = host.open_snapshot(new.id).await?;
            let progress = Progress::new();
            let saving = images.save(new.id, snapshot, &progress);
            self.showing(new.id, Status::Saving, (AFTER_SNAPSHOT, 99), &progress, saving).await?;
        }
        Ok(host.drop_snapshot(new.id).await?)
    }

    /// What a failed image left is removed, as far as its host answers.
    pub(super) async fn undo_image(&self, server: &Server, image: Uuid, reason: &str) {
        if let Ok(host) = self.host(server)
            && let Err(error) = host.drop_snapshot(image).await
        {
            tracing::warn!(%error, %image, "a failed image's snapshot is left for the sweep");
        }
        if let Err(error) = self.inner.images.fail(image, reason).await {
            tracing::warn!(%error, %image, "a failed image is left for the sweep");
        }
    }

    /// Shows the image's progress while something runs.
    async fn showing<T, E: Into<StepError>>(
        &self,
        image: Uuid,
        status: Status,
        (from, to): (u8, u8),
        progress: &Progress,
        running: impl Future<Output = Result<T, E>>,
    ) -> Result<T, StepError> {
        tokio::pin!(running);
        let mut shown = from;
        loop {
            tokio::select! {
                done = &mut running => return done.map_err(Into::into),
                () = tokio::time::sleep(SHOW_EVERY) => {
                    let percent = u16::from(progress.percent()) * u16::from(to - from) / 100;
                    let now = from + u8::try_from(percent).unwrap_or(0);
                    if now != shown {
                        shown = now;
                        self.inner.images.advance(image, status, now).await?;
                    }
                }
            }
        }
    }

    /// A backup window is open, or was missed. A busy server is tried again until the window closes; then the image
    /// is skipped, which the log of actions says.
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
            return Err(StepError::Retry("the window is not open yet".into()));
        } else if now >= end {
            missed = Some("the window passed while nothing could be done");
        } else if !self.is_served(server.id, cadence, end).await? {
            let name = cadence.origin().as_str().to_owned();
            let new = NewImage { id: Uuid::new_v4(), name, cadence: Some(cadence), window_end: Some(end.0) };
            let order = Order::Image(new);
            match self.inner.accept(Id::Uuid(server.id), order, Orderer::default()).await {
                Ok(_) => {}
                Err(Error::Refused(refusal)) => return Err(StepError::Retry(refusal.to_string())),
                Err(other) => return Err(other.into()),
            }
        }
        let input = (self.job.clone(), server.id, cadence, end, now, missed);
        let armed = self.inner.db.write(input, |(job, server, cadence, end, now, missed), tx| {
            Box::pin(async move {
                if !job.finish(tx).await? {
                    return Ok(());
                }
                if let Some(missed) = missed {
                    let entry = store::actions::begin(tx, *server, "backup", "", "", *now).await?;
                    store::actions::finish(tx, &entry, Some(missed), *now).await?;
                }
                let schedule = store::schedules::get(tx, *server).await?;
                schedules::arm(tx, *server, schedule, *cadence, *now.max(end), *now).await
            })
        });
        armed.await?;
        self.inner.wake();
        Err(StepError::LeaseLost)
    }

    /// Whether the window had its image: this job died once that was ordered.
    async fn is_served(&self, server: Uuid, cadence: Cadence, end: Time) -> Result<bool, StepError> {
        let served = self.inner.db.read((server, cadence), |(server, cadence), tx| {
            Box::pin(async move { store::schedules::served_until(tx, *server, *cadence).await })
        });
        Ok(served.await? >= end)
    }
}
