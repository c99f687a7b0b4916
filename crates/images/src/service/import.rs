//! The operator's own images: files of this machine, and the one that simulated hosts start with.

use std::path::{Path, PathBuf};

use hypervisor::{DiskFormat, Progress, Reader};
use uuid::Uuid;

use super::making::{blank, object_name};
use super::stream::{Tally, digest_of};
use super::{Error, Images, checked_name};
use crate::inspect::examine;
use crate::model::{Content, Image, Origin, Piece, Visibility};
use crate::store;
use crate::vault::{Object, Stored};

/// The size of the image that simulated hosts start with.
const SIMULATED_BYTES: usize = 64 * 1024;

/// Files of this machine.
#[derive(Clone, Debug)]
pub struct Files {
    /// The disk.
    pub disk: PathBuf,
    /// A kernel to boot without a loader.
    pub kernel: Option<PathBuf>,
    /// The initial RAM disk for it.
    pub initrd: Option<PathBuf>,
    /// The command line for it.
    pub command_line: Option<String>,
}

/// An image to be taken in, for everyone.
#[derive(Clone, Debug)]
pub struct Import {
    /// Its name.
    pub name: String,
    /// What it is said to be; it is never probed.
    pub format: DiskFormat,
    /// Where it comes from.
    pub files: Files,
}

impl Images {
    /// Takes an image in once it is shown to be harmless. A refused one leaves nothing behind.
    ///
    /// # Errors
    /// [`Error::Hostile`] says why it is refused; [`Error::Invalid`], [`Error::File`] and the vault's.
    pub async fn import(&self, import: Import) -> Result<Image, Error> {
        let name = checked_name(&import.name)?;
        let limit = self.settings.virtual_bytes_max;
        let Files { disk, kernel, initrd, command_line } = import.files;
        if kernel.is_none() && (initrd.is_some() || command_line.is_some()) {
            let reason = "initrd and command line go with a kernel".into();
            return Err(Error::Invalid { field: "kernel", reason });
        }
        let virtual_bytes = examine(&disk, import.format, limit).await?;
        let pieces = [Some(disk), kernel, initrd];
        self.take_files(&name, import.format, virtual_bytes, pieces, command_line).await
    }

    async fn take_files(
        &self,
        name: &str,
        format: DiskFormat,
        virtual_bytes: u64,
        pieces: [Option<PathBuf>; 3],
        command_line: Option<String>,
    ) -> Result<Image, Error> {
        let mut readers = [const { None }; 3];
        for (reader, path) in readers.iter_mut().zip(&pieces) {
            if let Some(path) = path {
                *reader = Some(open(path).await?);
            }
        }
        self.store_base(name, format, virtual_bytes, readers, command_line).await
    }

    /// Stores the bytes and then makes the row, ACTIVE from the start.
    async fn store_base(
        &self,
        name: &str,
        format: DiskFormat,
        virtual_bytes: u64,
        readers: [Option<Reader>; 3],
        command_line: Option<String>,
    ) -> Result<Image, Error> {
        let mut image = self.numbered(name).await?;
        let suffix = if format == DiskFormat::Raw { "raw" } else { "qcow2" };
        let (mut hashes, mut stored) = ([None; 3], [const { None }; 3]);
        for (((reader, suffix), piece), hash) in
            readers.into_iter().zip([suffix, "kernel", "initrd"]).zip(&mut stored).zip(&mut hashes)
        {
            let Some(reader) = reader else { continue };
            let (reader, tally) = Tally::over(reader, Progress::new());
            let object = Object { owner: None, name: object_name(&image, suffix) };
            let Stored { pin, bytes } = self.vault.put(&object, reader).await?;
            *piece = Some(Piece { pin, bytes });
            *hash = Some(tally.sha256());
        }
        let [Some(disk), kernel, initrd] = stored else { return Err(Error::NotFound) };
        let digest = digest_of(format, virtual_bytes, &hashes).parse().map_err(|_| Error::NotFound)?;
        let content = Content { digest, format, virtual_bytes, disk, kernel, initrd, command_line };
        (image.origin, image.visibility) = (Origin::Base, Visibility::Public);
        self.insert(image, content).await
    }

    async fn numbered(&self, name: &str) -> Result<Image, Error> {
        let mut image = blank(Uuid::new_v4(), name, self.clock.now());
        let number = self.db.write((), |(), tx| Box::pin(async move { store::next_number(tx).await }));
        image.number = number.await?;
        Ok(image)
    }

    async fn insert(&self, image: Image, content: Content) -> Result<Image, Error> {
        let id = image.id;
        let inserted = self.db.write(image, |image, tx| {
            Box::pin(async move {
                store::insert(tx, image).await?;
                store::grant(tx, image.id, store::EVERYONE, image.created).await
            })
        });
        inserted.await?;
        self.activate(id, content).await
    }

    /// Makes the image that a cloud of simulated hosts starts with, unless there is one for everyone already.
    ///
    /// # Errors
    /// The vault's and the database's.
    pub async fn ensure_simulated_image(&self) -> Result<Image, Error> {
        let found =
            self.db.read((), |(), tx| Box::pin(async move { Ok::<_, Error>(store::first_base(tx).await?) }));
        if let Some(image) = found.await? {
            return Ok(image);
        }
        let disk: Reader = Box::pin(std::io::Cursor::new(vec![0; SIMULATED_BYTES]));
        let readers = [Some(disk), None, None];
        self.store_base("Simulated", DiskFormat::Raw, SIMULATED_BYTES as u64, readers, None).await
    }
}

async fn open(path: &Path) -> Result<Reader, Error> {
    Ok(Box::pin(tokio::fs::File::open(path).await.map_err(|error| failed(path, &error))?))
}

pub(super) fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::File { path: path.display().to_string(), reason: error.to_string() }
}

/// A file of its own in the scratch directory, gone when dropped.
pub(super) struct Aside(pub(super) PathBuf);

impl Aside {
    pub(super) async fn new(scratch: &Path) -> Result<Self, Error> {
        tokio::fs::create_dir_all(scratch).await.map_err(|error| failed(scratch, &error))?;
        Ok(Self(scratch.join(Uuid::new_v4().to_string())))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Removes what a process that died left in the scratch directory, which is this one's alone.
pub(super) async fn clear(scratch: &Path) -> Result<(), Error> {
    match tokio::fs::remove_dir_all(scratch).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(scratch, &error)),
        _ => Ok(()),
    }
}
