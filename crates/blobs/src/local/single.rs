//! Large blobs: a file each, data first, then the checksum table.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::read::blocking;
use crate::checksum::Table;
use crate::error::{Error, Result};
use crate::{BlobId, Location, Writer};

/// Pieces on their way to the disk, per upload.
const PIECES_WAITING: usize = 8;

pub(super) struct Singles {
    dir: PathBuf,
}

impl Singles {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Spread over 256 directories by the id's random end, so that none grows without bound.
    fn path(&self, id: BlobId) -> PathBuf {
        self.dir.join(format!("{:02x}", id.0[15])).join(id.to_string())
    }

    pub(super) fn create(&self, id: BlobId) -> SingleWriter {
        let path = self.path(id);
        let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
        let task = tokio::task::spawn_blocking(move || write(&path, receiver));
        SingleWriter { pieces: Some(pieces), task }
    }

    pub(super) async fn open(&self, id: BlobId) -> Result<File> {
        let path = self.path(id);
        blocking(move || File::open(path)).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::Missing { id: id.to_string() },
            _ => Error::io("opening a blob", &error),
        })
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
        // The writing side ended early: its own answer says why.
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

/// Writes pieces until the end is announced; without that, the sender has gone and nothing stays.
fn write(path: &Path, mut pieces: mpsc::Receiver<Piece>) -> Result<u64> {
    let (mut file, dir) = create(path).map_err(|e| Error::io("creating a blob", &e))?;
    let mut table = Table::default();
    let mut length = 0;
    loop {
        let outcome = match pieces.blocking_recv() {
            Some(Piece::Data(bytes)) => {
                table.update(&bytes);
                length += bytes.len() as u64;
                file.write_all(&bytes).map_err(|e| Error::io("writing a blob", &e))
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
        tracing::warn!(%error, path = %path.display(), "a blob without an owner stays until the next sweep");
    }
}

/// The new file, and its directory to be synced once the file is whole.
fn create(path: &Path) -> std::io::Result<(File, File)> {
    let dir = path.parent().unwrap_or(path);
    if let Err(error) = std::fs::create_dir(dir) {
        if error.kind() != std::io::ErrorKind::AlreadyExists {
            return Err(error);
        }
    } else if let Some(above) = dir.parent() {
        File::open(above)?.sync_all()?;
    }
    Ok((File::options().write(true).create_new(true).open(path)?, File::open(dir)?))
}
