//! Blobs in local files: volumes for small blobs, one file each for large ones.

mod append;
mod read;
mod record;
mod single;
mod space;
mod volume;

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::{BlobId, Blobs, Location, Reader, Relocated, StoredBlob, Volume, Writer};
pub use record::record_bytes;
pub use volume::Claim;

use space::Claimant;

/// The file that contains the id of the cloud that the directory belongs to.
const CLOUD_FILE: &str = "cloud-id";

/// A blob store in a directory.
pub struct Local {
    dir: PathBuf,
    appender: append::Appender,
    volumes: Arc<volume::Volumes>,
    singles: single::Singles,
    opened: BlobId,
}

impl Local {
    /// Opens the store in `dir` and creates the directory if it is missing. Stored blobs are not modified.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(dir: &Path) -> Result<Self> {
        Self::with_volumes_of(dir, append::VOLUME_BYTES_MAX)
    }

    /// Opens the store as [`Local::open`] does, and seals volumes at `volume_bytes_max` bytes.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn with_volumes_of(dir: &Path, volume_bytes_max: u64) -> Result<Self> {
        let (volumes, singles, aside) = (dir.join("volumes"), dir.join("single"), dir.join("aside"));
        for made in [&volumes, &singles, &aside] {
            create_dirs(made).map_err(|e| unusable(made, &e))?;
        }
        let volumes = Arc::new(volume::Volumes::open(&volumes)?);
        let appender = append::Appender::start(Arc::clone(&volumes), volume_bytes_max)?;
        let singles = single::Singles::open(singles.clone(), aside).map_err(|e| unusable(&singles, &e))?;
        Ok(Self { dir: dir.to_owned(), appender, volumes, singles, opened: BlobId::new() })
    }
}

/// Creates a directory and its missing parents. All new directory entries are durable when this returns.
fn create_dirs(dir: &Path) -> std::io::Result<()> {
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !dir.is_dir() {
        if !above.is_dir() {
            create_dirs(above)?;
        }
        if let Err(error) = std::fs::create_dir(dir)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
    }
    // Sync existing directories too: an earlier process may have been killed between creating and syncing.
    match File::open(above).and_then(|above| above.sync_all()) {
        // Some read-only file systems reject fsync on a directory. Then there is nothing to make durable.
        Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        synced => synced,
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    Error::Open { path: path.display().to_string(), reason: error.to_string() }
}

fn offset_of(location: Location) -> u64 {
    u64::try_from(location.offset).unwrap_or(u64::MAX)
}

#[async_trait]
impl Blobs for Local {
    async fn put(&self, id: BlobId, bytes: Bytes) -> Result<StoredBlob> {
        self.appender.append(record::encode(id, &bytes), bytes.len() as u64, Claimant::Upload).await
    }

    async fn create(&self, id: BlobId) -> Result<Box<dyn Writer>> {
        Ok(Box::new(self.singles.create(id).await?))
    }

    async fn read(&self, id: BlobId, location: Location, range: Range<u64>) -> Result<Box<dyn Reader>> {
        let reader = if location.volume == 0 {
            let file = Arc::new(self.singles.open_blob(id).await?);
            read::BlockReader::single(id, file, location.length, range)
        } else {
            let file =
                self.volumes.get(location.volume).ok_or_else(|| Error::Missing { id: id.to_string() })?;
            read::BlockReader::packed(id, file, offset_of(location), location.length, range)
        };
        Ok(Box::new(reader))
    }

    async fn verify(&self, id: BlobId, location: Location) -> Result<()> {
        if location.volume != 0 {
            let file =
                self.volumes.get(location.volume).ok_or_else(|| Error::Missing { id: id.to_string() })?;
            read::check_header(id, &file, location).await?;
        }
        let mut reader = self.read(id, location, 0..location.length).await?;
        while reader.next().await?.is_some() {}
        Ok(())
    }

    async fn delete(&self, id: BlobId, location: Location) -> Result<()> {
        if location.volume == 0 { self.singles.remove(id).await } else { Ok(()) }
    }

    fn volumes(&self) -> Vec<Volume> {
        self.volumes.sealed(self.appender.current())
    }

    fn current_volume(&self) -> Option<Volume> {
        let number = self.appender.current();
        (number != 0).then(|| Volume { number, bytes: self.volumes.written(number), claimed: true })
    }

    fn has_volume(&self, number: i64) -> bool {
        self.volumes.contains(number)
    }

    async fn seal(&self, number: i64) -> Result<()> {
        self.appender.seal(number).await
    }

    async fn relocate(&self, id: BlobId, from: Location) -> Result<Relocated> {
        let file = self.volumes.get(from.volume).ok_or_else(|| Error::Missing { id: id.to_string() })?;
        read::check_owner(id, &file, from).await?;
        let (data, table) = read::raw(file, from).await?;
        let (record, damaged) = record::encode_with_table(id, &data, &table);
        let placed = self.appender.append(record, from.length, Claimant::Compaction).await?;
        Ok(Relocated { placed, damaged })
    }

    async fn free(&self, volume: i64, parts: Vec<Range<u64>>) -> Result<bool> {
        let volumes = Arc::clone(&self.volumes);
        let punch = move || volumes.punch(volume, &parts);
        read::blocking(punch).await.map_err(|e| Error::io("freeing space in a volume", &e))
    }

    async fn remove_volume(&self, number: i64) -> Result<bool> {
        if number == self.appender.current() {
            return Ok(false);
        }
        let volumes = Arc::clone(&self.volumes);
        read::blocking(move || volumes.remove(number)).await.map_err(|e| Error::io("removing a volume", &e))
    }

    async fn singles_of_earlier_processes(&self, page: usize) -> Result<Option<Vec<BlobId>>> {
        self.singles.list(page, self.opened).await
    }

    async fn set_aside(&self, id: BlobId) -> Result<()> {
        self.singles.set_aside(id).await
    }

    async fn orphans_older_than(&self, age: Duration) -> Result<Vec<BlobId>> {
        self.singles.orphans_older_than(age).await
    }

    async fn delete_orphan(&self, id: BlobId) -> Result<()> {
        self.singles.delete_orphan(id).await
    }

    fn is_short_of_space(&self) -> bool {
        File::open(&self.dir).and_then(|dir| space::free_bytes(&dir)).is_ok_and(space::is_short)
    }

    fn is_empty(&self) -> bool {
        self.volumes.sealed(0).is_empty() && self.singles.is_empty()
    }

    fn cloud(&self) -> Result<Option<String>> {
        let path = self.dir.join(CLOUD_FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(&path, &error)),
        }
    }

    fn set_cloud(&self, id: &str) -> Result<()> {
        let path = self.dir.join(CLOUD_FILE);
        let write = || {
            let new = self.dir.join("cloud-id.new");
            let mut file = File::create(&new)?;
            std::io::Write::write_all(&mut file, format!("{id}\n").as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|e| unusable(&path, &e))
    }

    fn describe(&self) -> String {
        self.dir.display().to_string()
    }
}
