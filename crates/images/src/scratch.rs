//! Room where images are examined: what a copy may take of the file system that it shares with others.

use std::io;
use std::path::Path;

/// What stays free at least: of a small file system a tenth, of a large one this.
const RESERVE_BYTES_MAX: u64 = 2 << 30;
const RESERVE_DIVISOR: u64 = 10;
/// A copy may need its length again while it is examined.
const LENGTHS: u64 = 2;

/// A file system's room, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What is free to this process.
    pub free: u64,
}

impl Space {
    /// That of the file system that a directory is on.
    ///
    /// # Errors
    /// The system's.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Self { total: bytes(found.f_blocks), free: bytes(found.f_bavail) })
    }

    /// Whether a copy of so many bytes leaves others theirs.
    pub(crate) fn holds(self, length: u64) -> bool {
        let reserve = (self.total / RESERVE_DIVISOR).min(RESERVE_BYTES_MAX);
        length.saturating_mul(LENGTHS).saturating_add(reserve) <= self.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_needs_its_length_twice_and_leaves_a_reserve() {
        let small = |free| Space { total: 1000, free };
        assert!(small(300).holds(100));
        assert!(!small(299).holds(100));
        let large = |free| Space { total: 1 << 40, free };
        assert!(large((2 << 30) + 200).holds(100));
        assert!(!large((2 << 30) + 199).holds(100));
        assert!(!large(u64::MAX >> 1).holds(u64::MAX));
    }
}
