//! Large blobs: one file each, the data followed by the checksum table.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::read::blocking;
use super::space::{self, Claimant};
use crate::checksum::Table;
use crate::error::{Error, Result};
use crate::{BlobId, Location, Writer};

/// Bytes of an upload that are collected and written together.
const WRITTEN_AT_ONCE: usize = 256 << 10;

/// Bytes written between two checks of the free space.
const SPACE_CHECK_BYTES: u64 = 4 << 20;

pub(super) struct Singles {
    dir: PathBuf,
    /// Directory for orphans: files that no row refers to, kept for a while before they are deleted.
    aside: PathBuf,
}

impl Singles {
    /// Opens the files in `dir`; orphans are moved to `aside`.
    pub(super) fn open(dir: PathBuf, aside: PathBuf) -> std::io::Result<Self> {
        // Create and sync all shard directories before the first upload. Otherwise an upload could find a directory that another
        // one just created, and be acknowledged before that directory's own entry is durable.
        let singles = Self { dir, aside };
        for shard in 0..=u8::MAX {
            match std::fs::create_dir(singles.shard(shard)) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        // Sync even if nothing was created: an earlier process may have been killed between creating and syncing.
        File::open(&singles.dir)?.sync_all()?;
        Ok(singles)
    }

    /// Returns a blob's path. Files are spread over 256 directories by the random part of the id.
    fn path(&self, id: BlobId) -> PathBuf {
        self.shard(id.0[15]).join(id.to_string())
    }

    fn shard(&self, shard: u8) -> PathBuf {
        self.dir.join(format!("{shard:02x}"))
    }

    /// Creates an empty file for a new blob.
    pub(super) async fn create(&self, id: BlobId) -> Result<SingleWriter> {
        let path = self.path(id);
        let unfinished = blocking(move || Unfinished::create(path)).await;
        let unfinished = unfinished.map_err(|e| Error::io("creating a blob", &e))?;
        Ok(SingleWriter { state: Writing::Idle(unfinished), waiting: Vec::new(), waiting_bytes: 0 })
    }

    pub(super) async fn open_blob(&self, id: BlobId) -> Result<File> {
        let (path, aside) = (self.path(id), self.aside.join(id.to_string()));
        let open = move || match File::open(&path) {
            // A row does refer to it: its commit's outcome was unknown, or the database was restored from a backup.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::rename(&aside, &path)?;
                tracing::warn!(blob = %id, "a row refers to a blob that was set aside as an orphan; moved it back");
                File::open(&path)
            }
            opened => opened,
        };
        blocking(open).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::Missing { id: id.to_string() },
            _ => Error::io("opening a blob", &error),
        })
    }

    /// Moves a file that no row refers to into the orphan directory.
    pub(super) async fn set_aside(&self, id: BlobId) -> Result<()> {
        let (path, aside) = (self.path(id), self.aside.join(id.to_string()));
        let set_aside = move || {
            // The age of an orphan counts from now, not from when it was written.
            File::options().append(true).open(&path)?.set_modified(std::time::SystemTime::now())?;
            std::fs::rename(&path, &aside)
        };
        match blocking(set_aside).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("setting a blob aside", &error))
            }
            _ => Ok(()),
        }
    }

    /// Lists orphans that were set aside at least `age` ago.
    pub(super) async fn orphans_older_than(&self, age: std::time::Duration) -> Result<Vec<BlobId>> {
        let aside = self.aside.clone();
        let list = move || {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(aside)? {
                let entry = entry?;
                let since = entry.metadata()?.modified()?;
                let old = since.elapsed().is_ok_and(|elapsed| elapsed >= age);
                let name = entry.file_name();
                let id = name.to_str().and_then(|name| uuid::Uuid::try_parse(name).ok());
                found.extend(id.filter(|_| old).map(|id| BlobId(id.into_bytes())));
            }
            Ok(found)
        };
        blocking(list).await.map_err(|e| Error::io("listing the orphaned blobs", &e))
    }

    pub(super) async fn delete_orphan(&self, id: BlobId) -> Result<()> {
        let aside = self.aside.join(id.to_string());
        blocking(move || std::fs::remove_file(aside)).await.map_err(|e| Error::io("removing a blob", &e))
    }

    pub(super) async fn remove(&self, id: BlobId) -> Result<()> {
        let path = self.path(id);
        match blocking(move || std::fs::remove_file(path)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("removing a blob", &error))
            }
            _ => Ok(()),
        }
    }

    /// Returns whether there are no files at all.
    pub(super) fn is_empty(&self) -> bool {
        let Ok(shards) = std::fs::read_dir(&self.dir) else { return false };
        let holds =
            |shard: std::fs::DirEntry| std::fs::read_dir(shard.path()).is_ok_and(|mut e| e.next().is_some());
        !shards.filter_map(std::io::Result::ok).any(holds)
    }

    /// Returns the blobs of one directory that are older than `before`; `None` after the last directory.
    pub(super) async fn list(&self, page: usize, before: BlobId) -> Result<Option<Vec<BlobId>>> {
        let Ok(shard) = u8::try_from(page) else { return Ok(None) };
        let dir = self.shard(shard);
        let list = move || {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(dir)? {
                let name = entry?.file_name();
                let id = name.to_str().and_then(|name| uuid::Uuid::try_parse(name).ok());
                found.extend(id.map(|id| BlobId(id.into_bytes())).filter(|id| *id < before));
            }
            Ok(Some(found))
        };
        blocking(list).await.map_err(|e| Error::io("listing blobs", &e))
    }
}

