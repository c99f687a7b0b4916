//! A body that is being fetched from the origin, with any number of readers.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

/// A body that grows until it is complete or has failed.
pub(super) struct Growing {
    pieces: Mutex<Vec<Bytes>>,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Progress {
    pieces: usize,
    end: Option<End>,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All bytes have arrived.
    Complete,
    /// The origin stopped early, or sent something other than announced.
    Failed,
}

impl Growing {
    pub(super) fn new() -> Arc<Self> {
        let progress = watch::Sender::new(Progress { pieces: 0, end: None });
        Arc::new(Self { pieces: Mutex::default(), progress })
    }

    pub(super) fn push(&self, piece: Bytes) {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.push(piece);
        let count = pieces.len();
        drop(pieces);
        self.progress.send_modify(|progress| progress.pieces = count);
    }

    pub(super) fn end(&self, end: End) {
        self.progress.send_modify(|progress| progress.end = progress.end.or(Some(end)));
    }

    pub(super) fn has_failed(&self) -> bool {
        self.progress.borrow().end == Some(End::Failed)
    }

    /// Returns all bytes, including a last piece that no reader has been given yet.
    pub(super) fn joined(&self, last: &Bytes) -> Bytes {
        let pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        if pieces.is_empty() {
            return last.clone();
        }
        let mut all = Vec::with_capacity(pieces.iter().map(Bytes::len).sum::<usize>() + last.len());
        pieces.iter().for_each(|piece| all.extend_from_slice(piece));
        all.extend_from_slice(last);
        all.into()
    }

    /// Completes the body with its last piece.
    pub(super) fn complete(&self, last: Bytes) {
        self.push(last);
        self.end(End::Complete);
    }

    /// Returns the piece with this number once it has arrived, and `None` after the last one.
    ///
    /// # Errors
    /// [`End::Failed`].
    pub(super) async fn piece(&self, number: usize) -> Result<Option<Bytes>, End> {
        let mut progress = self.progress.subscribe();
        loop {
            let now = *progress.borrow_and_update();
            if number < now.pieces {
                let pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
                return Ok(pieces.get(number).cloned());
            }
            match now.end {
                Some(End::Complete) => return Ok(None),
                Some(End::Failed) => return Err(End::Failed),
                None => {}
            }
            if progress.changed().await.is_err() {
                return Err(End::Failed);
            }
        }
    }
}
