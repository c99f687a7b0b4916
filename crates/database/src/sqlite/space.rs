//! Space for deletions: a file that reserves some of the disk and is removed when the disk is full.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

/// Size of the file, in bytes.
const RESERVE_BYTES: u64 = 8 << 20;
/// The reserve is released when less than this is free, in bytes.
const LOW_BYTES: u64 = 2 << 20;
/// The reserve is taken again when this much is free, in bytes. The gap to [`LOW_BYTES`] prevents it from being taken and
/// released in turn.
const PLENTY_BYTES: u64 = 4 * RESERVE_BYTES;

/// The reserve of a directory, which all databases in it share.
pub(super) struct Reserve {
    dir: File,
    path: PathBuf,
}

impl Reserve {
    /// Opens a directory's reserve, and takes it now if there is room.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let reserve = Self { dir: File::open(dir)?, path: dir.join("reserve") };
        reserve.take();
        Ok(reserve)
    }

    /// Releases the reserve if the disk is nearly full. Returns whether the disk is nearly full.
    pub(super) fn release_if_low(&self) -> bool {
        let low = self.free().is_some_and(|free| free < LOW_BYTES);
        if low && std::fs::remove_file(&self.path).is_ok() {
            tracing::warn!(
                "the disk is nearly full; released the database's reserve so that deletions still work"
            );
        }
        low
    }

    /// Takes the reserve unless it is held already or there is too little room.
    pub(super) fn take(&self) {
        if self.path.exists() || self.free().is_none_or(|free| free < PLENTY_BYTES) {
            return;
        }
        let take = || {
            let file = File::create(&self.path)?;
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES).map_err(io::Error::from)
        };
        if let Err(error) = take() {
            tracing::debug!(%error, "cannot reserve space for the database; retrying later");
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Whether the reserve is held now.
    pub(super) fn is_held(&self) -> bool {
        self.path.exists()
    }

    fn free(&self) -> Option<u64> {
        let found = rustix::fs::fstatvfs(&self.dir).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_takes_space_and_gives_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::open(dir.path()).unwrap();
        let path = dir.path().join("reserve");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), RESERVE_BYTES);
        assert!(!reserve.release_if_low() && path.exists());
        std::fs::remove_file(&path).unwrap();
        reserve.take();
        assert!(path.exists());
    }
}
