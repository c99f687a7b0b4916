//! Space for deletions: a file that holds some of the disk back and is given up when the disk is full.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

/// What the file takes, in bytes.
const RESERVE_BYTES: u64 = 8 << 20;
/// With less free than this, the reserve is given up, in bytes.
const LOW_BYTES: u64 = 2 << 20;
/// With this much free, the reserve is taken again, in bytes: enough for it not to go back and forth.
const PLENTY_BYTES: u64 = 4 * RESERVE_BYTES;

/// The reserve of a directory, which all databases in it share.
pub(super) struct Reserve {
    dir: File,
    path: PathBuf,
}

impl Reserve {
    /// The reserve of a directory; taken now, if there is room.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let reserve = Self { dir: File::open(dir)?, path: dir.join("reserve") };
        reserve.take();
        Ok(reserve)
    }

    /// Gives the reserve up if the disk is nearly full; whether it is.
    pub(super) fn give_up_if_low(&self) -> bool {
        let low = self.free().is_some_and(|free| free < LOW_BYTES);
        if low && std::fs::remove_file(&self.path).is_ok() {
            tracing::warn!("the disk is full: the database's reserve is given up for deletions");
        }
        low
    }

    /// Takes the reserve unless it is there, or there is little room.
    pub(super) fn take(&self) {
        if self.path.exists() || self.free().is_none_or(|free| free < PLENTY_BYTES) {
            return;
        }
        let take = || {
            let file = File::create(&self.path)?;
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES).map_err(io::Error::from)
        };
        if let Err(error) = take() {
            tracing::debug!(%error, "no space is held back for the database");
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Whether space is held back now.
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
        assert!(!reserve.give_up_if_low() && path.exists());
        std::fs::remove_file(&path).unwrap();
        reserve.take();
        assert!(path.exists());
    }
}
