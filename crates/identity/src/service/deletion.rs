//! What is left of a deleted tenant in other services: a job that asks each to delete its part, until all have.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use database::Database;
use work::{Handler, Job, Next, Runner, RunnerHandle};

use crate::service::Identity;

/// The job's kind.
pub(crate) const TENANT_DELETED: &str = "tenant-deleted";
/// Tenants cleared away at once.
const AT_ONCE: usize = 2;
/// The first wait after a service could not, and the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// It is tried for this long before its failing is called an error in the log; it is tried on even then.
pub(crate) fn patience() -> Duration {
    Duration::from_secs(7 * 24 * 3600)
}

/// A service that keeps something for tenants.
#[async_trait]
pub trait TenantDeleted: Send + Sync + 'static {
    /// The service's name, for the log.
    fn service(&self) -> &'static str;

    /// Deletes what it keeps for the tenant. It is called again after a crash or a failure, and must then come to the
    /// same end.
    ///
    /// # Errors
    /// Why it could not, for the log; it is asked again.
    async fn tenant_deleted(&self, tenant_id: &str) -> Result<(), String>;
}

struct Clearing {
    identity: Weak<Identity>,
    db: Database,
    services: Vec<Arc<dyn TenantDeleted>>,
}

impl Clearing {
    async fn clear(&self, job: &Job) -> Next {
        for service in &self.services {
            if let Err(reason) = service.tenant_deleted(&job.subject).await {
                tracing::warn!(
                    service = service.service(),
                    tenant = job.subject,
                    reason,
                    "a deleted tenant's data is still there"
                );
                let attempt = u32::try_from(job.attempts.clamp(1, 20)).unwrap_or(20) - 1;
                return Next::After(RETRY_FIRST.saturating_mul(1 << attempt.min(10)).min(RETRY_MAX));
            }
        }
        let finished =
            self.db.write(job.clone(), |job, tx| Box::pin(async move { job.finish(tx).await })).await;
        match finished {
            Ok(_) => Next::Ended,
            Err(error) => {
                tracing::warn!(%error, tenant = job.subject, "cannot end a tenant's deletion");
                Next::After(RETRY_FIRST)
            }
        }
    }
}

#[async_trait]
impl Handler for Clearing {
    async fn step(&self, job: &Job) -> Next {
        if self.identity.strong_count() == 0 {
            return Next::After(RETRY_MAX);
        }
        self.clear(job).await
    }

    async fn expired(&self, job: &Job) -> Next {
        tracing::error!(tenant = job.subject, "a deleted tenant's data could not be removed for a week");
        self.clear(job).await
    }
}

impl Identity {
    /// Starts carrying deletions of tenants through, those left by an earlier process included. Call once, with every
    /// service that keeps anything for tenants.
    pub fn carry_deletions(self: &Arc<Self>, services: Vec<Arc<dyn TenantDeleted>>) -> RunnerHandle {
        let handler = Arc::new(Clearing { identity: Arc::downgrade(self), db: self.db.clone(), services });
        let runner = Runner { db: self.db.clone(), clock: self.clock.clone(), concurrency: AT_ONCE };
        let handle = runner.start(handler);
        let _ = self.runner.set(handle.clone());
        handle
    }
}
