//! Quotas. Counters are read only if the metadata sets a quota.

use database::Tx;

use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::entry::Container;
use crate::model::quota;
use crate::store;

impl Files {
    /// Checks that an object of `size` bytes fits. Account quotas do not bind the operator, and container quotas do not bind
    /// the cloud itself: it must be able to deliver what it owes the account, such as access logs.
    pub(super) async fn check_quotas(
        &self,
        context: &Context,
        container: &Container,
        size: u64,
    ) -> Result<()> {
        if !has_quotas(context, container) {
            return Ok(());
        }
        let policy = self.settings().policies.name(container.policy).to_ascii_lowercase();
        let input = (context.clone(), container.clone(), policy, size);
        let checked = self.0.db.read(input, |(context, container, policy, size), tx| {
            Box::pin(async move { check(tx, context, container, policy, *size).await })
        });
        checked.await
    }
}

/// Returns whether there is a quota that binds the caller.
fn has_quotas(context: &Context, container: &Container) -> bool {
    let of_container = |name: &str| quota::limit(&container.metadata, name).is_some();
    (!context.internal && (of_container(quota::CONTAINER_BYTES) || of_container(quota::CONTAINER_COUNT)))
        || (!is_operator(context) && container.account_metadata.may_hold("quota"))
}

fn is_operator(context: &Context) -> bool {
    context.caller.as_ref().is_some_and(|caller| caller.operator)
}

/// Within a writing transaction: checks that an object of `size` bytes fits, including what was written before in it.
pub(super) async fn check_in(
    tx: &mut Tx,
    context: &Context,
    container: &Container,
    policy: &str,
    size: u64,
) -> Result<()> {
    if has_quotas(context, container) {
        // Counters may lag within a batch of transactions.
        tx.flush().await?;
        check(tx, context, container, policy, size).await?;
    }
    Ok(())
}

async fn check(tx: &mut Tx, context: &Context, container: &Container, policy: &str, size: u64) -> Result<()> {
    if !context.internal {
        check_container_quota(tx, container, size).await?;
    }
    if !is_operator(context) && container.account_metadata.may_hold("quota") {
        check_account_quota(tx, container, policy, size).await?;
    }
    Ok(())
}

async fn check_container_quota(tx: &mut Tx, container: &Container, size: u64) -> Result<()> {
    let bytes = quota::limit(&container.metadata, quota::CONTAINER_BYTES);
    let count = quota::limit(&container.metadata, quota::CONTAINER_COUNT);
    if bytes.is_none() && count.is_none() {
        return Ok(());
    }
    let counts = store::containers::counts(tx, container.id).await?;
    exceeded(bytes, counts.bytes, size, "Upload exceeds quota.")?;
    exceeded(count, counts.objects, 1, "Upload exceeds quota.")
}

async fn check_account_quota(tx: &mut Tx, container: &Container, policy: &str, size: u64) -> Result<()> {
    let metadata = container.account_metadata.read();
    let limit = |name: &str| quota::limit(&metadata, name);
    let bytes = limit(quota::ACCOUNT_BYTES).or_else(|| limit(quota::ACCOUNT_BYTES_OLD));
    let count = limit(quota::ACCOUNT_COUNT);
    let policy_bytes = limit(&format!("{}-policy-{policy}", quota::ACCOUNT_BYTES));
    let policy_count = limit(&format!("{}-policy-{policy}", quota::ACCOUNT_COUNT));
    let by_policy = store::accounts::counts(tx, container.account).await?;
    exceeded(bytes, by_policy.values().map(|counts| counts.bytes).sum(), size, "Upload exceeds quota.")?;
    exceeded(count, by_policy.values().map(|counts| counts.objects).sum(), 1, "Upload exceeds quota.")?;
    let own = by_policy.get(&container.policy).copied().unwrap_or_default();
    exceeded(policy_bytes, own.bytes, size, "Upload exceeds policy quota.")?;
    exceeded(policy_count, own.objects, 1, "Upload exceeds policy quota.")
}

fn exceeded(limit: Option<u64>, used: u64, more: u64, text: &str) -> Result<()> {
    if limit.is_some_and(|limit| used.saturating_add(more) > limit) {
        return Err(Error::OverQuota(text.into()));
    }
    Ok(())
}
