//! The end of a job: its server's next state, what was booked, its entry in the log, all in one unit.

use std::time::Duration;

use database::Tx;
use hypervisor::Power;
use work::{NewJob, Next, Time, jobs};

use super::bookings::{look_later, release, retreat};
use super::{JobContext, StepError};
use crate::model::{Fault, Flavor, Resize, Server, Vm};
use crate::model::{JobPayload, WorkItem};
use crate::store;

/// The longest pause between attempts.
const PAUSE_MAX_SECONDS: u64 = 30;
/// How often a busy server is tried in its backup window.
const BACKUP_AGAIN: Duration = Duration::from_secs(60);
/// How often what clears up a host that is given up looks whether it was taken back.
const TAKEN_BACK: Duration = Duration::from_secs(60);
/// How long a host may take to undo what a failed job left, and to say whether the machine runs.
const UNDO_WITHIN: Duration = Duration::from_secs(60);

struct End {
    job: work::Job,
    payload: JobPayload,
    failure: Option<String>,
    power: Option<Power>,
    /// The original of a resize to another host may be there.
    may_go_back: bool,
    now: Time,
    auto_confirm: Time,
}

impl End {
    fn runs(&self) -> bool {
        matches!(self.power, Some(Power::Running | Power::Paused))
    }
}

impl JobContext<'_> {
    /// Ends the job if its work came to an end, well or ill; otherwise says when to go on.
    pub(super) async fn end(&self, outcome: Result<(), StepError>) -> Next {
        let failure = match outcome {
            Ok(()) => None,
            Err(StepError::LeaseLost) => return Next::Ended,
            Err(StepError::Retry(reason)) => return self.later(&reason),
            Err(StepError::Failed(reason)) if self.payload.work == WorkItem::Delete => {
                return self.later(&reason);
            }
            Err(StepError::Failed(reason)) if self.payload.work.waits() => return self.later(&reason),
            Err(StepError::Failed(reason)) => Some(reason),
        };
        if let Some(reason) = &failure {
            tracing::warn!(server = %self.payload.server, job = self.job.kind, reason, "a job failed");
            if tokio::time::timeout(UNDO_WITHIN, self.undo(reason)).await.is_err() {
                tracing::warn!(server = %self.payload.server, "what a failed job left could not be undone in time");
            }
        }
        let now = self.inner.clock.now();
        let server = self.server().await.ok();
        let power = async { self.power(server.as_ref()?).await };
        let end = End {
            power: tokio::time::timeout(UNDO_WITHIN, power).await.ok().flatten(),
            may_go_back: server.as_ref().is_some_and(|server| self.may_go_back(server)),
            job: self.job.clone(),
            payload: self.payload.clone(),
            failure,
            now,
            auto_confirm: now.after(self.inner.settings.deadlines.auto_confirm),
        };
        match self.inner.db.write(end, |end, tx| Box::pin(settle(end, tx))).await {
            Ok(()) => {
                self.inner.wake();
                Next::Ended
            }
            Err(error) => self.later(&error.to_string()),
        }
    }

    fn later(&self, reason: &str) -> Next {
        if matches!(self.payload.work, WorkItem::Backup { .. }) {
            return Next::After(BACKUP_AGAIN);
        }
        if matches!(&self.payload.work, WorkItem::Vacate { host, .. } if self.inner.is_given_up(host)) {
            return Next::After(TAKEN_BACK);
        }
        let attempts = u32::try_from(self.job.attempts.clamp(1, 6)).unwrap_or(1);
        let pause = (1u64 << (attempts - 1)).min(PAUSE_MAX_SECONDS);
        tracing::info!(server = %self.payload.server, job = self.job.kind, reason, pause, "a job goes on later");
        Next::After(Duration::from_secs(pause))
    }

    /// What a failed job must not leave.
    async fn undo(&self, reason: &str) {
        let Ok(server) = self.server().await else { return };
        match &self.payload.work {
            WorkItem::Image(image) => self.undo_image(&server, image.id, reason).await,
            WorkItem::Resize { flavor, to } => {
                let undone = match to {
                    None => self.undo_resize(&server).await,
                    Some(to) => self.undo_crossing(server.clone(), to, *flavor).await,
                };
                if let Err(error) = undone {
                    tracing::warn!(?error, server = %server.id, "a failed resize could not be undone");
                }
            }
            WorkItem::Share { address, .. } => {
                if let Err(error) = self.unshare(server, *address).await {
                    tracing::warn!(?error, server = %self.payload.server, "a failed share could not be undone");
                }
            }
            _ => {}
        }
    }

    /// Whether the machine runs, if its host can say.
    async fn power(&self, server: &Server) -> Option<Power> {
        let state = self.host(server).ok()?.state(server.id).await.ok()?;
        Some(state.power)
    }
}

