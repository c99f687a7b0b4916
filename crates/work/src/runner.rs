//! Runs jobs: claims those that are due, renews their leases while steps run, releases those that are not finished.
//!
//! Invariant: a step never outlives its lease. A process that cannot renew a lease, because it is cut off from the database,
//! drops the step well before the database lets another process claim the job.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use database::Database;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::clock::{Clock, Time};
use crate::jobs::{self, Job, Renewal};
use crate::lease::{Uptime, usable_until};

/// Duration of a lease that is not renewed.
const LEASE: Duration = Duration::from_secs(30);
/// Interval at which an idle runner polls for jobs: other processes enqueue jobs too.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// A failed renewal is retried after this fraction of the lease.
const RETRIES_PER_LEASE: u32 = 30;

/// What the runner does with a job after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the handler finished the job in its own transaction, or lost its lease.
    Ended,
    /// Runs the next step at once.
    Continue,
    /// Runs the next step after this time.
    After(Duration),
}

/// A service's implementation of its jobs.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Runs one or more steps of the job. Must be idempotent: after a crash it runs again from the last saved payload. The
    /// future is dropped if the job's lease cannot be renewed.
    async fn step(&self, job: &Job) -> Next;

    /// Called instead of `step` once the deadline has passed: ends the job and reports the failure to its user.
    async fn expired(&self, job: &Job) -> Next;
}

/// Wakes and stops a runner.
#[derive(Clone)]
pub struct RunnerHandle {
    wake: Arc<Notify>,
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
}

impl RunnerHandle {
    /// Makes the runner poll at once, because a job was enqueued.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Stops claiming jobs and waits for the running steps. Unfinished jobs stay in the database.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

/// A service's job runner.
pub struct Runner {
    /// The service's database.
    pub db: Database,
    /// The service's clock.
    pub clock: Clock,
    /// Maximum number of steps that run at the same time.
    pub concurrency: usize,
}

impl Runner {
    /// Starts running jobs.
    #[must_use]
    pub fn start(self, handler: Arc<dyn Handler>) -> RunnerHandle {
        self.start_with_lease(handler, LEASE)
    }

    /// As [`Runner::start`], with another lease duration; for tests of expiring leases.
    #[must_use]
    pub fn start_with_lease(self, handler: Arc<dyn Handler>, lease: Duration) -> RunnerHandle {
        let wake = Arc::new(Notify::new());
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        let handle = RunnerHandle { wake: Arc::clone(&wake), stop, ended };
        tokio::spawn(async move {
            self.run(handler, lease, &wake, stopped).await;
            end.send_replace(true);
        });
        handle
    }

    async fn run(
        self,
        handler: Arc<dyn Handler>,
        lease: Duration,
        wake: &Notify,
        mut stopped: watch::Receiver<bool>,
    ) {
        let owner = crate::owner();
        let mut steps = JoinSet::new();
        loop {
            // Also stop when every handle was dropped: nobody could wake or stop the runner.
            if *stopped.borrow() || stopped.has_changed().is_err() {
                break;
            }
            while steps.try_join_next().is_some() {}
            let (now, sent) = (self.clock.now(), Uptime::now());
            let free = self.concurrency.saturating_sub(steps.len());
            let limit = i64::try_from(free).unwrap_or(i64::MAX);
            match jobs::claim(&self.db, &owner, now, lease, limit).await {
                Ok(claimed) => {
                    for job in claimed {
                        let renewer = LeaseRenewer { db: self.db.clone(), job: job.clone(), lease };
                        steps.spawn(run_step(self.clock.clone(), Arc::clone(&handler), job, renewer, sent));
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot claim jobs; retrying"),
            }
            let wait_until = self.wait_until(steps.len()).await;
            tokio::select! {
                () = wake.notified() => {}
                _ = stopped.changed() => {}
                Some(_) = steps.join_next(), if !steps.is_empty() => {}
                () = self.clock.until(wait_until) => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
        while steps.join_next().await.is_some() {}
    }

    async fn wait_until(&self, running: usize) -> Time {
        let far = self.clock.now().after(Duration::from_secs(3600));
        if running >= self.concurrency {
            return far;
        }
        match jobs::next_due(&self.db).await {
            // Running jobs are leased and do not count; each wakes the loop when its step ends.
            Ok(Some(due)) => due.max(self.clock.now().after(Duration::from_millis(5))),
            _ => far,
        }
    }
}

async fn run_step(clock: Clock, handler: Arc<dyn Handler>, job: Job, renewer: LeaseRenewer, sent: Uptime) {
    let step = async {
        if clock.now() >= job.deadline { handler.expired(&job).await } else { handler.step(&job).await }
    };
    let next = tokio::select! {
        next = step => next,
        // Dropping the step cancels its calls to hosts. A write that still arrives is rejected by its fence.
        () = renewer.renew_until_lost(sent) => return,
    };
    let due = match next {
        Next::Ended => return,
        Next::Continue => clock.now(),
        Next::After(wait) => clock.now().after(wait),
    };
    if let Err(error) = jobs::release(&renewer.db, &job, due).await {
        tracing::warn!(%error, job = job.id, "cannot release a job; it can be claimed again once its lease expires");
    }
}

/// Renews the lease of a job while its step is running.
struct LeaseRenewer {
    db: Database,
    job: Job,
    lease: Duration,
}

impl LeaseRenewer {
    /// Renews the lease that was requested at `sent`. Returns when the step must be dropped: another process holds the job,
    /// the lease could not be renewed and is about to expire, or the job ended one lease duration ago.
    async fn renew_until_lost(&self, sent: Uptime) {
        let mut end = usable_until(sent, self.lease);
        let mut next = sent.after(self.lease / 3);
        loop {
            next.reached().await;
            let sent = Uptime::now();
            let renewed = tokio::select! {
                renewed = jobs::renew(&self.db, &self.job, self.lease) => renewed,
                () = end.reached() => break,
            };
            // The reply may be late, because the machine was suspended.
            if end.remaining().is_zero() {
                break;
            }
            match renewed {
                Ok(Renewal::Renewed) => {
                    end = usable_until(sent, self.lease);
                    next = sent.after(self.lease / 3);
                }
                Ok(Renewal::LeaseLost) => {
                    tracing::warn!(
                        job = self.job.id,
                        "another process has claimed the job; dropping its step"
                    );
                    return;
                }
                // The step may have ended its job and still be cleaning up; give it one more lease duration.
                Ok(Renewal::JobGone) => return tokio::time::sleep(self.lease).await,
                Err(error) => {
                    tracing::warn!(%error, job = self.job.id, "cannot renew a job's lease; retrying");
                    next = Uptime::now().after(self.lease / RETRIES_PER_LEASE);
                }
            }
        }
        tracing::warn!(job = self.job.id, "dropping a step: its lease could not be renewed in time");
    }
}
