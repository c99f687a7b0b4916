//! Read buffers that are used again: a fresh quarter of a mebibyte costs more in page faults than its copy.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// A buffer's length: what one read takes, in bytes.
pub(crate) const BUFFER_BYTES: usize = 256 << 10;
/// Buffers kept.
const KEPT: usize = 64;

static IDLE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A buffer that goes back to the pool when the last view of it is dropped.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// One of [`BUFFER_BYTES`], with old content.
    pub(crate) fn take() -> Self {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = idle.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
        Self { bytes, start: 0, end: 0 }
    }

    /// Its first `length` bytes, to be filled.
    pub(crate) fn space(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[..length]
    }

    /// A view of a part.
    pub(crate) fn view(mut self, part: std::ops::Range<usize>) -> Bytes {
        (self.start, self.end) = (part.start, part.end);
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(bytes);
        }
    }
}
