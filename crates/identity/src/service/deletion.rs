//! Deletes a removed tenant's data in other services: a job asks each service to delete its part and retries until all have
//! succeeded.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use database::Database;
use work::{Handler, Job, Next, Runner, RunnerHandle};

use crate::service::Identity;

/// The job's kind.
pub(crate) const TENANT_DELETED: &str = "tenant-deleted";
/// Maximum number of tenants processed at once.
const AT_ONCE: usize = 2;
/// The first and the longest wait before retrying a service that failed.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// How long the job is retried before its failure is logged as an error. It is retried even after that.
pub(crate) fn patience() -> Duration {
    Duration::from_secs(7 * 24 * 3600)
}

/// A service that keeps data for tenants.
#[async_trait]
pub trait TenantDataOwner: Send + Sync + 'static {
    /// The service's name, for the log.
    fn service(&self) -> &'static str;

    /// Deletes the tenant's data. It is called again after a crash or a failure, so it must be idempotent.
    ///
    /// # Errors
    /// Why it failed, for the log; the call is retried.
    async fn delete_tenant_data(&self, tenant_id: &str) -> Result<(), String>;
}

struct Clearing {
    identity: Weak<Identity>,
    db: Database,
    services: Vec<Arc<dyn TenantDataOwner>>,
}

impl Clearing {
    async fn clear(&self, job: &Job) -> Next {
        for service in &self.services {
            if let Err(reason) = service.delete_tenant_data(&job.subject).await {
                tracing::warn!(
                    service = service.service(),
                    tenant = job.subject,
                    reason,
                    "cannot delete a removed tenant's data yet; retrying"
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
                tracing::warn!(%error, tenant = job.subject, "cannot complete a tenant's deletion; retrying");
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
        tracing::error!(
            tenant = job.subject,
            "a removed tenant's data could not be deleted for a week; still retrying"
        );
        self.clear(job).await
    }
}

impl Identity {
    /// Starts the deletion of removed tenants' data, including deletions that an earlier process left. Call it once, with
    /// every service that keeps data for tenants.
    pub fn start_tenant_deletions(self: &Arc<Self>, services: Vec<Arc<dyn TenantDataOwner>>) -> RunnerHandle {
        let handler =
            Arc::new(Clearing { identity: Arc::downgrade(self), db: self.db.database().clone(), services });
        let runner =
            Runner { db: self.db.database().clone(), clock: self.clock.clone(), concurrency: AT_ONCE };
        let handle = runner.start(handler);
        let _ = self.runner.set(handle.clone());
        handle
    }
}
