//! What one connection holds in memory, and what its client has yet to take.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// What one connection holds.
#[derive(Default)]
pub(crate) struct Load {
    /// All bytes: answers, unread bodies and heads.
    pub(crate) bytes: AtomicU64,
    /// Those of requests that no handler has read.
    pub(crate) unread: AtomicU64,
    /// Those of answers.
    pub(crate) answers: AtomicU64,
    waits: Mutex<Waits>,
}

#[derive(Default)]
pub(crate) struct Waits {
    pub(crate) next: u64,
    /// What the client is to take, in the order in which it was offered: from when, and until when, in milliseconds.
    pub(crate) for_client: BTreeMap<u64, (u64, u64)>,
    /// Answers that wait for the connection to hold less.
    pub(crate) for_room: Vec<Waker>,
}

impl Load {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when the client has not taken what was offered first, in milliseconds.
    pub(crate) fn offered_since(&self) -> Option<u64> {
        self.waits().for_client.first_key_value().map(|(_, (since, _))| *since)
    }

    /// Whether the client has had its time for anything that it was offered.
    pub(crate) fn is_overdue(&self, now: u64) -> bool {
        self.waits().for_client.values().any(|(_, until)| *until <= now)
    }
}
