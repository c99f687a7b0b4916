//! Local files: volumes for small blobs, a file each for large ones.

mod append;
mod read;
mod record;
mod single;

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::{BlobId, Blobs, Location, Reader, Records, Volume, Writer};

/// Blobs in a directory.
pub struct Local {
    appender: append::Appender,
    volumes: Arc<Volumes>,
    singles: single::Singles,
    opened: BlobId,
}

/// The open volumes, by number.
pub(crate) struct Volumes {
    dir: PathBuf,
    open: RwLock<BTreeMap<i64, Arc<File>>>,
}

impl Volumes {
    fn path(&self, number: i64) -> PathBuf {
        self.dir.join(format!("{number:08}.vol"))
    }

    fn get(&self, number: i64) -> Option<Arc<File>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    fn insert(&self, number: i64, file: Arc<File>) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(number, file);
    }
}

impl Local {
    /// Opens the store in `dir`, making it if need be, and finds the end of the volume that was written last.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(dir: &Path) -> Result<Self> {
        Self::with_volumes_of(dir, append::VOLUME_BYTES_MAX)
    }

    /// As [`Local::open`], with volumes that take no more records beyond `volume_bytes_max` bytes.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn with_volumes_of(dir: &Path, volume_bytes_max: u64) -> Result<Self> {
        let volume_dir = dir.join("volumes");
        for made in [&volume_dir, &dir.join("single")] {
            std::fs::create_dir_all(made).map_err(|e| unusable(made, &e))?;
        }
        let volumes = Volumes { dir: volume_dir.clone(), open: RwLock::default() };
        for entry in std::fs::read_dir(&volume_dir).map_err(|e| unusable(&volume_dir, &e))? {
            let path = entry.map_err(|e| unusable(&volume_dir, &e))?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let Some(number) = number else { continue };
            let file = File::options().read(true).write(true).open(&path).map_err(|e| unusable(&path, &e))?;
            volumes.insert(number, Arc::new(file));
        }
        let volumes = Arc::new(volumes);
        let appender = append::Appender::start(Arc::clone(&volumes), volume_bytes_max)?;
        let singles = single::Singles::new(dir.join("single"));
        Ok(Self { appender, volumes, singles, opened: BlobId::new() })
    }
}

fn records(file: &File, number: i64, mut offset: u64, limit: usize) -> std::io::Result<Records> {
    let mut blobs = Vec::new();
    let length = file.metadata()?.len();
    while blobs.len() < limit {
        let mut header = [0; record::HEADER_BYTES];
        if offset + header.len() as u64 > length {
            return Ok(Records { blobs, next: None });
        }
        file.read_exact_at(&mut header, offset)?;
        let Some((id, bytes)) = record::read_header(&header) else {
            return Ok(Records { blobs, next: None });
        };
        let place = i64::try_from(offset).unwrap_or(i64::MAX);
        blobs.push((id, Location { volume: number, offset: place, length: bytes }));
        offset += record::record_bytes(bytes);
    }
    Ok(Records { blobs, next: Some(offset) })
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    Error::Open { path: path.display().to_string(), reason: error.to_string() }
}

#[async_trait]
impl Blobs for Local {
    async fn put(&self, id: BlobId, bytes: Bytes) -> Result<Location> {
        self.appender.append(id, &bytes).await
    }

    async fn create(&self, id: BlobId) -> Result<Box<dyn Writer>> {
        Ok(Box::new(self.singles.create(id)))
    }

    async fn read(&self, id: BlobId, location: Location, range: Range<u64>) -> Result<Box<dyn Reader>> {
        let (file, start) = if location.volume == 0 {
            (Arc::new(self.singles.open(id).await?), 0)
        } else {
            let file =
                self.volumes.get(location.volume).ok_or_else(|| Error::Missing { id: id.to_string() })?;
            let offset = u64::try_from(location.offset).unwrap_or(u64::MAX);
            (file, offset + record::HEADER_BYTES as u64)
        };
        Ok(Box::new(read::BlockReader::new(id, file, start, location.length, range)))
    }

    async fn delete(&self, id: BlobId, location: Location) -> Result<()> {
        if location.volume == 0 { self.singles.remove(id).await } else { Ok(()) }
    }

    fn sealed_volumes(&self) -> Vec<Volume> {
        let current = self.appender.current();
        let open = self.volumes.open.read().unwrap_or_else(PoisonError::into_inner);
        open.iter()
            .filter(|(number, _)| **number != current)
            .map(|(number, file)| Volume { number: *number, bytes: file.metadata().map_or(0, |m| m.len()) })
            .collect()
    }

    async fn records(&self, number: i64, offset: u64, limit: usize) -> Result<Records> {
        let Some(file) = self.volumes.get(number) else { return Ok(Records::default()) };
        let walk = move || records(&file, number, offset, limit);
        read::blocking(walk).await.map_err(|e| Error::io("walking a volume", &e))
    }

    async fn remove_volume(&self, number: i64) -> Result<()> {
        if number == self.appender.current() {
            return Ok(());
        }
        // Readers that hold the file go on reading it.
        self.volumes.open.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        let path = self.volumes.path(number);
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("removing a volume", &error))
            }
            _ => Ok(()),
        }
    }

    async fn older_singles(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobId>> {
        self.singles.list(after, self.opened, limit).await
    }
}
