//! Quotas: looked at only where the metadata at hand says that there are some.

use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::entry::Container;
use crate::model::quota;
use crate::store;

impl Files {
    /// Whether an object of `size` bytes more fits; the operator is not bound by an account's quota.
    pub(super) async fn check_quotas(
        &self,
        context: &Context,
        container: &Container,
        size: u64,
    ) -> Result<()> {
        self.check_container_quota(container, size).await?;
        let operator = context.caller.as_ref().is_some_and(|caller| caller.operator);
        if !operator && container.account_metadata.may_hold("quota") {
            self.check_account_quota(container, size).await?;
        }
        Ok(())
    }

    async fn check_container_quota(&self, container: &Container, size: u64) -> Result<()> {
        let bytes = quota::limit(&container.metadata, quota::CONTAINER_BYTES);
        let count = quota::limit(&container.metadata, quota::CONTAINER_COUNT);
        if bytes.is_none() && count.is_none() {
            return Ok(());
        }
        let counts = self
            .0
            .db
            .read(container.id, |id, tx| {
                Box::pin(async move { Ok::<_, Error>(store::containers::counts(tx, *id).await?) })
            })
            .await?;
        exceeded(bytes, counts.bytes, size, "Upload exceeds quota.")?;
        exceeded(count, counts.objects, 1, "Upload exceeds quota.")
    }

    async fn check_account_quota(&self, container: &Container, size: u64) -> Result<()> {
        let metadata = container.account_metadata.read();
        let policy = self.settings().policies.name(container.policy).to_ascii_lowercase();
        let limit = |name: &str| quota::limit(&metadata, name);
        let bytes = limit(quota::ACCOUNT_BYTES).or_else(|| limit(quota::ACCOUNT_BYTES_OLD));
        let count = limit(quota::ACCOUNT_COUNT);
        let policy_bytes = limit(&format!("{}-policy-{policy}", quota::ACCOUNT_BYTES));
        let policy_count = limit(&format!("{}-policy-{policy}", quota::ACCOUNT_COUNT));
        let by_policy = self
            .0
            .db
            .read(container.account, |id, tx| {
                Box::pin(async move { Ok::<_, Error>(store::accounts::counts(tx, *id).await?) })
            })
            .await?;
        exceeded(bytes, by_policy.values().map(|counts| counts.bytes).sum(), size, "Upload exceeds quota.")?;
        exceeded(count, by_policy.values().map(|counts| counts.objects).sum(), 1, "Upload exceeds quota.")?;
        let own = by_policy.get(&container.policy).copied().unwrap_or_default();
        exceeded(policy_bytes, own.bytes, size, "Upload exceeds policy quota.")?;
        exceeded(policy_count, own.objects, 1, "Upload exceeds policy quota.")
    }
}

fn exceeded(limit: Option<u64>, used: u64, more: u64, text: &str) -> Result<()> {
    if limit.is_some_and(|limit| used.saturating_add(more) > limit) {
        return Err(Error::OverQuota(text.into()));
    }
    Ok(())
}
