//! Jobs: what was accepted is carried out in small steps, each of which may run again. One job is active per server;
//! its lease is fenced in the database, and within this process it has its machine's turn.

mod addresses;
mod bookings;
mod building;
mod crossing;
mod imaging;
mod lifecycle;
mod placing;
mod resizing;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hypervisor::Hypervisor;
use uuid::Uuid;
use work::{Handler, Job, Next, Time};

use super::{Halt, Inner};
use crate::model::{JobPayload, Server, WorkItem};
use crate::store;

/// Why a step did not come to its end.
#[derive(Debug)]
pub(super) enum StepError {
    /// It may succeed later.
    Retry(String),
    /// It never will.
    Failed(String),
    /// The job is someone else's now, or its server is gone.
    LeaseLost,
}

impl From<hypervisor::Error> for StepError {
    fn from(error: hypervisor::Error) -> Self {
        match error {
            hypervisor::Error::Unreachable { .. } | hypervisor::Error::Timeout { .. } => {
                Self::Retry(error.to_string())
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<database::Error> for StepError {
    fn from(error: database::Error) -> Self {
        Self::Retry(error.to_string())
    }
}

impl From<super::Error> for StepError {
    fn from(error: super::Error) -> Self {
        match error {
            super::Error::Unavailable(reason) | super::Error::Unknown(reason) => Self::Retry(reason),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<networks::Error> for StepError {
    fn from(error: networks::Error) -> Self {
        super::Error::from(error).into()
    }
}

impl From<images::Error> for StepError {
    fn from(error: images::Error) -> Self {
        match error {
            images::Error::Vault(images::VaultError::Failed(_)) | images::Error::Database(_) => {
                Self::Retry(error.to_string())
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

/// A job in context.
pub(super) struct JobContext<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) job: &'a Job,
    pub(super) payload: JobPayload,
}

/// Carries the jobs of one service forward.
pub(super) struct JobRunner(pub(super) Arc<Inner>);

#[async_trait]
impl Handler for JobRunner {
    async fn step(&self, job: &Job) -> Next {
        let Ok(payload) = serde_json::from_str::<JobPayload>(&job.payload) else {
            tracing::error!(job = job.id, kind = job.kind, "a job cannot be read");
            return Next::After(Duration::from_secs(3600));
        };
        let context = JobContext { inner: &self.0, job, payload };
        let mut halt = self.0.halt.subscribe();
        let turn = tokio::select! {
            turn = self.0.turn(context.payload.server).take() => turn,
            _ = halt.wait_for(|halt| *halt != Halt::No) => return halted(*self.0.halt.borrow()),
        };
        let left = turn.left();
        tokio::pin!(left);
        // Registered before the first look at the job's lease, so that a deletion in between is not missed.
        left.as_mut().enable();
        tokio::select! {
            next = context.carry() => next,
            // Whoever interrupts has cancelled the job, or wants it to be looked at anew.
            () = &mut left => Next::Continue,
            _ = halt.wait_for(|halt| *halt != Halt::No) => halted(*self.0.halt.borrow()),
            () = self.0.clock.until(job.deadline) => Next::Continue,
        }
    }

    async fn expired(&self, job: &Job) -> Next {
        let Ok(payload) = serde_json::from_str::<JobPayload>(&job.payload) else { return Next::Ended };
        let context = JobContext { inner: &self.0, job, payload };
        if context.payload.work == WorkItem::Delete {
            // Nothing may be left behind: a deletion is never given up.
            return context.step_again().await;
        }
        let _turn = self.0.turn(context.payload.server).take().await;
        let minutes = job.deadline.since(job.created).as_secs() / 60;
        context.end(Err(StepError::Failed(format!("it was not finished within {minutes} minutes")))).await
    }
}

fn halted(halt: Halt) -> Next {
    match halt {
        // The lease runs out, or is forgotten at the next start, as after a crash.
        Halt::Abandon => Next::Ended,
        Halt::No | Halt::Stop => Next::Continue,
    }
}

impl JobContext<'_> {
    async fn step_again(&self) -> Next {
        let _turn = self.inner.turn(self.payload.server).take().await;
        tokio::select! {
            next = self.carry() => next,
            () = self.inner.clock.sleep(self.inner.settings.deadlines.short) => Next::Continue,
        }
    }

    async fn carry(&self) -> Next {
        let outcome = self.work().await;
        if outcome.is_err() && matches!(self.place_anew().await, Ok(true)) {
            return Next::Continue;
        }
        self.end(outcome).await
    }

    async fn work(&self) -> Result<(), StepError> {
        if let WorkItem::Vacate { host, snapshot, unseen } = &self.payload.work {
            return self.vacate(host, *snapshot, *unseen).await;
        }
        let server = self.server().await?;
        if self.inner.is_given_up(&server.host) {
            // Another process may have taken it back.
            self.inner.learn_given_up().await?;
        }
        if !self.payload.work.waits() && self.payload.work != WorkItem::Build {
            // What follows may set the machine's counters back.
            self.inner.read_meter(&server).await;
        }
        match self.payload.work.clone() {
            WorkItem::Build => self.build(server).await,
            WorkItem::Rebuild => self.rebuild(server).await,
            WorkItem::Reboot { kind } => self.reboot(&server, kind).await,
            WorkItem::Password { sealed } => self.password(&server, &sealed).await,
            WorkItem::Resize { flavor, to: None } => self.resize(server, flavor).await,
            WorkItem::Resize { flavor, to: Some(to) } => self.cross(server, flavor, &to).await,
            WorkItem::Confirm => self.confirm(&server).await,
            WorkItem::Revert => self.revert(server).await,
            WorkItem::Image(image) => self.image(&server, &image).await,
            WorkItem::Share { address, configure } => self.share(server, address, configure).await,
            WorkItem::Unshare { address } => self.unshare(server, address).await,
            WorkItem::Suspend => self.suspend(&server).await,
            WorkItem::Resume => self.resume(&server).await,
            WorkItem::Start => self.start(&server).await,
            WorkItem::Delete => self.delete(&server).await,
            WorkItem::Vacate { .. } => Ok(()),
            WorkItem::AutoConfirm => self.auto_confirm(&server).await,
            WorkItem::Backup { cadence, start, end } => {
                self.backup(&server, cadence, Time(start), Time(end)).await
            }
        }
    }

    /// The server, while the job is this holder's.
    async fn server(&self) -> Result<Server, StepError> {
        let input = (self.job.clone(), self.payload.server);
        let found = self.inner.db.read(input, |(job, server), tx| {
            Box::pin(async move {
                if !job.holds(tx).await? {
                    return Ok(None);
                }
                store::servers::by_id(tx, *server).await
            })
        });
        found.await?.ok_or(StepError::LeaseLost)
    }

    /// The server's host.
    fn host(&self, server: &Server) -> Result<Arc<dyn Hypervisor>, StepError> {
        self.host_named(&server.host)
    }

    fn host_named(&self, name: &str) -> Result<Arc<dyn Hypervisor>, StepError> {
        let missing = || StepError::Retry(format!("host {name} is not configured"));
        self.inner.host_named(name).ok_or_else(missing)
    }

    /// Shows how far the job is; `Lost` when it is not this holder's any more.
    async fn show(&self, change: impl Fn(&mut Server) + Send + Sync + 'static) -> Result<Server, StepError> {
        let input = (self.job.clone(), self.payload.server, change, self.inner.clock.now());
        let shown = self.inner.db.write(input, |(job, server, change, now), tx| {
            Box::pin(async move {
                if !job.holds(tx).await? {
                    return Ok(None);
                }
                let Some(mut server) = store::servers::by_id(tx, *server).await? else { return Ok(None) };
                change(&mut server);
                server.updated = *now;
                store::servers::update(tx, &server).await?;
                Ok::<_, database::Error>(Some(server))
            })
        });
        shown.await?.ok_or(StepError::LeaseLost)
    }

    async fn progress(&self, percent: u8) -> Result<(), StepError> {
        self.show(move |server| server.progress = percent.min(100)).await.map(|_| ())
    }

    async fn secret(&self, server: Uuid, name: &'static str) -> Result<Option<Vec<u8>>, StepError> {
        let sealed = self.inner.db.read((server, name), |(server, name), tx| {
            Box::pin(async move { store::servers::secret(tx, *server, name).await })
        });
        let Some(sealed) = sealed.await? else { return Ok(None) };
        Ok(Some(self.inner.seal.open(&server.to_string(), &sealed)?))
    }

    async fn password_of(&self, server: Uuid) -> Result<Option<String>, StepError> {
        let plain = self.secret(server, "password").await?;
        Ok(plain.and_then(|plain| String::from_utf8(plain).ok()))
    }
}
