//! Runs jobs: claims what is due, renews leases while steps run, releases what is not done.
//!
//! A step never outlives its lease. A process that cannot renew, because it is cut off from the database, drops the step
//! a good while before the database gives the job to another process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use database::Database;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::clock::{Clock, Time};
use crate::jobs::{self, Held, Job};
use crate::lease::{Uptime, usable_until};

/// How long a claim lasts without a renewal.
const LEASE: Duration = Duration::from_secs(30);
/// An idle runner looks at least this often, since other processes write jobs too.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A renewal that failed is repeated this often within what is left of the lease, in parts of it.
const RETRIES: u32 = 30;

/// What becomes of a job after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The handler finished it within its own unit, or it is no longer this holder's.
    Ended,
    /// Run the next step at once.
    Continue,
    /// Run the next step after this long.
    After(Duration),
}

/// What a service does with its jobs.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Runs one or more steps of the job. It may run again from the last saved payload after a crash, and must then have
    /// the same result. It is dropped when the job's lease cannot be kept.
    async fn step(&self, job: &Job) -> Next;

    /// The deadline has passed: ends the job and says so where its user sees it.
    async fn expired(&self, job: &Job) -> Next;
}

/// Wakes a runner and ends it.
#[derive(Clone)]
pub struct RunnerHandle {
    wake: Arc<Notify>,
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
}

impl RunnerHandle {
    /// A job was enqueued: look now.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Lets running steps end, then returns. Jobs not done stay in the database.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

/// A service's job runner.
pub struct Runner {
    /// The service's database.
    pub db: Database,
    /// Its time.
    pub clock: Clock,
    /// Steps at once.
    pub concurrency: usize,
}

impl Runner {
    /// Starts running jobs.
    #[must_use]
    pub fn start(self, handler: Arc<dyn Handler>) -> RunnerHandle {
        self.start_with_lease(handler, LEASE)
    }

    /// As [`Runner::start`], with leases of another duration: for tests of what happens when they run out.
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
            // Nobody is left who could wake or stop it: it ends as well.
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
                        let keeper = Keeper { db: self.db.clone(), job: job.clone(), lease };
                        steps.spawn(run_step(self.clock.clone(), Arc::clone(&handler), job, keeper, sent));
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot claim jobs"),
            }
            let wait_until = self.wait_until(steps.len()).await;
            tokio::select! {
                () = wake.notified() => {}
                _ = stopped.changed() => {}
                Some(_) = steps.join_next(), if !steps.is_empty() => {}
                () = self.clock.until(wait_until) => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
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
            // What is running is leased and not counted; it wakes the loop itself when it ends.
            Ok(Some(due)) => due.max(self.clock.now().after(Duration::from_millis(5))),
            _ => far,
        }
    }
}

async fn run_step(clock: Clock, handler: Arc<dyn Handler>, job: Job, keeper: Keeper, sent: Uptime) {
    let step = async {
        if clock.now() >= job.deadline { handler.expired(&job).await } else { handler.step(&job).await }
    };
    let next = tokio::select! {
        next = step => next,
        // Dropping the step ends what it does on hosts; what it still writes is refused by the fence.
        () = keeper.keep(sent) => return,
    };
    let due = match next {
        Next::Ended => return,
        Next::Continue => clock.now(),
        Next::After(wait) => clock.now().after(wait),
    };
    if let Err(error) = jobs::release(&keeper.db, &job, due).await {
        tracing::warn!(%error, job = job.id, "cannot release a job; its lease will run out");
    }
}

/// Keeps the lease of a job whose step is running.
struct Keeper {
    db: Database,
    job: Job,
    lease: Duration,
}

impl Keeper {
    /// Renews the lease that was asked for at `sent`. Returns when the step must end: when another process has the job,
    /// before the lease runs out because it could not be renewed, or a while after the job is gone.
    async fn keep(&self, sent: Uptime) {
        let mut end = usable_until(sent, self.lease);
        let mut next = sent.after(self.lease / 3);
        loop {
            next.come().await;
            let sent = Uptime::now();
            let renewed = tokio::select! {
                renewed = jobs::renew(&self.db, &self.job, self.lease) => renewed,
                () = end.come() => break,
            };
            // An answer may have come late, after the machine was suspended.
            if end.remaining().is_zero() {
                break;
            }
            match renewed {
                Ok(Held::Still) => {
                    end = usable_until(sent, self.lease);
                    next = sent.after(self.lease / 3);
                }
                Ok(Held::Lost) => {
                    tracing::warn!(job = self.job.id, "another process has taken a job over");
                    return;
                }
                // The step may be cleaning up after a job that it has ended.
                Ok(Held::Gone) => return tokio::time::sleep(self.lease).await,
                Err(error) => {
                    tracing::warn!(%error, job = self.job.id, "cannot renew a job's lease; retrying");
                    next = Uptime::now().after(self.lease / RETRIES);
                }
            }
        }
        tracing::warn!(job = self.job.id, "stopping a step: its lease could not be renewed in time");
    }
}