async fn settle(end: &End, tx: &mut Tx) -> Result<(), database::Error> {
    let End { job, payload, failure, now, .. } = end;
    if !job.finish(tx).await? || payload.work.waits() {
        return Ok(());
    }
    if let Some(action) = &payload.action {
        store::actions::finish(tx, action, failure.as_deref(), *now).await?;
    }
    let Some(mut server) = store::servers::by_id(tx, payload.server).await? else { return Ok(()) };
    server.state = match failure {
        None => server.state.succeeded(),
        Some(_) => server.state.failed(end.runs()),
    };
    if failure.is_some() && payload.work == WorkItem::Resume && end.power == Some(Power::Absent) {
        // Its operator lets it go; its owner may rebuild it.
        server.state.vm = Vm::Error;
    }
    server.power = end.power.unwrap_or(server.power);
    server.updated = *now;
    server.fault = match failure {
        Some(message) => Some(Fault { message: message.clone(), at: now.0 }),
        None if server.state.vm == Vm::Active => None,
        None => server.fault.take(),
    };
    book(end, tx, &mut server).await?;
    if server.resize.is_some() && server.other.is_some() && server.state.vm == Vm::Error {
        // Its original is kept: whatever failed, its owner is to order again, and a rebuild would cost the original.
        server.state.vm = Vm::Resized;
    }
    if server.resize.is_some() && matches!(server.state.vm, Vm::Active | Vm::Resized) {
        // Undecided, also where what was decided failed: it is confirmed by itself in the end.
        server.state.vm = Vm::Resized;
        await_decision(end, tx, &server).await?;
    } else if server.state.vm == Vm::Resized {
        server.state.vm = Vm::Active;
    }
    store::servers::update(tx, &server).await?;
    if payload.work == WorkItem::Delete {
        store::servers::bury(tx, &server, *now).await?;
    }
    Ok(())
}

/// What the end of a job changes beside the state.
async fn book(end: &End, tx: &mut Tx, server: &mut Server) -> Result<(), database::Error> {
    let failed = end.failure.is_some();
    match &end.payload.work {
        WorkItem::Build | WorkItem::Rebuild if !failed => {
            server.progress = 100;
            if server.resize.take().is_some() || server.returns() {
                release(tx, server, end.now).await?;
            }
            store::servers::forget_secret(tx, server.id, "files").await?;
        }
        WorkItem::Resize { to: None, .. } if failed => release(tx, server, end.now).await?,
        WorkItem::Resize { to: Some(to), .. } if failed && server.host != *to => {
            retreat(tx, server, to, end.now).await?;
        }
        WorkItem::Resize { flavor, .. } => {
            if let Some(to) = Flavor::by_number(*flavor) {
                server.resize = Some(Resize { from: server.flavor });
                server.flavor = to;
                server.progress = 100;
            }
            if failed {
                // Nobody knows whether it runs, since its new host does not answer. That will tell.
                look_later(tx, server.id, &server.host, end.now).await?;
            }
            server.state.vm = Vm::Resized;
        }
        WorkItem::Confirm if !failed => {
            server.resize = None;
            release(tx, server, end.now).await?;
        }
        WorkItem::Revert if failed && server.resize.is_some() && end.may_go_back && !end.runs() => {
            // Its new host does not answer, or has stopped it. As soon as it answers it is asked: if the machine does
            // not run there, the revert goes on.
            look_later(tx, server.id, &server.host, end.now).await?;
        }
        // Also where the start after it failed.
        WorkItem::Revert if server.resize.is_none() && !server.returns() => {
            release(tx, server, end.now).await?;
        }
        _ => {}
    }
    // It is back once its original runs, by whatever job.
    if server.returns() && end.runs() { release(tx, server, end.now).await } else { Ok(()) }
}

/// Writes the job that confirms a resize by itself.
async fn await_decision(end: &End, tx: &mut Tx, server: &Server) -> Result<(), database::Error> {
    let payload = JobPayload { server: server.id, work: WorkItem::AutoConfirm, action: None }.to_json();
    let subject = WorkItem::confirm_subject(server.id);
    jobs::cancel_all(tx, &subject).await?;
    let (due, deadline) = (end.auto_confirm, Time(i64::MAX));
    let job = NewJob { kind: "autoConfirm", subject: &subject, payload, due, deadline };
    jobs::enqueue(tx, end.now, &job).await.map(|_| ())
}
