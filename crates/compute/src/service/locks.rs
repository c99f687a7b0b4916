//! Locks by key: for example at most one task at a time changes a machine. The holder of a lock can be interrupted.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::futures::Notified;
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};
use uuid::Uuid;

#[derive(Default)]
struct Entry {
    mutex: Arc<AsyncMutex<()>>,
    interrupt: Arc<Notify>,
}

/// Locks by key. Unused entries are removed.
pub(super) struct Locks<K = Uuid>(Mutex<HashMap<K, Entry>>);

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// The lock of one key.
pub(super) struct Lock<'a, K: Hash + Eq + Clone> {
    all: &'a Locks<K>,
    key: K,
}

/// An acquired lock, released on drop.
pub(super) struct LockGuard<'a, K: Hash + Eq + Clone> {
    lock: Lock<'a, K>,
    guard: Option<OwnedMutexGuard<()>>,
    interrupt: Arc<Notify>,
}

impl<K: Hash + Eq + Clone> Locks<K> {
    /// Returns the lock of `key`.
    pub(super) fn get(&self, key: K) -> Lock<'_, K> {
        Lock { all: self, key }
    }
}

impl<'a, K: Hash + Eq + Clone> Lock<'a, K> {
    /// Waits for the lock and acquires it.
    pub(super) async fn acquire(self) -> LockGuard<'a, K> {
        let (mutex, interrupt) = {
            let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = all.entry(self.key.clone()).or_default();
            (Arc::clone(&entry.mutex), Arc::clone(&entry.interrupt))
        };
        let guard = mutex.lock_owned().await;
        LockGuard { lock: self, guard: Some(guard), interrupt }
    }

    /// Asks the holder of the lock to release it.
    pub(super) fn interrupt(&self) {
        let all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = all.get(&self.key) {
            entry.interrupt.notify_waiters();
        }
    }
}

impl<K: Hash + Eq + Clone> LockGuard<'_, K> {
    /// Resolves when [`Lock::interrupt`] is called.
    pub(super) fn interrupted(&self) -> Notified<'_> {
        self.interrupt.notified()
    }
}

impl<K: Hash + Eq + Clone> Drop for LockGuard<'_, K> {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut all = self.lock.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The only reference left is the map's, so no task is waiting.
        if all.get(&self.lock.key).is_some_and(|entry| Arc::strong_count(&entry.mutex) == 1) {
            all.remove(&self.lock.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_task_at_a_time_holds_a_lock_and_unused_entries_are_removed() {
        let locks = Locks::<u32>::default();
        let guard = locks.get(1).acquire().await;
        let other = locks.get(1);
        let mut waiting = Box::pin(other.acquire());
        assert!(is_pending(&mut waiting).await);
        drop(guard);
        drop(waiting.await);
        assert!(locks.0.lock().unwrap().is_empty());
    }

    /// Returns whether a future is still pending after one poll.
    async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())
        })
        .await
    }
}
