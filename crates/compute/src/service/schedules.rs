//! Backup schedules. A job per schedule and cadence waits for the next window.

use identity::Right;
use uuid::Uuid;
use work::{NewJob, Time, jobs};

use super::{Compute, Context, Error};
use crate::model::{Cadence, Id, JobPayload, Refusal, Schedule, Task, Vm, WorkItem};
use crate::store;

/// A backup job has no deadline: it ends with its window.
const NEVER: Time = Time(i64::MAX);

impl Compute {
    /// Returns a server's backup schedule and the time of its last change: the server's creation if it was never set.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn schedule(&self, context: &Context, id: Id) -> Result<(Schedule, Time), Error> {
        let server = self.get(context, id).await?;
        let found = self.0.db.read(server.id, |server, tx| {
            Box::pin(async move {
                let changed = store::schedules::changed(tx, *server).await?;
                Ok::<_, Error>((store::schedules::get(tx, *server).await?, changed))
            })
        });
        let (schedule, changed) = found.await?;
        Ok((schedule, changed.unwrap_or(server.created)))
    }

    /// Sets a server's backup schedule.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`] while the server is being built, resized or being deleted.
    pub async fn set_schedule(&self, context: &Context, id: Id, schedule: Schedule) -> Result<(), Error> {
        context.need(Right::Create)?;
        self.write_schedule(context, id, schedule).await
    }

    /// Deletes a server's backup schedule. Its images are kept.
    ///
    /// # Errors
    /// As [`Compute::set_schedule`].
    pub async fn delete_schedule(&self, context: &Context, id: Id) -> Result<(), Error> {
        context.need(Right::Administer)?;
        self.write_schedule(context, id, Schedule::default()).await
    }

    async fn write_schedule(&self, context: &Context, id: Id, schedule: Schedule) -> Result<(), Error> {
        match self.try_schedule(context, id, schedule).await {
            Err(Error::Refused(Refusal::BackupOrResizeInProgress)) => {
                let server = self.get(context, id).await?;
                if !self.0.wait_for_confirmation(&server).await? {
                    return Err(Refusal::BackupOrResizeInProgress.into());
                }
                self.try_schedule(context, id, schedule).await
            }
            tried => tried,
        }
    }

    async fn try_schedule(&self, context: &Context, id: Id, schedule: Schedule) -> Result<(), Error> {
        let input = (context.tenant().to_owned(), id, schedule, self.0.clock.now());
        let written = self.0.db.write(input, |(tenant, id, schedule, now), tx| {
            Box::pin(async move {
                let found = store::servers::of_tenant(tx, tenant, *id).await?;
                let server = found.ok_or(Error::NotFound("server"))?;
                match (server.state.vm, server.state.task) {
                    (Vm::Deleted, _) | (_, Some(Task::Deleting)) => return Err(Error::NotFound("server")),
                    (Vm::Building, _) | (_, Some(Task::Rebuilding)) => {
                        return Err(Refusal::BuildInProgress.into());
                    }
                    (Vm::Resized, _) | (_, Some(Task::ResizeQueued | Task::ResizePrep)) => {
                        return Err(Refusal::BackupOrResizeInProgress.into());
                    }
                    _ => {}
                }
                store::schedules::set(tx, server.id, *schedule, *now).await?;
                for cadence in Cadence::ALL {
                    jobs::cancel_all(tx, &WorkItem::backup_subject(server.id, cadence)).await?;
                    // A window whose image was requested is over, even if the schedule is set again.
                    let served = store::schedules::served_until(tx, server.id, cadence).await?;
                    enqueue_backup(tx, server.id, *schedule, cadence, served.max(*now), *now).await?;
                }
                Ok(())
            })
        });
        written.await?;
        self.0.wake();
        Ok(())
    }
}

/// Enqueues the job for the first window that ends after `from`.
pub(super) async fn enqueue_backup(
    tx: &mut database::Tx,
    server: Uuid,
    schedule: Schedule,
    cadence: Cadence,
    from: Time,
    now: Time,
) -> Result<(), database::Error> {
    let Some(window) = schedule.window(cadence, from) else { return Ok(()) };
    let work = WorkItem::Backup { cadence, start: window.start.0, end: window.end.0 };
    let job = NewJob {
        kind: "backup",
        subject: &WorkItem::backup_subject(server, cadence),
        payload: JobPayload { server, work, action: None }.to_json(),
        due: window.start,
        deadline: NEVER,
    };
    jobs::enqueue(tx, now, &job).await.map(|_| ())
}
