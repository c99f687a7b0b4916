//! The volume files of a directory: which exist, who uses them, and how their space is freed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
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
    /// Bytes that this process has written to it; 0 for a volume of an earlier process.
    written: Arc<AtomicU64>,
}

/// A newly created volume.
pub(super) struct Created {
    pub(super) number: i64,
    pub(super) file: Arc<File>,
    /// The appender stores the volume's length here.
    pub(super) written: Arc<AtomicU64>,
    /// The volume is not removed until this is dropped, although no row refers to it.
    pub(super) claim: Claim,
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
    /// volume must not find other bytes there, and the dead bytes that the database counted in a removed volume must not be
    /// taken for a new one's. [`HIGHEST_FILE`] keeps the highest number across restarts.
    next: AtomicI64,
}

/// The file with the highest number that any volume had.
const HIGHEST_FILE: &str = "highest";
/// Numbers skipped if that file cannot be read: more than the volumes that can have been created since it was lost.
const NUMBERS_LEFT_OUT: i64 = 1 << 20;

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
            open.insert(number, Open { file, claims: Arc::default(), written: Arc::default() });
        }
        if let Some((number, newest)) = open.last_key_value()
            && let Err(error) = give_back_unused_end(&newest.file)
        {
            tracing::warn!(%error, volume = number, "cannot free a volume's unused space; it stays allocated");
        }
        let present = open.last_key_value().map_or(0, |(number, _)| *number);
        let next = AtomicI64::new(present.max(highest_used(dir, present)) + 1);
        Ok(Self { dir: dir.to_owned(), open: RwLock::new(open), next })
    }

    pub(super) fn path(&self, number: i64) -> PathBuf {
        self.dir.join(format!("{number:08}.vol"))
    }

    /// Creates an empty volume. Its directory entry and the use of its number are durable when this returns.
    pub(super) fn create(&self) -> io::Result<Created> {
        let number = self.next.load(Ordering::Acquire);
        let path = self.path(number);
        self.save_highest(number)?;
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        // One sync makes both the volume's directory entry and the renamed number file durable.
        let durable = file.sync_all().and_then(|()| File::open(&self.dir)?.sync_all());
        if let Err(error) = durable {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        let file = Arc::new(file);
        let open = Open { file: Arc::clone(&file), claims: Arc::default(), written: Arc::default() };
        let claim = Claim(Some(Arc::clone(&open.claims)));
        let written = Arc::clone(&open.written);
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(number, open);
        self.next.store(number + 1, Ordering::Release);
        Ok(Created { number, file, written, claim })
    }

    /// Replaces the file with the highest number. The new one is durable once the directory is synced.
    fn save_highest(&self, number: i64) -> io::Result<()> {
        let new = self.dir.join(format!("{HIGHEST_FILE}.new"));
        let mut file = File::create(&new)?;
        file.write_all(format!("{number}\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(new, self.dir.join(HIGHEST_FILE))
    }

    pub(super) fn contains(&self, number: i64) -> bool {
        self.open.read().unwrap_or_else(PoisonError::into_inner).contains_key(&number)
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

    /// Returns how many bytes this process has written to a volume. The current volume occupies more of the disk, since it has
    /// space reserved for future blobs.
    pub(super) fn written(&self, number: i64) -> u64 {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&number).map_or(0, |open| open.written.load(Ordering::Acquire))
    }

    /// Removes a volume, durably; returns false if it is claimed. Readers that have the file open can finish.
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
            _ => File::open(&self.dir)?.sync_all().map(|()| true),
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

/// Returns the highest number that any volume had, if it was saved; `present` is the highest of the existing volumes.
fn highest_used(dir: &Path, present: i64) -> i64 {
    let path = dir.join(HIGHEST_FILE);
    let read = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| format!("{text:?} is no number")),
        // Earlier releases did not save it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return present,
        Err(error) => Err(error.to_string()),
    };
    read.unwrap_or_else(|error: String| {
        tracing::error!(error, path = %path.display(), "cannot read the highest volume number; skipping numbers so that none is reused");
        present + NUMBERS_LEFT_OUT
    })
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

    #[test]
    fn a_new_volume_is_claimed_until_its_first_records_are() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(dir.path()).unwrap();
        let created = volumes.create().unwrap();
        // A task that read the current volume's number before this volume became current sees it as a dead sealed one.
        assert_eq!(volumes.sealed(0).iter().map(|volume| volume.claimed).collect::<Vec<_>>(), [true]);
        assert!(!volumes.remove(created.number).unwrap() && volumes.contains(created.number));
        drop(created.claim);
        assert!(volumes.remove(created.number).unwrap() && !volumes.contains(created.number));
    }
}
