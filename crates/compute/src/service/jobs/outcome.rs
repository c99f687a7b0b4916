//! Commits a job's outcome: the server's next state, its reservations and its action-log entry, in one transaction.

use std::time::Duration;

use database::Tx;
use hypervisor::Power;
use work::{NewJob, Next, Time, jobs};

use super::reservations::{enqueue_check, release_reservations, rollback};
use super::{JobContext, StepError};
use crate::model::{Fault, Flavor, JobPayload, Resize, Server, Vm, WorkItem};
use crate::store;

/// Longest delay between attempts.
const RETRY_DELAY_MAX_SECONDS: u64 = 30;
/// Delay before the backup of a busy server is retried.
const BACKUP_RETRY_DELAY: Duration = Duration::from_secs(60);
/// Interval at which the cleanup of an evacuated host checks whether the host was reinstated.
const REINSTATE_POLL_INTERVAL: Duration = Duration::from_secs(60);
/// Time limit for undoing a failed job on its host, and for reading the machine's power state.
const UNDO_TIMEOUT: Duration = Duration::from_secs(60);

struct Outcome {
    job: work::Job,
    payload: JobPayload,
    failure: Option<String>,
    power: Option<Power>,
    /// Whether a resize to another host can be reverted.
    can_revert: bool,
    now: Time,
    auto_confirm: Time,
}

impl Outcome {
    fn runs(&self) -> bool {
        matches!(self.power, Some(Power::Running | Power::Paused))
    }
}

impl JobContext<'_> {
    /// Commits the job's outcome if it succeeded or failed for good; otherwise returns when to retry.
    pub(super) async fn finish(&self, outcome: Result<(), StepError>) -> Next {
        let failure = match outcome {
            Ok(()) => None,
            Err(StepError::LeaseLost) => return Next::Ended,
            Err(StepError::Retry(reason)) => return self.retry_later(&reason),
            Err(StepError::Failed(reason)) if self.payload.work == WorkItem::Delete => {
                return self.retry_later(&reason);
            }
            Err(StepError::Failed(reason)) if self.payload.work.waits() => return self.retry_later(&reason),
            Err(StepError::Failed(reason)) => Some(reason),
        };
        if let Some(reason) = &failure {
            tracing::warn!(server = %self.payload.server, job = self.job.kind, reason, "a job failed; undoing its changes");
            if tokio::time::timeout(UNDO_TIMEOUT, self.undo(reason)).await.is_err() {
                tracing::warn!(server = %self.payload.server, "undoing a failed job timed out");
            }
        }
        let now = self.inner.clock.now();
        let server = self.server().await.ok();
        let power = async { self.power(server.as_ref()?).await };
        let outcome = Outcome {
            power: tokio::time::timeout(UNDO_TIMEOUT, power).await.ok().flatten(),
            can_revert: server.as_ref().is_some_and(|server| self.can_revert(server)),
            job: self.job.clone(),
            payload: self.payload.clone(),
            failure,
            now,
            auto_confirm: now.after(self.inner.settings.deadlines.auto_confirm),
        };
        match self.inner.db.write(outcome, |outcome, tx| Box::pin(commit_outcome(outcome, tx))).await {
            Ok(()) => {
                self.inner.wake();
                Next::Ended
            }
            Err(error) => self.retry_later(&error.to_string()),
        }
    }

    fn retry_later(&self, reason: &str) -> Next {
        if matches!(self.payload.work, WorkItem::Backup { .. }) {
            return Next::After(BACKUP_RETRY_DELAY);
        }
        if matches!(&self.payload.work, WorkItem::Cleanup { host, .. } if self.inner.is_evacuated(host)) {
            return Next::After(REINSTATE_POLL_INTERVAL);
        }
        let attempts = u32::try_from(self.job.attempts.clamp(1, 6)).unwrap_or(1);
        let seconds = (1u64 << (attempts - 1)).min(RETRY_DELAY_MAX_SECONDS);
        tracing::info!(server = %self.payload.server, job = self.job.kind, reason, "a job cannot continue now; retrying in {seconds} s");
        Next::After(Duration::from_secs(seconds))
    }

    /// Undoes what a failed job has changed on hosts.
    async fn undo(&self, reason: &str) {
        let Ok(server) = self.server().await else { return };
        match &self.payload.work {
            WorkItem::Image(image) => self.undo_image(&server, image.id, reason).await,
            WorkItem::Resize { flavor, to } => {
                let undone = match to {
                    None => self.undo_resize(&server).await,
                    Some(to) => self.undo_migration(server.clone(), to, *flavor).await,
                };
                if let Err(error) = undone {
                    tracing::warn!(?error, server = %server.id, "cannot undo a failed resize");
                }
            }
            WorkItem::Share { address, .. } => {
                if let Err(error) = self.unshare(server, *address).await {
                    tracing::warn!(?error, server = %self.payload.server, "cannot undo a failed sharing of an address");
                }
            }
            _ => {}
        }
    }

    /// Returns the machine's power state; `None` if its host is unreachable.
    async fn power(&self, server: &Server) -> Option<Power> {
        let state = self.host(server).ok()?.state(server.id).await.ok()?;
        Some(state.power)
    }
}

