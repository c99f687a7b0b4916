//! Budgets for what requests hold in memory while their bodies arrive, shared fairly among tenants.
//!
//! - One tenant may hold at most half.
//! - The last quarter is reserved for tenants that hold nothing, or that would hold at most a 32nd with the request. So a
//!   tenant's first requests are admitted while others use all that they may.
//! - A request that is not admitted waits in its tenant's queue. What is released goes to the waiting tenant that holds
//!   least, however many requests others have waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Context;
use crate::error::{Error, Result};

/// Time for which a request waits for its share.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Maximum number of waiting requests per tenant; further ones are rejected at once.
const WAITING_OF_TENANT_MAX: usize = 256;
/// Maximum number of waiting requests of all tenants.
const WAITING_MAX: usize = 4096;

/// A resource that requests share, such as bytes of memory.
pub(super) struct Budget {
    total: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: u64,
    /// Tenants that hold something or have requests waiting.
    tenants: HashMap<String, Tenant>,
    waiting: usize,
    next: u64,
}

#[derive(Default)]
struct Tenant {
    held: u64,
    queue: VecDeque<Waiting>,
}

struct Waiting {
    id: u64,
    amount: u64,
    granted: oneshot::Sender<()>,
}

/// A share of a budget; returned when dropped.
pub(super) struct Share {
    budget: Arc<Budget>,
    tenant: String,
    amount: u64,
}

/// A position in a tenant's queue. If it is dropped before it was claimed, it returns what it was granted meanwhile.
struct Place {
    share: Option<Share>,
    id: u64,
    granted: oneshot::Receiver<()>,
}

/// Whether a request is admitted.
enum Verdict {
    Granted,
    /// The tenant would exceed its maximum.
    OverShare,
    /// Too little is left.
    NoRoom,
}

/// How much of a budget is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// By all tenants together.
    pub used: u64,
    /// By each tenant that uses any.
    pub by_tenant: HashMap<String, u64>,
}

