//! Free space: how volumes grow, and what is held back so that deletions and compaction always have room.

use std::fs::File;
use std::io;

use rustix::fs::FallocateFlags;

/// Space that uploads leave free, in bytes: deletions need some of it in the database, compaction a little more. More than the
/// database's own reserve, so that uploads do not take what the database has given up for deletions.
pub(super) const HELD_BACK_BYTES: u64 = 12 << 20;
/// What compaction leaves free, in bytes: while a reader keeps it from giving space back, deletions still have some.
const COMPACTION_HELD_BACK_BYTES: u64 = 4 << 20;
/// With less than this free, compaction gives space back while it works, in bytes.
const SHORT_BYTES: u64 = 64 << 20;
/// A volume grows in steps of this, so that most syncs need not record a new length, in bytes.
pub(super) const GROWTH_BYTES: u64 = 32 << 20;
/// With little space left a volume grows by what is needed, rounded up to this, in bytes.
const SMALL_GROWTH_BYTES: u64 = 64 << 10;

/// Whether a write may use what is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimant {
    /// A new blob: it may not.
    Upload,
    /// Compaction, which frees more than it uses.
    Compaction,
}

impl Claimant {
    /// What it leaves free, in bytes.
    fn held_back(self) -> u64 {
        match self {
            Self::Upload => HELD_BACK_BYTES,
            Self::Compaction => COMPACTION_HELD_BACK_BYTES,
        }
    }
}

/// The bytes that an unprivileged process may still write where `file` is.
pub(super) fn free_bytes(file: &File) -> io::Result<u64> {
    let found = rustix::fs::fstatvfs(file)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Whether so little space is left that compaction must work in place.
pub(super) fn is_short(free: u64) -> bool {
    free < SHORT_BYTES
}

/// Fails with `StorageFull` if `bytes` more would use what is held back.
pub(super) fn admit(file: &File, bytes: u64, claimant: Claimant) -> io::Result<()> {
    let held_back = claimant.held_back();
    if free_bytes(file)? < held_back.saturating_add(bytes) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

/// Allocates space in `file` from `reserved` on, at least up to `end`, and returns how far it reaches now. A generous step is
/// taken while there is plenty of space; otherwise what is needed.
///
/// # Errors
/// `StorageFull` if it does not fit beside what is held back; nothing is allocated then.
pub(super) fn grow(file: &File, reserved: u64, end: u64, claimant: Claimant) -> io::Result<u64> {
    let free = free_bytes(file)?;
    let wanted = if free > 8 * GROWTH_BYTES {
        end.next_multiple_of(GROWTH_BYTES)
    } else {
        end.next_multiple_of(SMALL_GROWTH_BYTES)
    };
    let held_back = claimant.held_back();
    if free < held_back.saturating_add(wanted - reserved) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), reserved, wanted - reserved) {
        // Not every file system can reserve space; then writing extends the file.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(wanted),
        Err(error) => Err(error.into()),
    }
}

/// Gives the space of a part of a file back; the part reads as zeros then and the file keeps its length. Whole blocks only.
/// File systems that cannot do this keep the space.
pub(super) fn punch(file: &File, from: u64, to: u64) -> io::Result<()> {
    if from >= to {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, to - from)
    {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
