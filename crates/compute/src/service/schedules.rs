//! Backup schedules: kept here, run by jobs that wait for their windows.

use identity::Right;
use uuid::Uuid;
use work::{NewJob, Time, jobs};

use super::{Compute, Context, Error};
use crate::model::{Cadence, Id, Refusal, Schedule, Task, Vm};
use crate::model::{JobPayload, WorkItem};
use crate::store;

/// A job that waits for a window ends by itself, never by its deadline.
const NEVER: Time = Time(i64::MAX);

impl Compute {
    /// A server's backup schedule, and when it was changed last: as old as the server if it never was.
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

    /// Makes or changes a server's backup schedule.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`] while the server is built, resized or being deleted.
    pub async fn set_schedule(&self, context: &Context, id: Id, schedule: Schedule) -> Result<(), Error> {
        context.need(Right::Create)?;
        self.write_schedule(context, id, schedule).await
    }

    /// Ends a server's backup schedule; its images stay.
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
                if !self.0.is_confirmed(&server).await? {
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
                    // A window that had its image is over, however often the schedule is sent.
                    let served = store::schedules::served_until(tx, server.id, cadence).await?;
                    arm(tx, server.id, *schedule, cadence, served.max(*now), *now).await?;
                }
                Ok(())
            })
        });
        written.await?;
        self.0.wake();
        Ok(())
    }
}

/// Writes the job that waits for the first window which ends after `from`.
pub(super) async fn arm(
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
