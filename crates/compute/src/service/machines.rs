//! Turns at things that must not be handled twice at once: one task owns one machine.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::futures::Notified;
use tokio::sync::{Mutex as Turn, Notify, OwnedMutexGuard};
use uuid::Uuid;

#[derive(Default)]
struct Queue {
    turn: Arc<Turn<()>>,
    leave: Arc<Notify>,
}

/// Turns by key. What nobody uses is forgotten.
pub(super) struct Machines<K = Uuid>(Mutex<HashMap<K, Queue>>);

impl<K> Default for Machines<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// The turns at one key.
pub(super) struct Turns<'a, K: Hash + Eq + Clone> {
    all: &'a Machines<K>,
    key: K,
}

/// It is the holder's turn until this is dropped.
pub(super) struct Held<'a, K: Hash + Eq + Clone> {
    turns: Turns<'a, K>,
    guard: Option<OwnedMutexGuard<()>>,
    leave: Arc<Notify>,
}

impl<K: Hash + Eq + Clone> Machines<K> {
    /// The turns at `key`.
    pub(super) fn of(&self, key: K) -> Turns<'_, K> {
        Turns { all: self, key }
    }
}

impl<'a, K: Hash + Eq + Clone> Turns<'a, K> {
    /// Waits for its turn.
    pub(super) async fn take(self) -> Held<'a, K> {
        let (turn, leave) = {
            let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = all.entry(self.key.clone()).or_default();
            (Arc::clone(&queue.turn), Arc::clone(&queue.leave))
        };
        let guard = turn.lock_owned().await;
        Held { turns: self, guard: Some(guard), leave }
    }

    /// Asks whoever has the turn to leave what it is at.
    pub(super) fn interrupt(&self) {
        let all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = all.get(&self.key) {
            queue.leave.notify_waiters();
        }
    }
}

impl<K: Hash + Eq + Clone> Held<'_, K> {
    /// Resolves when someone asks for the turn back.
    pub(super) fn left(&self) -> Notified<'_> {
        self.leave.notified()
    }
}

impl<K: Hash + Eq + Clone> Drop for Held<'_, K> {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut all = self.turns.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One reference is the map's own: nobody waits.
        if all.get(&self.turns.key).is_some_and(|queue| Arc::strong_count(&queue.turn) == 1) {
            all.remove(&self.turns.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_nothing_is_left() {
        let machines = Machines::<u32>::default();
        let held = machines.of(1).take().await;
        let other = machines.of(1);
        let mut waiting = Box::pin(other.take());
        assert!(futures_poll(&mut waiting).await);
        drop(held);
        drop(waiting.await);
        assert!(machines.0.lock().unwrap().is_empty());
    }

    /// Whether a future is still pending after one poll.
    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())
        })
        .await
    }
}