impl Budget {
    pub(super) fn of(total: u64) -> Arc<Self> {
        Arc::new(Self { total, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn usage(&self) -> Usage {
        let state = self.state();
        let holding = state.tenants.iter().filter(|(_, tenant)| tenant.held > 0);
        Usage {
            used: state.used,
            by_tenant: holding.map(|(name, tenant)| (name.clone(), tenant.held)).collect(),
        }
    }

    /// Takes a share once enough is free. An amount that no tenant could ever get is reduced to the most that one can.
    ///
    /// # Errors
    /// [`Error::Unavailable`] after a minute, or at once if too many requests are waiting already.
    pub(super) async fn take(self: &Arc<Self>, tenant: &str, amount: u64) -> Result<Share> {
        let full = || Error::Unavailable(format!("tenant {tenant} has too many uploads under way"));
        let place = self.enter(tenant, amount.min(self.total / 2)).ok_or_else(full)?;
        tokio::time::timeout(WAIT_MAX, place.claim()).await.map_err(|_| full())
    }

    fn enter(self: &Arc<Self>, name: &str, amount: u64) -> Option<Place> {
        let mut state = self.state();
        let queued = state.tenants.get(name).map_or(0, |tenant| tenant.queue.len());
        if queued >= WAITING_OF_TENANT_MAX || state.waiting >= WAITING_MAX {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        let id = state.next;
        state.next += 1;
        state.waiting += 1;
        let tenant = state.tenants.entry(name.to_owned()).or_default();
        tenant.queue.push_back(Waiting { id, amount, granted: sender });
        self.grant(&mut state);
        let share = Share { budget: Arc::clone(self), tenant: name.to_owned(), amount };
        Some(Place { share: Some(share), id, granted: receiver })
    }

    /// Admits waiting requests while there is room, first those of the tenant that holds least.
    fn grant(&self, state: &mut State) {
        if state.waiting == 0 {
            return;
        }
        loop {
            let mut waiting: Vec<_> = state
                .tenants
                .iter()
                .filter_map(|(name, tenant)| Some((tenant.held, tenant.queue.front()?, name)))
                .map(|(held, first, name)| (held, first.id, first.amount, name))
                .collect();
            waiting.sort_unstable();
            let mut granted = None;
            for (held, _, amount, name) in waiting {
                match self.verdict(state.used, held, amount) {
                    Verdict::Granted => {
                        granted = Some(name.clone());
                        break;
                    }
                    Verdict::OverShare => {}
                    // Do not admit smaller requests of tenants that hold more, which could starve this one.
                    Verdict::NoRoom => return,
                }
            }
            let Some(name) = granted else { return };
            let Some(tenant) = state.tenants.get_mut(&name) else { return };
            let Some(first) = tenant.queue.pop_front() else { return };
            tenant.held += first.amount;
            state.used += first.amount;
            state.waiting -= 1;
            // If the receiver is gone, dropping the position returns the share.
            let _ = first.granted.send(());
        }
    }

    fn verdict(&self, used: u64, held: u64, amount: u64) -> Verdict {
        if held + amount > self.total / 2 {
            return Verdict::OverShare;
        }
        let holds_little = held == 0 || held + amount <= self.total / 32;
        let limit = if holds_little { self.total } else { self.total - self.total / 4 };
        if used + amount <= limit { Verdict::Granted } else { Verdict::NoRoom }
    }

    /// Removes a tenant that neither holds anything nor waits.
    fn forget(state: &mut State, name: &str) {
        if state.tenants.get(name).is_some_and(|tenant| tenant.held == 0 && tenant.queue.is_empty()) {
            state.tenants.remove(name);
        }
    }
}

impl Place {
    async fn claim(mut self) -> Share {
        // The sender is dropped only after it has sent: nothing else removes a position from its queue.
        let _ = (&mut self.granted).await;
        match self.share.take() {
            Some(share) => share,
            None => unreachable!("a place is claimed once"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(share) = &mut self.share else { return };
        let budget = Arc::clone(&share.budget);
        let mut state = budget.state();
        let Some(tenant) = state.tenants.get_mut(&share.tenant) else { return };
        let before = tenant.queue.len();
        tenant.queue.retain(|waiting| waiting.id != self.id);
        if tenant.queue.len() == before {
            // It was granted; dropping the share returns it.
            return;
        }
        share.amount = 0;
        state.waiting -= 1;
        // Requests behind this one may be smaller.
        budget.grant(&mut state);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.used -= self.amount;
        if let Some(tenant) = state.tenants.get_mut(&self.tenant) {
            tenant.held -= self.amount;
        }
        Budget::forget(&mut state, &self.tenant);
        self.budget.grant(&mut state);
    }
}

impl Context {
    /// Returns the tenant that a request's share counts for: the caller's or, without a caller, the account's.
    pub(super) fn tenant_for(&self, account: &str) -> String {
        let tenant = self.caller.as_ref().and_then(|caller| caller.tenant.as_ref());
        tenant.map_or_else(|| account.to_owned(), |tenant| tenant.id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the share if a request is admitted at once.
    async fn now(budget: &Arc<Budget>, tenant: &str, amount: u64) -> Option<Share> {
        tokio::select! {
            biased;
            share = budget.take(tenant, amount) => share.ok(),
            () = tokio::task::yield_now() => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_tenant_gets_a_share() {
        let budget = Budget::of(100);
        let mut greedy = Vec::new();
        while let Some(share) = now(&budget, "1", 10).await {
            greedy.push(share);
        }
        assert_eq!(greedy.len(), 5, "half is the most");
        let second = now(&budget, "2", 25).await.unwrap();
        assert!(now(&budget, "2", 5).await.is_none(), "the last quarter is for those that hold little");
        let third = now(&budget, "3", 20).await.unwrap();
        assert!(now(&budget, "4", 6).await.is_none() && now(&budget, "4", 5).await.is_some());
        let refused = budget.take("1", 1).await.err();
        assert!(matches!(refused, Some(Error::Unavailable(_))), "{refused:?}");
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.take("1", 5).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop((second, third));
        assert!(!waiting.is_finished());
        greedy.pop();
        assert!(waiting.await.unwrap());
        drop(greedy);
        assert_eq!(budget.usage(), Usage::default());
        assert!(budget.state().tenants.is_empty());
        assert_eq!(
            now(&budget, "1", 1000).await.map(|share| share.amount),
            Some(50),
            "the most that one can have"
        );
    }

    /// All of eight tenants make progress while one keeps hundreds of requests waiting, and none exceeds its maximum.
    #[tokio::test(start_paused = true)]
    async fn eight_tenants_get_on_while_one_floods() {
        let budget = Budget::of(256);
        let flood: Vec<_> = (0..400)
            .map(|_| {
                let budget = Arc::clone(&budget);
                tokio::spawn(async move {
                    loop {
                        let share = budget.take("flood", 8).await;
                        tokio::time::sleep(Duration::from_secs(50)).await;
                        drop(share);
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(budget.usage().by_tenant.get("flood"), Some(&128));
        let mut others = tokio::task::JoinSet::new();
        for tenant in 0..7 {
            let budget = Arc::clone(&budget);
            others.spawn(async move {
                let (name, began) = (format!("{tenant}"), tokio::time::Instant::now());
                let mut running = tokio::task::JoinSet::new();
                for _ in 0..40 {
                    let (budget, name) = (Arc::clone(&budget), name.clone());
                    running.spawn(async move {
                        let share = budget.take(&name, 8).await.unwrap();
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        drop(share);
                    });
                }
                while let Some(done) = running.join_next().await {
                    done.unwrap();
                }
                began.elapsed()
            });
        }
        // 7 × 40 requests of one second each, with half of the budget.
        while let Some(took) = others.join_next().await {
            assert!(took.unwrap() < Duration::from_secs(40), "no tenant starves");
        }
        flood.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_freed_goes_to_who_holds_least() {
        let budget = Budget::of(100);
        let mut held: Vec<_> = Vec::new();
        for (tenant, amount) in [("1", 50), ("2", 25), ("3", 25)] {
            held.push(now(&budget, tenant, amount).await.unwrap());
        }
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut running = tokio::task::JoinSet::new();
        for (tenant, amount) in [("2", 5), ("2", 5), ("4", 20), ("2", 5)] {
            let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
            running.spawn(async move {
                let share = budget.take(tenant, amount).await.unwrap();
                order.lock().unwrap().push(tenant);
                std::future::pending::<()>().await;
                drop(share);
            });
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        drop(held.remove(0));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(*order.lock().unwrap(), ["4", "2"], "and the last quarter is left for others");
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait_and_those_that_leave_make_room() {
        let budget = Budget::of(10);
        let held = now(&budget, "1", 5).await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..WAITING_OF_TENANT_MAX {
            let budget = Arc::clone(&budget);
            waiting.spawn(async move { budget.take("1", 5).await.map(|_| ()) });
        }
        tokio::task::yield_now().await;
        while budget.state().waiting < WAITING_OF_TENANT_MAX {
            tokio::task::yield_now().await;
        }
        let began = tokio::time::Instant::now();
        assert!(budget.take("1", 5).await.is_err() && began.elapsed().is_zero());
        assert!(now(&budget, "2", 5).await.is_some(), "another tenant's do not count");
        waiting.shutdown().await;
        assert_eq!(budget.state().waiting, 0);
        drop(held);
        assert_eq!(budget.usage(), Usage::default());
    }
}
