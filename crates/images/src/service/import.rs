//! Imports the operator's images from files of this machine, and creates the image for simulated hosts.

use std::path::{Path, PathBuf};

use hypervisor::{DiskFormat, Progress, Reader};
use uuid::Uuid;

use super::making::{new_image, object_name};
use super::stream::{StreamHash, digest_of};
use super::{Error, Images, checked_name};
use crate::inspect::check_file;
use crate::model::{Content, Image, Origin, Piece, Visibility};
use crate::store;
use crate::vault::{Object, Stored};

/// Size of the image for simulated hosts.
const SIMULATED_BYTES: usize = 64 * 1024;

/// Files of this machine.
#[derive(Clone, Debug)]
pub struct Files {
    /// The disk.
    pub disk: PathBuf,
    /// A kernel to boot without a boot loader.
    pub kernel: Option<PathBuf>,
    /// The initial RAM disk for it.
    pub initrd: Option<PathBuf>,
    /// The command line for it.
    pub command_line: Option<String>,
}

/// A public image to be imported.
#[derive(Clone, Debug)]
pub struct Import {
    /// Its name.
    pub name: String,
    /// The declared format; it is never probed.
    pub format: DiskFormat,
    /// Its files.
    pub files: Files,
}

impl Images {
    /// Checks and imports an image. A rejected one leaves nothing behind.
    ///
    /// # Errors
    /// [`Error::Unsafe`] if the image is rejected, [`Error::Invalid`] for the name or an initrd without a kernel,
    /// [`Error::File`] if a file cannot be read, and the vault's.
    pub async fn import(&self, import: Import) -> Result<Image, Error> {
        let name = checked_name(&import.name)?;
        let limit = self.settings.virtual_bytes_max;
        let Files { disk, kernel, initrd, command_line } = import.files;
        if kernel.is_none() && (initrd.is_some() || command_line.is_some()) {
            let reason = "an initrd or a command line needs a kernel".into();
            return Err(Error::Invalid { field: "kernel", reason });
        }
        let virtual_bytes = check_file(&disk, import.format, limit).await?;
        let pieces = [Some(disk), kernel, initrd];
        self.store_files(&name, import.format, virtual_bytes, pieces, command_line).await
    }

    async fn store_files(
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

    /// Stores the bytes and then inserts the image, ACTIVE from the start.
    async fn store_base(
        &self,
        name: &str,
        format: DiskFormat,
        virtual_bytes: u64,
        readers: [Option<Reader>; 3],
        command_line: Option<String>,
    ) -> Result<Image, Error> {
        let mut image = self.new_numbered_image(name).await?;
        let suffix = if format == DiskFormat::Raw { "raw" } else { "qcow2" };
        let (mut hashes, mut stored) = ([None; 3], [const { None }; 3]);
        for (((reader, suffix), piece), digest) in
            readers.into_iter().zip([suffix, "kernel", "initrd"]).zip(&mut stored).zip(&mut hashes)
        {
            let Some(reader) = reader else { continue };
            let (reader, hash) = StreamHash::wrap(reader, Progress::new());
            let object = Object { owner: None, name: object_name(&image, suffix) };
            let Stored { pin, bytes } = self.vault.put(&object, reader).await?;
            *piece = Some(Piece { pin, bytes });
            *digest = Some(hash.sha256());
        }
        let [Some(disk), kernel, initrd] = stored else { return Err(Error::NotFound) };
        let digest = digest_of(format, virtual_bytes, &hashes).parse().map_err(|_| Error::NotFound)?;
        let content = Content { digest, format, virtual_bytes, disk, kernel, initrd, command_line };
        (image.origin, image.visibility) = (Origin::Base, Visibility::Public);
        self.insert(image, content).await
    }

    async fn new_numbered_image(&self, name: &str) -> Result<Image, Error> {
        let mut image = new_image(Uuid::new_v4(), name, self.clock.now());
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

    /// Returns the first image of the operator; creates the image for simulated hosts if there is none.
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
    Ok(Box::pin(tokio::fs::File::open(path).await.map_err(|error| file_error(path, &error))?))
}

pub(super) fn file_error(path: &Path, error: &std::io::Error) -> Error {
    Error::File { path: path.display().to_string(), reason: error.to_string() }
}

/// Path of a new file in the scratch directory. The file is deleted on drop.
pub(super) struct ScratchFile(pub(super) PathBuf);

impl ScratchFile {
    pub(super) async fn new(scratch: &Path) -> Result<Self, Error> {
        tokio::fs::create_dir_all(scratch).await.map_err(|error| file_error(scratch, &error))?;
        Ok(Self(scratch.join(Uuid::new_v4().to_string())))
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Deletes the scratch directory, which may hold files of a process that crashed. No other process uses it.
pub(super) async fn remove_scratch(scratch: &Path) -> Result<(), Error> {
    match tokio::fs::remove_dir_all(scratch).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file_error(scratch, &error)),
        _ => Ok(()),
    }
}
