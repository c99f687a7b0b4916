//! Jobs: execute accepted actions in small, idempotent steps. At most one job per server runs at a time: its lease is fenced in
//! the database, and it holds the machine's lock within this process.

mod addresses;
mod building;
mod imaging;
mod lifecycle;
mod migration;
mod outcome;
mod relocation;
mod reservations;
mod resizing;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hypervisor::Hypervisor;
use uuid::Uuid;
use work::{Handler, Job, Next, Time};

use super::{Inner, Shutdown};
use crate::model::{JobPayload, Server, WorkItem};
use crate::store;

/// Why a step did not succeed.
#[derive(Debug)]
pub(super) enum StepError {
    /// A temporary failure: the step is retried.
    Retry(String),
    /// A permanent failure.
    Failed(String),
    /// Another process holds the job, or its server was removed.
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

/// A job that is being run, with its payload.
pub(super) struct JobContext<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) job: &'a Job,
    pub(super) payload: JobPayload,
}

/// Runs the jobs of this service.
pub(super) struct JobRunner(pub(super) Arc<Inner>);

#[async_trait]
impl Handler for JobRunner {
    async fn step(&self, job: &Job) -> Next {
        let Ok(payload) = serde_json::from_str::<JobPayload>(&job.payload) else {
            tracing::error!(
                job = job.id,
                kind = job.kind,
                "cannot parse the payload of a job; retrying in an hour"
            );
            return Next::After(Duration::from_secs(3600));
        };
        let context = JobContext { inner: &self.0, job, payload };
        let mut shutdown = self.0.shutdown.subscribe();
        let guard = tokio::select! {
            guard = self.0.machine_lock(context.payload.server).acquire() => guard,
            _ = shutdown.wait_for(|shutdown| *shutdown != Shutdown::No) => return after_shutdown(*self.0.shutdown.borrow()),
        };
        let interrupted = guard.interrupted();
        tokio::pin!(interrupted);
        // Register before the job's lease is first checked, so that a deletion in between is not missed.
        interrupted.as_mut().enable();
        tokio::select! {
            next = context.run() => next,
            // The caller has cancelled the job, or wants it to read its state again.
            () = &mut interrupted => Next::Continue,
            _ = shutdown.wait_for(|shutdown| *shutdown != Shutdown::No) => after_shutdown(*self.0.shutdown.borrow()),
            () = self.0.clock.until(job.deadline) => Next::Continue,
        }
    }

    async fn expired(&self, job: &Job) -> Next {
        let Ok(payload) = serde_json::from_str::<JobPayload>(&job.payload) else { return Next::Ended };
        let context = JobContext { inner: &self.0, job, payload };
        if context.payload.work == WorkItem::Delete {
            // A deletion is retried until nothing is left of the server.
            return context.retry_deletion().await;
        }
        let _guard = self.0.machine_lock(context.payload.server).acquire().await;
        let minutes = job.deadline.since(job.created).as_secs() / 60;
        context.finish(Err(StepError::Failed(format!("it was not finished within {minutes} minutes")))).await
    }
}

fn after_shutdown(shutdown: Shutdown) -> Next {
    match shutdown {
        // Keep the lease, as a crash would: it expires or is released at the next start.
        Shutdown::Crash => Next::Ended,
        Shutdown::No | Shutdown::Stop => Next::Continue,
    }
}

impl JobContext<'_> {
    async fn retry_deletion(&self) -> Next {
        let _guard = self.inner.machine_lock(self.payload.server).acquire().await;
        tokio::select! {
            next = self.run() => next,
            () = self.inner.clock.sleep(self.inner.settings.deadlines.short) => Next::Continue,
        }
    }

    async fn run(&self) -> Next {
        let outcome = self.execute().await;
        if outcome.is_err() && matches!(self.relocate().await, Ok(true)) {
            return Next::Continue;
        }
        self.finish(outcome).await
    }

    async fn execute(&self) -> Result<(), StepError> {
        if let WorkItem::Cleanup { host, snapshot, check_machine } = &self.payload.work {
            return self.clean_up_host(host, *snapshot, *check_machine).await;
        }
        let server = self.server().await?;
        if self.inner.is_evacuated(&server.host) {
            // Another process may have reinstated it.
            self.inner.reload_evacuated().await?;
        }
        if !self.payload.work.waits() && self.payload.work != WorkItem::Build {
            // Read the traffic counters first: the action may reset them.
            self.inner.read_meter(&server).await;
        }
        match self.payload.work.clone() {
            WorkItem::Build => self.build(server).await,
            WorkItem::Rebuild => self.rebuild(server).await,
            WorkItem::Reboot { kind } => self.reboot(&server, kind).await,
            WorkItem::Password { sealed } => self.password(&server, &sealed).await,
            WorkItem::Resize { flavor, to: None } => self.resize(server, flavor).await,
            WorkItem::Resize { flavor, to: Some(to) } => self.migrate(server, flavor, &to).await,
            WorkItem::Confirm => self.confirm(&server).await,
            WorkItem::Revert => self.revert(server).await,
            WorkItem::Image(image) => self.image(&server, &image).await,
            WorkItem::Share { address, configure } => self.share(server, address, configure).await,
            WorkItem::Unshare { address } => self.unshare(server, address).await,
            WorkItem::Suspend => self.suspend(&server).await,
            WorkItem::Resume => self.resume(&server).await,
            WorkItem::Start => self.start(&server).await,
            WorkItem::Delete => self.delete(&server).await,
            WorkItem::Cleanup { .. } => Ok(()),
            WorkItem::AutoConfirm => self.auto_confirm(&server).await,
            WorkItem::Backup { cadence, start, end } => {
                self.backup(&server, cadence, Time(start), Time(end)).await
            }
        }
    }

    /// Reads the server. Fails with [`StepError::LeaseLost`] if this process does not hold the job.
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

    /// Returns the server's host.
    fn host(&self, server: &Server) -> Result<Arc<dyn Hypervisor>, StepError> {
        self.host_named(&server.host)
    }

    fn host_named(&self, name: &str) -> Result<Arc<dyn Hypervisor>, StepError> {
        let missing = || StepError::Retry(format!("host {name} is not configured"));
        self.inner.host_named(name).ok_or_else(missing)
    }

    /// Changes the server and returns it. Fails with [`StepError::LeaseLost`] if this process does not hold the job.
    async fn update_server(
        &self,
        change: impl Fn(&mut Server) + Send + Sync + 'static,
    ) -> Result<Server, StepError> {
        let input = (self.job.clone(), self.payload.server, change, self.inner.clock.now());
        let updated = self.inner.db.write(input, |(job, server, change, now), tx| {
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
        updated.await?.ok_or(StepError::LeaseLost)
    }

    async fn set_progress(&self, percent: u8) -> Result<(), StepError> {
        self.update_server(move |server| server.progress = percent.min(100)).await.map(|_| ())
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
