//! Free space for the copies of images that are being checked, on a file system shared with other data.

use std::io;
use std::path::Path;

/// A copy leaves a tenth of the file system free, but at most this many bytes.
const RESERVE_BYTES_MAX: u64 = 2 << 30;
const RESERVE_DIVISOR: u64 = 10;
/// Space that a copy may need while it is checked, in multiples of its length.
const LENGTH_FACTOR: u64 = 2;

/// A file system's size, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its total size.
    pub total: u64,
    /// Bytes that this process may still use.
    pub free: u64,
}

impl Space {
    /// Returns the size of the file system that a directory is on.
    ///
    /// # Errors
    /// Those of `statvfs`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Self { total: bytes(found.f_blocks), free: bytes(found.f_bavail) })
    }

    /// Returns whether a copy of `length` bytes fits and leaves the reserve free.
    pub(crate) fn has_room_for(self, length: u64) -> bool {
        let reserve = (self.total / RESERVE_DIVISOR).min(RESERVE_BYTES_MAX);
        length.saturating_mul(LENGTH_FACTOR).saturating_add(reserve) <= self.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_needs_its_length_twice_and_leaves_a_reserve() {
        let small = |free| Space { total: 1000, free };
        assert!(small(300).has_room_for(100));
        assert!(!small(299).has_room_for(100));
        let large = |free| Space { total: 1 << 40, free };
        assert!(large((2 << 30) + 200).has_room_for(100));
        assert!(!large((2 << 30) + 199).has_room_for(100));
        assert!(!large(u64::MAX >> 1).has_room_for(u64::MAX));
    }
}
