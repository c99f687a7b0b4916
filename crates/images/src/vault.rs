//! Where images' bytes are kept: pinned versions of objects.

use std::path::PathBuf;

use async_trait::async_trait;
use hypervisor::Reader;
use tokio::io::AsyncWriteExt;

/// An object that an image is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Whose account; none for the operator's own.
    pub owner: Option<String>,
    /// Its name in the account's container of images, unique to image and piece.
    pub name: String,
}

/// A pinned version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The vault's name for it.
    pub pin: String,
    /// Its length.
    pub bytes: u64,
}

/// Why the vault failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VaultError {
    /// No such object or version.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The account has no room or may not be written to.
    #[error("refused: {0}")]
    Refused(String),
    /// Anything else.
    #[error("the image store failed: {0}")]
    Failed(String),
}

/// Object storage as images need it. A pinned version stays readable until it is unpinned, whatever becomes of the
/// object.
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// Stores a stream and pins the version. Doing it again under the same name replaces what an interrupted
    /// attempt left, its pin included.
    async fn put(&self, object: &Object, bytes: Reader) -> Result<Stored, VaultError>;

    /// Pins the present version of an object that its owner put there, under this name.
    async fn pin(&self, pin: &str, owner: &str, container: &str, object: &str) -> Result<Stored, VaultError>;

    /// Reads a pinned version from its beginning.
    async fn open(&self, pin: &str) -> Result<Reader, VaultError>;

    /// Lets go of a version; well if it is not pinned.
    async fn unpin(&self, pin: &str) -> Result<(), VaultError>;
}

/// A directory as vault, for tests: objects in folders by owner, every pin a file of its own.
pub struct Directory(PathBuf);

impl Directory {
    /// In `root`, which is made when it is needed.
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
