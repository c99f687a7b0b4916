//! Streams that are hashed and counted as they pass.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use aws_lc_rs::digest::{Context as Hash, SHA256};
use hypervisor::{DiskFormat, Progress, Reader};
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

/// What a digest is made of begins so, which no disk does that was taken: images of before were named by the SHA-256 of
/// their bytes.
const DIGEST_OF: &[u8] = b"nephos image, format and pieces\n";

/// The digest that hosts cache an image by: of all that a host keeps under it, which are the disk's format, its size as a
/// guest sees it, and every piece in its place. Whoever registers another's bytes as another format gets another digest.
pub(super) fn digest_of(format: DiskFormat, virtual_bytes: u64, pieces: &[Option<[u8; 32]>; 3]) -> String {
    let mut hash = Hash::new(&SHA256);
    hash.update(DIGEST_OF);
    hash.update(match format {
        DiskFormat::Qcow2 => b"qcow2\n",
        DiskFormat::Raw => b"raw\n",
    });
    hash.update(&virtual_bytes.to_be_bytes());
    for piece in pieces {
        hash.update(&[u8::from(piece.is_some())]);
        hash.update(piece.as_ref().map_or(&[][..], |piece| &piece[..]));
    }
    hex::encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_everything_that_a_host_keeps_under_it() {
        let (a, b) = ([1; 32], [2; 32]);
        let digests = [
            digest_of(DiskFormat::Raw, 512, &[Some(a), None, None]),
            digest_of(DiskFormat::Qcow2, 512, &[Some(a), None, None]),
            digest_of(DiskFormat::Raw, 1024, &[Some(a), None, None]),
            digest_of(DiskFormat::Raw, 512, &[Some(b), None, None]),
            digest_of(DiskFormat::Raw, 512, &[Some(a), Some(b), None]),
            digest_of(DiskFormat::Raw, 512, &[Some(a), None, Some(b)]),
            digest_of(DiskFormat::Raw, 512, &[Some(a), Some(b), Some(b)]),
            hex::encode(a),
        ];
        let distinct: std::collections::HashSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
        assert_eq!(digests[0], digest_of(DiskFormat::Raw, 512, &[Some(a), None, None]));
    }
}
