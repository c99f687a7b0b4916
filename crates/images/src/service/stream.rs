//! Streams that are hashed and counted while they are read.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use aws_lc_rs::digest::{Context as Hash, SHA256};
use hypervisor::{DiskFormat, Progress, Reader};
use tokio::io::{AsyncRead, ReadBuf};

/// SHA-256 of the bytes that were read from a stream so far.
#[derive(Clone)]
pub(super) struct StreamHash(Arc<Mutex<Hash>>);

impl StreamHash {
    /// Wraps `reader`. Returns the wrapped stream and the hash of the bytes read from it.
    pub(super) fn wrap(reader: Reader, progress: Progress) -> (Reader, Self) {
        let hash = Self(Arc::new(Mutex::new(Hash::new(&SHA256))));
        (Box::pin(HashingReader { reader, progress, hash: hash.clone() }), hash)
    }

    /// Returns the SHA-256 of all bytes read so far.
    pub(super) fn sha256(&self) -> [u8; 32] {
        let hash = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut out = [0; 32];
        out.copy_from_slice(hash.finish().as_ref());
        out
    }
}

struct HashingReader {
    reader: Reader,
    progress: Progress,
    hash: StreamHash,
}

impl AsyncRead for HashingReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.reader.as_mut().poll_read(context, buffer);
        let fresh = &buffer.filled()[before..];
        if !fresh.is_empty() {
            self.hash.0.lock().unwrap_or_else(PoisonError::into_inner).update(fresh);
            self.progress.advance(fresh.len() as u64);
        }
        polled
    }
}

/// Prefix of the data that a digest is computed from. Older images have the SHA-256 of their bytes as digest; no accepted disk
/// starts with this prefix, so the two kinds cannot collide.
const DIGEST_PREFIX: &[u8] = b"nephos image, format and pieces\n";

/// Returns the digest that is an image's key in the hosts' caches. It covers everything that a host stores under the key: the
/// disk's format, its virtual size and every piece with its position. The same bytes registered in another format therefore get
/// another digest.
pub(super) fn digest_of(format: DiskFormat, virtual_bytes: u64, pieces: &[Option<[u8; 32]>; 3]) -> String {
    let mut hash = Hash::new(&SHA256);
    hash.update(DIGEST_PREFIX);
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
    fn a_digest_covers_everything_that_a_host_stores_under_it() {
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
