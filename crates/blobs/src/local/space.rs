//! Free space: how volumes grow, and how much is reserved so that deletions and compaction can always proceed.

use std::fs::File;
use std::io;

use rustix::fs::FallocateFlags;

/// Space that uploads must leave free, in bytes. Deletions need some of it for the database, and compaction a little more.
/// It exceeds the database's own reserve, so that uploads cannot use space that the database released for deletions.
pub(super) const HELD_BACK_BYTES: u64 = 12 << 20;
/// Space that compaction must leave free for deletions while a reader keeps it from freeing any, in bytes.
const COMPACTION_HELD_BACK_BYTES: u64 = 4 << 20;
/// Below this free space compaction frees space while it runs, in bytes.
const SHORT_BYTES: u64 = 64 << 20;
/// Step by which volumes grow, so that most fsyncs need not write a new file length, in bytes.
pub(super) const GROWTH_BYTES: u64 = 32 << 20;
/// When space is low, a volume grows by what is needed, rounded up to this, in bytes.
const SMALL_GROWTH_BYTES: u64 = 64 << 10;

/// Who writes, which decides whether reserved space may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimant {
    /// A new blob, which may not use reserved space.
    Upload,
    /// Compaction, which frees more than it uses.
    Compaction,
}

impl Claimant {
    /// Returns the space to leave free, in bytes.
    fn held_back(self) -> u64 {
        match self {
            Self::Upload => HELD_BACK_BYTES,
            Self::Compaction => COMPACTION_HELD_BACK_BYTES,
        }
    }
}

/// Returns the bytes that an unprivileged process may still write to the file system of `file`.
pub(super) fn free_bytes(file: &File) -> io::Result<u64> {
    let found = rustix::fs::fstatvfs(file)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Returns whether compaction must free space while it runs.
pub(super) fn is_short(free: u64) -> bool {
    free < SHORT_BYTES
}

/// Fails with `StorageFull` if writing `bytes` more would use reserved space.
pub(super) fn admit(file: &File, bytes: u64, claimant: Claimant) -> io::Result<()> {
    let held_back = claimant.held_back();
    if free_bytes(file)? < held_back.saturating_add(bytes) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

/// Allocates space in `file` from `reserved` to at least `end` and returns the new end of the allocation. Allocates a whole
/// growth step if space is plentiful, otherwise only what is needed.
///
/// # Errors
/// `StorageFull` if that would use reserved space; then nothing is allocated.
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
        // Some file systems cannot preallocate. There, writing extends the file.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(wanted),
        Err(error) => Err(error.into()),
    }
}

/// Frees the disk space of a part of a file. The part then reads as zeros and the file keeps its length. Only whole blocks
/// are freed. Does nothing on file systems without hole punching.
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
