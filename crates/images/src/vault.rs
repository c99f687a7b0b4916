//! Storage of images' bytes as pinned versions of objects.

use std::path::PathBuf;

use async_trait::async_trait;
use hypervisor::Reader;
use tokio::io::AsyncWriteExt;

/// An object that an image is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The tenant whose account it is in; `None` for the operator's account.
    pub owner: Option<String>,
    /// Its name in the account's container of images, unique for each piece of each image.
    pub name: String,
}

/// A pinned version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The vault's id of it.
    pub pin: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Why an operation of the vault failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VaultError {
    /// The object or the version does not exist.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The account is over its quota or must not be written to.
    #[error("refused: {0}")]
    Refused(String),
    /// Anything else.
    #[error("the image store failed: {0}")]
    Failed(String),
}

/// The object storage that images need. A pinned version stays readable until it is unpinned, even if the object is
/// overwritten or deleted.
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// Stores a stream as an object and pins its version. Idempotent: a retry under the same name replaces the object and the
    /// pin of an interrupted attempt.
    ///
    /// # Errors
    /// [`VaultError::Refused`] if the account must not be written to, [`VaultError::Failed`] for any other failure.
    async fn put(&self, object: &Object, bytes: Reader) -> Result<Stored, VaultError>;

    /// Pins the current version of an object that a tenant uploaded. The caller chooses the id of the pin.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] if there is no such object.
    async fn pin(&self, pin: &str, owner: &str, container: &str, object: &str) -> Result<Stored, VaultError>;

    /// Opens a pinned version for reading from the start.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] if it is not pinned.
    async fn open(&self, pin: &str) -> Result<Reader, VaultError>;

    /// Unpins a version. Idempotent: succeeds if it is not pinned.
    async fn unpin(&self, pin: &str) -> Result<(), VaultError>;
}

/// A vault in a directory, for tests: one folder of objects per owner, and one file per pin.
pub struct Directory(PathBuf);

impl Directory {
    /// Returns a vault in `root`, which is created when the first object is stored.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    fn file(&self, pin: &str) -> Result<PathBuf, VaultError> {
        if pin.contains('/') || pin.starts_with('.') {
            return Err(VaultError::NotFound(pin.to_owned()));
        }
        Ok(self.0.join("pins").join(pin))
    }

    async fn write(&self, pin: String, mut bytes: Reader) -> Result<Stored, VaultError> {
        let failed = |error: std::io::Error| VaultError::Failed(error.to_string());
        let file = self.file(&pin)?;
        tokio::fs::create_dir_all(self.0.join("pins")).await.map_err(failed)?;
        let mut out = tokio::fs::File::create(file).await.map_err(failed)?;
        let length = tokio::io::copy(&mut bytes, &mut out).await.map_err(failed)?;
        out.flush().await.map_err(failed)?;
        Ok(Stored { pin, bytes: length })
    }
}

#[async_trait]
impl Vault for Directory {
    async fn put(&self, object: &Object, bytes: Reader) -> Result<Stored, VaultError> {
        let owner = object.owner.as_deref().unwrap_or("operator");
        let name = object.name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.', "_");
        self.write(format!("{owner}-{name}"), bytes).await
    }

    async fn pin(&self, pin: &str, owner: &str, container: &str, object: &str) -> Result<Stored, VaultError> {
        if [container, object].iter().any(|name| name.split('/').any(|part| part == "..")) {
            return Err(VaultError::NotFound(format!("{container}/{object}")));
        }
        let path = self.0.join(owner).join(container).join(object);
        let missing = |_| VaultError::NotFound(format!("{container}/{object}"));
        let source = tokio::fs::File::open(path).await.map_err(missing)?;
        self.write(pin.to_owned(), Box::pin(source)).await
    }

    async fn open(&self, pin: &str) -> Result<Reader, VaultError> {
        let missing = |_| VaultError::NotFound(pin.to_owned());
        Ok(Box::pin(tokio::fs::File::open(self.file(pin)?).await.map_err(missing)?))
    }

    async fn unpin(&self, pin: &str) -> Result<(), VaultError> {
        match tokio::fs::remove_file(self.file(pin)?).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(VaultError::Failed(error.to_string()))
            }
            _ => Ok(()),
        }
    }
}
