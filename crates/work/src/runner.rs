//! Carries jobs forward: claims what is due, keeps its leases, gives back what is not done.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use database::Database;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::clock::{Clock, Time};
use crate::jobs::{self, Held, Job};

/// How long a claim holds without a renewal.
const LEASE: Duration = Duration::from_secs(30);
/// How often claims are renewed.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// An idle runner looks at least this often, since other processes write jobs too.
const LOOK_EVERY: Duration = Duration::from_secs(5);

const _: () = assert!(RENEW_EVERY.as_secs() * 2 < LEASE.as_secs(), "a claim must survive one missed renewal");

/// What becomes of a job after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The handler finished it within its own unit, or it is no longer this holder's.
    Ended,
    /// Go on at once.
    Continue,
    /// Look again after this long.
    After(Duration),
}

/// What a service does with its jobs.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Takes the job one or more steps further. May run again from the last saved payload after a crash, and
    /// must then come to the same end.
    async fn step(&self, job: &Job) -> Next;

    /// The deadline has passed: end the job and say so where its user sees it.
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
    /// A job was written: look now.
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
    /// Starts carrying jobs forward.
    #[must_use]
    pub fn start(self, handler: Arc<dyn Handler>) -> RunnerHandle {
        let wake = Arc::new(Notify::new());
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        let handle = RunnerHandle { wake: Arc::clone(&wake), stop, ended };
        tokio::spawn(async move {
            self.run(handler, &wake, stopped).await;
            end.send_replace(true);
        });
        handle
    }

    async fn run(self, handler: Arc<dyn Handler>, wake: &Notify, mut stopped: watch::Receiver<bool>) {
        let owner = crate::owner();
        let mut steps = JoinSet::new();
        loop {
            // Nobody is left who could wake it or stop it: it ends as well.
            if *stopped.borrow() || stopped.has_changed().is_err() {
                break;
            }
            while steps.try_join_next().is_some() {}
            let now = self.clock.now();
            let free = self.concurrency.saturating_sub(steps.len());
            let limit = i64::try_from(free).unwrap_or(i64::MAX);
            match jobs::claim(&self.db, &owner, now, now.after(LEASE), limit).await {
                Ok(claimed) => {
                    for job in claimed {
                        let (db, clock) = (self.db.clone(), self.clock.clone());
                        steps.spawn(carry(db, clock, Arc::clone(&handler), job, now));
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
            // What is running shows up as leased; it wakes the loop itself when it ends.
            Ok(Some(due)) => due.max(self.clock.now().after(Duration::from_millis(5))),
            _ => far,
        }
    }
}

async fn carry(db: Database, clock: Clock, handler: Arc<dyn Handler>, job: Job, claimed: Time) {
    let step = async {
        if clock.now() >= job.deadline { handler.expired(&job).await } else { handler.step(&job).await }
    };
    let next = tokio::select! {
        next = step => next,
        // What this one still writes is refused by the fence.
        () = lose(&db, &clock, &job, claimed) => return,
    };
    match next {
        Next::Ended => {}
        Next::Continue => give_back(&db, &job, clock.now()).await,
        Next::After(wait) => give_back(&db, &job, clock.now().after(wait)).await,
    }
}

/// Keeps a job's lease; ends when another process has it, or soon after it is gone.
async fn lose(db: &Database, clock: &Clock, job: &Job, claimed: Time) {
    let mut renewed = claimed;
    loop {
        // A lease runs out by the clock, which may be advanced or set; the machine's own time is there should it stand still.
        tokio::select! {
            () = clock.until(renewed.after(RENEW_EVERY)) => {}
            () = tokio::time::sleep(RENEW_EVERY) => {}
        }
        renewed = clock.now();
        match jobs::renew(db, job, renewed.after(LEASE)).await {
            Ok(Held::Still) => {}
            Ok(Held::Lost) => return,
            // What the step clears up behind a job that it has ended is not cut off.
            Ok(Held::Gone) => return tokio::time::sleep(LEASE).await,
            Err(error) => tracing::warn!(%error, job = job.id, "cannot renew a job's lease"),
        }
    }
}

async fn give_back(db: &Database, job: &Job, due: Time) {
    if let Err(error) = jobs::release(db, job, due).await {
        tracing::warn!(%error, job = job.id, "cannot give a job back; its lease will run out");
    }
}