async fn commit_outcome(outcome: &Outcome, tx: &mut Tx) -> Result<(), database::Error> {
    let Outcome { job, payload, failure, now, .. } = outcome;
    if !job.finish(tx).await? || payload.work.waits() {
        return Ok(());
    }
    if let Some(action) = &payload.action {
        store::actions::finish(tx, action, failure.as_deref(), *now).await?;
    }
    let Some(mut server) = store::servers::by_id(tx, payload.server).await? else { return Ok(()) };
    server.state = match failure {
        None => server.state.succeeded(),
        Some(_) => server.state.failed(outcome.runs()),
    };
    if failure.is_some() && payload.work == WorkItem::Resume && outcome.power == Some(Power::Absent) {
        // There is nothing to resume. In ERROR the owner can rebuild it.
        server.state.vm = Vm::Error;
    }
    server.power = outcome.power.unwrap_or(server.power);
    server.updated = *now;
    server.fault = match failure {
        Some(message) => Some(Fault { message: message.clone(), at: now.0 }),
        None if server.state.vm == Vm::Active => None,
        None => server.fault.take(),
    };
    update_reservations(outcome, tx, &mut server).await?;
    if server.resize.is_some() && server.other.is_some() && server.state.vm == Vm::Error {
        // The original is kept, so the owner can retry the confirmation or the revert. In ERROR only a rebuild would
        // be left, which loses the original.
        server.state.vm = Vm::Resized;
    }
    if server.resize.is_some() && matches!(server.state.vm, Vm::Active | Vm::Resized) {
        // The resize is undecided, or its confirmation or revert failed: it will be confirmed automatically.
        server.state.vm = Vm::Resized;
        enqueue_auto_confirm(outcome, tx, &server).await?;
    } else if server.state.vm == Vm::Resized {
        server.state.vm = Vm::Active;
    }
    store::servers::update(tx, &server).await?;
    if payload.work == WorkItem::Delete {
        store::servers::archive(tx, &server, *now).await?;
    }
    Ok(())
}

/// Updates the reservations, the resize and the secrets of the server after its job.
async fn update_reservations(
    outcome: &Outcome,
    tx: &mut Tx,
    server: &mut Server,
) -> Result<(), database::Error> {
    let failed = outcome.failure.is_some();
    match &outcome.payload.work {
        WorkItem::Build | WorkItem::Rebuild if !failed => {
            server.progress = 100;
            if server.resize.take().is_some() || server.is_rolling_back() {
                release_reservations(tx, server, outcome.now).await?;
            }
            store::servers::delete_secret(tx, server.id, "files").await?;
        }
        WorkItem::Resize { to: None, .. } if failed => release_reservations(tx, server, outcome.now).await?,
        WorkItem::Resize { to: Some(to), .. } if failed && server.host != *to => {
            rollback(tx, server, to, outcome.now).await?;
        }
        WorkItem::Resize { flavor, .. } => {
            if let Some(to) = Flavor::by_number(*flavor) {
                server.resize = Some(Resize { from: server.flavor });
                server.flavor = to;
                server.progress = 100;
            }
            if failed {
                // The new host is unreachable, so it is unknown whether the machine runs there. Check once it is reachable.
                enqueue_check(tx, server.id, &server.host, outcome.now).await?;
            }
            server.state.vm = Vm::Resized;
        }
        WorkItem::Confirm if !failed => {
            server.resize = None;
            release_reservations(tx, server, outcome.now).await?;
        }
        WorkItem::Revert if failed && server.resize.is_some() && outcome.can_revert && !outcome.runs() => {
            // The new host is unreachable, or has stopped the machine. Once it is reachable, check whether the
            // machine runs there; if not, the revert is retried.
            enqueue_check(tx, server.id, &server.host, outcome.now).await?;
        }
        // The revert itself is done, even if starting the machine failed.
        WorkItem::Revert if server.resize.is_none() && !server.is_rolling_back() => {
            release_reservations(tx, server, outcome.now).await?;
        }
        _ => {}
    }
    // A rollback is complete once the original machine runs, whichever job started it.
    if server.is_rolling_back() && outcome.runs() {
        release_reservations(tx, server, outcome.now).await
    } else {
        Ok(())
    }
}

/// Enqueues the job that confirms a resize automatically.
async fn enqueue_auto_confirm(
    outcome: &Outcome,
    tx: &mut Tx,
    server: &Server,
) -> Result<(), database::Error> {
    let payload = JobPayload { server: server.id, work: WorkItem::AutoConfirm, action: None }.to_json();
    let subject = WorkItem::confirm_subject(server.id);
    jobs::cancel_all(tx, &subject).await?;
    let (due, deadline) = (outcome.auto_confirm, Time(i64::MAX));
    let job = NewJob { kind: "autoConfirm", subject: &subject, payload, due, deadline };
    jobs::enqueue(tx, outcome.now, &job).await.map(|_| ())
}