/// Writes a blob's bytes on blocking threads. A thread is used only during a write, not while waiting for bytes, so any
/// number of uploads in progress leaves threads for reads and other uploads.
pub(super) struct SingleWriter {
    state: Writing,
    /// Pieces not yet passed to a write.
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
}

enum Writing {
    Idle(Unfinished),
    Busy(JoinHandle<std::io::Result<Unfinished>>),
    Failed,
}

impl SingleWriter {
    /// Waits for the current write and returns the file.
    async fn idle(&mut self) -> Result<Unfinished> {
        match std::mem::replace(&mut self.state, Writing::Failed) {
            Writing::Idle(unfinished) => Ok(unfinished),
            Writing::Busy(task) => {
                let written = task.await.map_err(|_| Error::Closing)?;
                written.map_err(|e| Error::io("writing a blob", &e))
            }
            Writing::Failed => Err(Error::Closing),
        }
    }

    fn take_waiting(&mut self) -> Vec<Bytes> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}

#[async_trait]
impl Writer for SingleWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.waiting_bytes += bytes.len();
        self.waiting.push(bytes);
        if self.waiting_bytes >= WRITTEN_AT_ONCE {
            let mut unfinished = self.idle().await?;
            let pieces = self.take_waiting();
            self.state = Writing::Busy(tokio::task::spawn_blocking(move || {
                unfinished.append(&pieces)?;
                Ok(unfinished)
            }));
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Location> {
        let mut unfinished = self.idle().await?;
        let pieces = self.take_waiting();
        let seal = move || {
            unfinished.append(&pieces)?;
            unfinished.seal()
        };
        let length = blocking(seal).await.map_err(|e| Error::io("sealing a blob", &e))?;
        Ok(Location { volume: 0, offset: 0, length })
    }
}

impl Drop for SingleWriter {
    fn drop(&mut self) {
        // If a write is in progress, its thread removes the file afterwards.
        if let Writing::Idle(unfinished) = std::mem::replace(&mut self.state, Writing::Failed)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(unfinished));
        }
    }
}

/// A blob's file that is being written. The file is removed if this is dropped before it is sealed.
struct Unfinished {
    path: PathBuf,
    file: File,
    /// The directory, to be synced once the file is complete.
    dir: File,
    table: Table,
    length: u64,
    /// Length for which free space was last checked, in bytes.
    admitted: u64,
    is_sealed: bool,
}

impl Unfinished {
    fn create(path: PathBuf) -> std::io::Result<Self> {
        let dir = File::open(path.parent().unwrap_or(&path))?;
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Self { path, file, dir, table: Table::default(), length: 0, admitted: 0, is_sealed: false })
    }

    fn append(&mut self, pieces: &[Bytes]) -> std::io::Result<()> {
        for piece in pieces {
            self.table.update(piece);
            self.length += piece.len() as u64;
            if self.length > self.admitted {
                self.admitted = self.length + SPACE_CHECK_BYTES;
                space::admit(&self.file, SPACE_CHECK_BYTES, Claimant::Upload)?;
            }
            self.file.write_all(piece)?;
        }
        Ok(())
    }

    /// Makes the blob durable and returns its length.
    fn seal(mut self) -> std::io::Result<u64> {
        self.file.write_all(&std::mem::take(&mut self.table).finish())?;
        self.file.sync_data()?;
        self.dir.sync_all()?;
        self.is_sealed = true;
        Ok(self.length)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_sealed
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove an incomplete blob; the next orphan check removes it");
        }
    }
}
