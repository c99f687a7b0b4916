//! Budgets for what requests hold in memory while their bodies arrive, shared fairly: a tenant never has more than it leaves
//! free, so that another one always finds room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Context;
use crate::error::{Error, Result};

/// A request waits as long as this for its share.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Something that requests share, such as bytes of memory.
pub(super) struct Budget {
    total: u64,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Default)]
struct State {
    used: u64,
    by_tenant: HashMap<String, u64>,
}

/// A part of a budget, until it is dropped.
pub(super) struct Share {
    budget: Arc<Budget>,
    tenant: String,
    amount: u64,
}

/// How much of a budget is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// By all together.
    pub used: u64,
    /// By each tenant that has any.
    pub by_tenant: HashMap<String, u64>,
}

impl Budget {
    pub(super) fn of(total: u64) -> Arc<Self> {
        Arc::new(Self { total, state: Mutex::default(), freed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn usage(&self) -> Usage {
        let state = self.state();
        Usage { used: state.used, by_tenant: state.by_tenant.clone() }
    }

    /// Takes a share once there is room. What no tenant could ever have is cut to the most that one can.
    ///
    /// # Errors
    /// [`Error::Unavailable`] after a minute.
    pub(super) async fn take(self: &Arc<Self>, tenant: &str, amount: u64) -> Result<Share> {
        let amount = amount.min(self.total / 2);
        let waiting = async {
            loop {
                let freed = self.freed.notified();
                tokio::pin!(freed);
                // Enabled before the look, so that nothing that is freed in between is missed.
                freed.as_mut().enable();
                if let Some(share) = self.try_take(tenant, amount) {
                    return share;
                }
                freed.await;
            }
        };
        tokio::time::timeout(WAIT_MAX, waiting)
            .await
            .map_err(|_| Error::Unavailable(format!("tenant {tenant} has too many uploads under way")))
    }

    fn try_take(self: &Arc<Self>, tenant: &str, amount: u64) -> Option<Share> {
        let mut state = self.state();
        let used = state.used + amount;
        let held = state.by_tenant.get(tenant).copied().unwrap_or(0) + amount;
        let is_fair = used <= self.total && held <= self.total - used;
        if !is_fair {
            return None;
        }
        state.used = used;
        state.by_tenant.insert(tenant.to_owned(), held);
        Some(Share { budget: Arc::clone(self), tenant: tenant.to_owned(), amount })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.used -= self.amount;
        if let Some(held) = state.by_tenant.get_mut(&self.tenant) {
            *held -= self.amount;
            if *held == 0 {
                state.by_tenant.remove(&self.tenant);
            }
        }
        drop(state);
        self.budget.freed.notify_waiters();
    }
}

impl Context {
    /// Whose share a request takes: the caller's tenant's, or, without one, the account's.
    pub(super) fn tenant_for(&self, account: &str) -> String {
        let tenant = self.caller.as_ref().and_then(|caller| caller.tenant.as_ref());
        tenant.map_or_else(|| account.to_owned(), |tenant| tenant.id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_tenant_takes_what_others_need() {
        let budget = Budget::of(100);
        let mut greedy: Vec<_> = (0..5).map(|_| budget.try_take("1", 10).unwrap()).collect();
        assert!(budget.try_take("1", 1).is_none(), "half is the most");
        let second = budget.try_take("2", 25).unwrap();
        assert!(budget.try_take("2", 1).is_none() && budget.try_take("3", 12).is_some());
        let refused = budget.take("1", 1).await.err();
        assert!(matches!(refused, Some(Error::Unavailable(_))), "{refused:?}");
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.take("1", 5).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(second);
        greedy.pop();
        assert!(waiting.await.unwrap());
        drop(greedy);
        assert_eq!(budget.usage(), Usage::default());
        assert_eq!(budget.try_take("1", 50).map(|share| share.amount), Some(50));
        assert_eq!(budget.take("1", 1000).await.unwrap().amount, 50, "the most that one tenant can have");
    }
}
