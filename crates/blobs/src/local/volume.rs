//! The volume files of a directory: which exist, who uses them, and how their space is freed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{space, unusable};
use crate::Volume;
use crate::error::Result;

/// Bytes read at a time while searching for the unused end of a volume.
const SCAN_BYTES: u64 = 1 << 20;

/// An open volume. Readers hold a clone of `file`; writers of blobs without a committed row hold one of `claims`.
#[derive(Clone)]
struct Open {
    file: Arc<File>,
    claims: Arc<()>,
}

/// Keeps a volume from being removed while rows for its new blobs may still be committed.
#[derive(Clone, Debug, Default)]
pub struct Claim(Option<Arc<()>>);

impl Claim {
    /// Holds the volume until the process exits, because it is unknown whether the row was committed.
    pub fn keep(self) {
        std::mem::forget(self.0);
    }
}

/// The open volumes, by number.
pub(super) struct Volumes {
    dir: PathBuf,
    open: RwLock<BTreeMap<i64, Open>>,
    /// The next volume's number. Numbers are never reused: a reader that looked up a location before compaction removed the
    /// volume must not find other bytes there.
    next: AtomicI64,
}

impl Volumes {
    /// Opens every volume in `dir` and frees the unused reserved space of the newest one.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let mut open = BTreeMap::new();
        for entry in std::fs::read_dir(dir).map_err(|e| unusable(dir, &e))? {
            let path = entry.map_err(|e| unusable(dir, &e))?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let Some(number) = number else { continue };
            // Fall back to read-only, so that a damaged or read-only disk can still be read.
            let file = File::options().read(true).write(true).open(&path).or_else(|_| File::open(&path));
            let file = Arc::new(file.map_err(|e| unusable(&path, &e))?);
            open.insert(number, Open { file, claims: Arc::default() });
        }
        if let Some((number, newest)) = open.last_key_value()
            && let Err(error) = give_back_unused_end(&newest.file)
        {
            tracing::warn!(%error, volume = number, "cannot free a volume's unused space; it stays allocated");
        }
        let next = AtomicI64::new(open.last_key_value().map_or(1, |(number, _)| number + 1));
        Ok(Self { dir: dir.to_owned(), open: RwLock::new(open), next })
    }

    pub(super) fn path(&self, number: i64) -> PathBuf {
        self.dir.join(format!("{number:08}.vol"))
    }

    /// Creates an empty volume. Its directory entry is durable when this returns. It is not removed while the claim is held,
    /// although no row refers to it.
    pub(super) fn create(&self) -> io::Result<(i64, Arc<File>, Claim)> {
        let number = self.next.load(Ordering::Acquire);
        let path = self.path(number);
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        let durable = file.sync_all().and_then(|()| File::open(&self.dir)?.sync_all());
        if let Err(error) = durable {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        let file = Arc::new(file);
        let open = Open { file: Arc::clone(&file), claims: Arc::default() };
        let claim = Claim(Some(Arc::clone(&open.claims)));
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(number, open);
        self.next.store(number + 1, Ordering::Release);
        Ok((number, file, claim))
    }

    pub(super) fn get(&self, number: i64) -> Option<Arc<File>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&number).map(|open| Arc::clone(&open.file))
    }

    pub(super) fn claim(&self, number: i64) -> Claim {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        Claim(open.get(&number).map(|open| Arc::clone(&open.claims)))
    }

    /// Returns all volumes except `current`.
    pub(super) fn sealed(&self, current: i64) -> Vec<Volume> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.iter()
            .filter(|(number, _)| **number != current)
            .map(|(number, open)| Volume {
                number: *number,
                bytes: allocated(&open.file),
                claimed: Arc::strong_count(&open.claims) > 1,
            })
            .collect()
    }

    /// Returns the disk space that a volume occupies, in bytes.
    pub(super) fn bytes(&self, number: i64) -> u64 {
        self.get(number).map_or(0, |file| allocated(&file))
    }

    /// Removes a volume; returns false if it is claimed. Readers that have the file open can finish.
    pub(super) fn remove(&self, number: i64) -> io::Result<bool> {
        {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            match open.get(&number) {
                Some(found) if Arc::strong_count(&found.claims) > 1 => return Ok(false),
                _ => open.remove(&number),
            };
        }
        match std::fs::remove_file(self.path(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    }

    /// Frees the space of parts of a volume. Returns false, without effect, while the volume is being read.
    pub(super) fn punch(&self, number: i64, parts: &[Range<u64>]) -> io::Result<bool> {
        // The write lock keeps new readers out.
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = open.get(&number) else { return Ok(true) };
        if Arc::strong_count(&found.file) > 1 {
            return Ok(false);
        }
        let length = found.file.metadata()?.len();
        let punch = |part: &Range<u64>| space::punch(&found.file, part.start, part.end.min(length));
        parts.iter().try_for_each(punch).map(|()| true)
    }
}

fn allocated(file: &File) -> u64 {
    file.metadata().map_or(0, |found| (found.blocks() * 512).min(found.len()))
}

/// Frees the zeros at a file's end without changing its contents. After a crash, reserved space follows the last write. The
/// last write may itself be damaged, so the file is not truncated.
fn give_back_unused_end(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut bytes = vec![0; usize::try_from(SCAN_BYTES).unwrap_or(0)];
    while end > 0 {
        let from = end.saturating_sub(SCAN_BYTES);
        let part = &mut bytes[..usize::try_from(end - from).unwrap_or(0)];
        file.read_exact_at(part, from)?;
        match part.iter().rposition(|byte| *byte != 0) {
            Some(last) => {
                end = from + last as u64 + 1;
                break;
            }
            None => end = from,
        }
    }
    space::punch(file, end.next_multiple_of(4096), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zeros_are_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let file =
            File::options().read(true).write(true).create_new(true).open(dir.path().join("v")).unwrap();
        let reserved = space::grow(&file, 0, 100, space::Claimant::Upload).unwrap();
        file.write_all_at(&[7; 10_000], 0).unwrap();
        let before = std::fs::read(dir.path().join("v")).unwrap();
        give_back_unused_end(&file).unwrap();
        assert_eq!(std::fs::read(dir.path().join("v")).unwrap(), before);
        assert!(reserved == space::GROWTH_BYTES && allocated(&file) < 100_000, "{}", allocated(&file));
    }
}
