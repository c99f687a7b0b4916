//! Streams that are hashed and counted as they pass.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use aws_lc_rs::digest::{Context as Hash, SHA256};
use hypervisor::{Progress, Reader};
use tokio::io::{AsyncRead, ReadBuf};

/// What has passed so far.
#[derive(Clone)]
pub(super) struct Tally(Arc<Mutex<Hash>>);

impl Tally {
    /// A stream that passes `reader`'s bytes on, and the tally of them.
    pub(super) fn over(reader: Reader, progress: Progress) -> (Reader, Self) {
        let tally = Self(Arc::new(Mutex::new(Hash::new(&SHA256))));
        (Box::pin(Tallied { reader, progress, tally: tally.clone() }), tally)
    }

    /// The SHA-256 of all that passed.
    pub(super) fn sha256(&self) -> [u8; 32] {
        let hash = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut out = [0; 32];
        out.copy_from_slice(hash.finish().as_ref());
        out
    }
}

struct Tallied {
    reader: Reader,
    progress: Progress,
    tally: Tally,
}

impl AsyncRead for Tallied {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.reader.as_mut().poll_read(context, buffer);
        let fresh = &buffer.filled()[before..];
        if !fresh.is_empty() {
            self.tally.0.lock().unwrap_or_else(PoisonError::into_inner).update(fresh);
            self.progress.advance(fresh.len() as u64);
        }
        polled
    }
}

/// The digest that hosts cache an image by: of its disk alone, or of all its pieces where it has more.
pub(super) fn digest_of(pieces: &[[u8; 32]]) -> String {
    match pieces {
        [disk] => hex::encode(disk),
        pieces => hex::encode(aws_lc_rs::digest::digest(&SHA256, &pieces.concat())),
    }
}
