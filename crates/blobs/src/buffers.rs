//! A pool of read buffers. Page faults of a newly allocated 256 KiB buffer cost more than copying into it.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// Length of a buffer and the most that one read returns, in bytes.
pub(crate) const BUFFER_BYTES: usize = 256 << 10;
/// Most buffers kept in the pool.
const KEPT: usize = 64;

static IDLE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A buffer that returns to the pool when the last view of it is dropped.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Takes a buffer of [`BUFFER_BYTES`] from the pool. Its contents are undefined.
    pub(crate) fn take() -> Self {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = idle.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
        Self { bytes, start: 0, end: 0 }
    }

    /// Returns the first `length` bytes, to be overwritten.
    pub(crate) fn space(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[..length]
    }

    /// Turns the buffer into a read-only view of `part`.
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
