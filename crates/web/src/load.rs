//! What one connection holds in memory, and what its client has still to read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Memory held by one connection.
#[derive(Default)]
pub(crate) struct Load {
    /// All bytes: responses, unread request bodies and heads.
    pub(crate) bytes: AtomicU64,
    /// Bytes of request bodies that no handler has read.
    pub(crate) unread: AtomicU64,
    /// Bytes of responses.
    pub(crate) answers: AtomicU64,
    waits: Mutex<Waits>,
}

#[derive(Default)]
pub(crate) struct Waits {
    pub(crate) next: u64,
    /// What the client is to read, in the order in which it was offered: since when and until when, in milliseconds.
    pub(crate) for_client: BTreeMap<u64, (u64, u64)>,
    /// Wakers of responses that wait until the connection holds less.
    pub(crate) for_room: Vec<Waker>,
}

impl Load {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns since when the client has not read what was offered first, in milliseconds.
    pub(crate) fn unread_since(&self) -> Option<u64> {
        self.waits().for_client.first_key_value().map(|(_, (since, _))| *since)
    }

    /// Returns whether the time limit for reading anything offered has passed.
    pub(crate) fn is_overdue(&self, now: u64) -> bool {
        self.waits().for_client.values().any(|(_, until)| *until <= now)
    }
}
