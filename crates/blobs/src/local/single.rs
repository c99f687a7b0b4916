//! Large blobs: one file each, the data followed by the checksum table.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::read::blocking;
use super::space::{self, Claimant};
use crate::checksum::Table;
use crate::error::{Error, Result};
use crate::{BlobId, Location, Writer};

/// Pieces queued for writing, per upload.
const PIECES_WAITING: usize = 8;

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
        for shard in 0..=u8::MAX {
            match std::fs::create_dir(dir.join(format!("{shard:02x}"))) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        // Sync even if nothing was created: an earlier process may have been killed between creating and syncing.
        File::open(&dir)?.sync_all()?;
        Ok(Self { dir, aside })
    }

    /// Returns a blob's path. Files are spread over 256 directories by the random part of the id.
    fn path(&self, id: BlobId) -> PathBuf {
        self.dir.join(format!("{:02x}", id.0[15])).join(id.to_string())
    }

    pub(super) fn create(&self, id: BlobId) -> SingleWriter {
        let path = self.path(id);
        let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
        let task = tokio::task::spawn_blocking(move || write(&path, receiver));
        SingleWriter { pieces: Some(pieces), task }
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
    pub(super) async fn aside_for(&self, age: std::time::Duration) -> Result<Vec<BlobId>> {
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

    pub(super) async fn remove_aside(&self, id: BlobId) -> Result<()> {
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

    pub(super) async fn list(
        &self,
        after: Option<BlobId>,
        before: BlobId,
        limit: usize,
    ) -> Result<Vec<BlobId>> {
        let dir = self.dir.clone();
        let list = move || {
            let mut found = Vec::new();
            for shard in std::fs::read_dir(dir)? {
                let shard = shard?.path();
                if !shard.is_dir() {
                    continue;
                }
                for entry in std::fs::read_dir(shard)? {
                    let name = entry?.file_name();
                    let id = name.to_str().and_then(|name| uuid::Uuid::try_parse(name).ok());
                    let Some(id) = id.map(|id| BlobId(id.into_bytes())) else { continue };
                    if id < before && after.is_none_or(|after| id > after) {
                        found.push(id);
                    }
                }
            }
            found.sort_unstable();
            found.truncate(limit);
            Ok(found)
        };
        blocking(list).await.map_err(|e| Error::io("listing blobs", &e))
    }
}

pub(super) struct SingleWriter {
    pieces: Option<mpsc::Sender<Piece>>,
    task: JoinHandle<Result<u64>>,
}

enum Piece {
    Data(Bytes),
    End,
}

#[async_trait]
impl Writer for SingleWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let sent = match &self.pieces {
            Some(pieces) => pieces.send(Piece::Data(bytes)).await.is_ok(),
            None => false,
        };
        if sent {
            return Ok(());
        }
        // The writing thread ended early; its result has the reason.
        self.pieces = None;
        let outcome = (&mut self.task).await;
        Err(outcome.map_or(Error::Closing, |written| written.err().unwrap_or(Error::Closing)))
    }

    async fn finish(mut self: Box<Self>) -> Result<Location> {
        if let Some(pieces) = self.pieces.take() {
            let _ = pieces.send(Piece::End).await;
        }
        let length = (&mut self.task).await.unwrap_or(Err(Error::Closing))?;
        Ok(Location { volume: 0, offset: 0, length })
    }
}

/// Writes pieces until the sender marks the end. If the sender is dropped before that, the file is removed.
fn write(path: &Path, mut pieces: mpsc::Receiver<Piece>) -> Result<u64> {
    let (mut file, dir) = create(path).map_err(|e| Error::io("creating a blob", &e))?;
    let mut table = Table::default();
    let (mut length, mut admitted) = (0, 0);
    loop {
        let outcome = match pieces.blocking_recv() {
            Some(Piece::Data(bytes)) => {
                table.update(&bytes);
                length += bytes.len() as u64;
                let mut room = Ok(());
                if length > admitted {
                    admitted = length + SPACE_CHECK_BYTES;
                    room = space::admit(&file, SPACE_CHECK_BYTES, Claimant::Upload);
                }
                room.and_then(|()| file.write_all(&bytes)).map_err(|e| Error::io("writing a blob", &e))
            }
            Some(Piece::End) => {
                let seal = |file: &mut File| {
                    file.write_all(&table.finish())?;
                    file.sync_data()?;
                    dir.sync_all()
                };
                let sealed = seal(&mut file).map_err(|e| Error::io("sealing a blob", &e));
                return sealed.map(|()| length).inspect_err(|_| discard(path));
            }
            None => Err(Error::Closing),
        };
        if let Err(error) = outcome {
            discard(path);
            return Err(error);
        }
    }
}

fn discard(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(%error, path = %path.display(), "cannot remove an incomplete blob; the next orphan check removes it");
    }
}

/// Creates the file and returns it with its directory, which is synced once the file is complete.
fn create(path: &Path) -> std::io::Result<(File, File)> {
    let dir = File::open(path.parent().unwrap_or(path))?;
    Ok((File::options().write(true).create_new(true).open(path)?, dir))
}
