//! The images service.

mod import;
mod making;
mod registering;
mod sharing;
mod stream;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use database::{Database, Location};
use hypervisor::{Digest, ImageSource};
use tokio::sync::{Notify, watch};
use uuid::Uuid;
use work::{Clock, RunnerHandle, Time};

pub use import::{Files, Import};
pub use making::NewImage;
pub use registering::Registration;

use crate::inspect::UnsafeImage;
use crate::model::{Id, Image, Page};
use crate::scratch::Space;
use crate::store;
use crate::vault::{Vault, VaultError};

/// Number of pins removed per transaction.
const DISCARD_PAGE: i64 = 100;
/// Number of rows of revoked access deleted per transaction.
const DELETE_PAGE: i64 = 500;
/// How long `changes-since` lists show deleted images and revoked access.
const DELETIONS_SHOWN: Duration = Duration::from_secs(7 * 86_400);
/// A pending pin older than this was left by a request that crashed.
const PINNING_GRACE: Duration = Duration::from_secs(600);
/// Maximum length of a name in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Why an operation on images failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no such image, or the caller must not see it.
    #[error("no such image")]
    NotFound,
    /// The image belongs to another tenant, which shares it.
    #[error("the image belongs to another account")]
    NotOwner,
    /// The image belongs to the operator.
    #[error("the image belongs to the cloud")]
    OwnedByCloud,
    /// The image is still being created.
    #[error("the image is still being saved")]
    InFlight,
    /// A value of the request is invalid.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field of the request.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A limit would be exceeded.
    #[error("{0}")]
    OverLimit(String),
    /// The image was rejected by the check of its bytes.
    #[error("the image was rejected: {0}")]
    Unsafe(#[from] UnsafeImage),
    /// The creation of the image failed, with the reason that its job recorded.
    #[error("{0}")]
    Refused(String),
    /// The bytes could not be stored or read.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The scratch directory has too little free space for the check.
    #[error("the scratch directory has too little free space to check {length} bytes: {free} bytes are free")]
    NoRoom {
        /// The object's length.
        length: u64,
        /// Free bytes.
        free: u64,
    },
    /// A local file could not be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file's path.
        path: String,
        /// The system's error message.
        reason: String,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// The operator's settings for images.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory in which images are checked before they are accepted.
    pub scratch: PathBuf,
    /// Maximum virtual size of an uploaded or imported disk, in bytes.
    pub virtual_bytes_max: u64,
    /// Returns the free space of a directory's file system: [`Space::of`], except in tests.
    pub space: fn(&Path) -> std::io::Result<Space>,
}

/// The images of this cloud.
pub struct Images {
    db: Database,
    clock: Clock,
    vault: Arc<dyn Vault>,
    settings: Settings,
    runner: OnceLock<RunnerHandle>,
    /// Set to `true` to stop running jobs.
    stopping: watch::Sender<bool>,
    /// Notified when a registration has finished.
    finished: Notify,
    /// Held by the job that has a copy in the scratch directory.
    copy_lock: tokio::sync::Mutex<()>,
}

impl Images {
    /// Opens the images' database and deletes the scratch directory.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(
        location: &Location,
        clock: Clock,
        vault: Arc<dyn Vault>,
        settings: Settings,
    ) -> Result<Self, Error> {
        let db = Database::open(location, "images", store::MIGRATIONS).await?;
        if location.is_exclusive() {
            work::jobs::release_all(&db).await?;
        }
        import::remove_scratch(&settings.scratch).await?;
        let (stopping, _) = watch::channel(false);
        Ok(Self {
            db,
            clock,
            vault,
            settings,
            runner: OnceLock::new(),
            stopping,
            finished: Notify::new(),
            copy_lock: tokio::sync::Mutex::default(),
        })
    }

    /// Returns the images that a tenant may use: public ones, its own, and those shared with it. With [`Page::since`] and
    /// [`Page::deleted`], also those that were deleted or revoked in the last seven days.
    ///
    /// # Errors
    /// The database's.
    pub async fn list(&self, tenant: &str, page: Page) -> Result<Vec<Image>, Error> {
        let input = (tenant.to_owned(), page, self.deletions_shown_since());
        let list = self.db.scan(input, |(tenant, page, shown_since), tx| {
            Box::pin(async move { store::page(tx, tenant, *page, *shown_since).await })
        });
        Ok(list.await?)
    }

    /// Returns the time of the last change to what [`Images::list`] returns, deletions included.
    ///
    /// # Errors
    /// The database's.
    pub async fn latest_change(&self, tenant: &str) -> Result<Option<Time>, Error> {
        let latest = self.db.scan(tenant.to_owned(), |tenant, tx| {
            Box::pin(async move { store::latest_change(tx, tenant).await })
        });
        Ok(latest.await?)
    }

    /// Returns the start of the period whose deletions and revocations are shown.
    fn deletions_shown_since(&self) -> Time {
        Time(self.clock.now().0 - i64::try_from(DELETIONS_SHOWN.as_micros()).unwrap_or(0))
    }

    /// Deletes the rows of access that was revoked too long ago to be shown. Called by a sweep.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_old_access(&self) -> Result<(), Error> {
        let before = self.deletions_shown_since();
        let any = self
            .db
            .read(before, |before, tx| Box::pin(async move { store::has_old_access(tx, *before).await }));
        let mut more = any.await?;
        while more {
            let forgotten = self.db.write(before, |before, tx| {
                Box::pin(async move { store::delete_old_access(tx, *before, DELETE_PAGE).await })
            });
            more = forgotten.await? == usize::try_from(DELETE_PAGE).unwrap_or_default();
        }
        Ok(())
    }

    /// Returns an image that a tenant may use.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get(&self, tenant: &str, id: Id) -> Result<Image, Error> {
        let found = self.db.read((tenant.to_owned(), id), |(tenant, id), tx| {
            Box::pin(async move { Ok::<_, Error>(store::visible(tx, tenant, *id).await?) })
        });
        found.await?.ok_or(Error::NotFound)
    }

    /// Returns an image without an access check, for jobs that were authorised when they were accepted.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn by_id(&self, id: Uuid) -> Result<Image, Error> {
        let found =
            self.db.read(id, |id, tx| Box::pin(async move { Ok::<_, Error>(store::by_id(tx, *id).await?) }));
        found.await?.ok_or(Error::NotFound)
    }

    /// Returns an image by either id without an access check, for the operator.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn find(&self, id: Id) -> Result<Image, Error> {
        let found =
            self.db.read(id, |id, tx| Box::pin(async move { Ok::<_, Error>(store::find(tx, *id).await?) }));
        found.await?.ok_or(Error::NotFound)
    }

    /// Returns an image without an access check, even a deleted one: machines created from it still need its boot settings and
    /// digest.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn by_id_or_tombstone(&self, id: Uuid) -> Result<Image, Error> {
        let found = self.db.read(id, |id, tx| {
            Box::pin(async move { Ok::<_, Error>(store::by_id_or_tombstone(tx, *id).await?) })
        });
        found.await?.ok_or(Error::NotFound)
    }

    /// Returns whether an image with this content exists; `None` if there has never been one.
    ///
    /// # Errors
    /// The database's.
    pub async fn has_content(&self, digest: &Digest) -> Result<Option<bool>, Error> {
        let found = self.db.read(digest.to_string(), |digest, tx| {
            Box::pin(async move { store::has_content(tx, digest).await })
        });
        Ok(found.await?)
    }

    /// Returns every image of a server.
    ///
    /// # Errors
    /// The database's.
    pub async fn of_server(&self, server: Uuid) -> Result<Vec<Image>, Error> {
        let list =
            self.db.read(server, |server, tx| Box::pin(async move { store::of_server(tx, *server).await }));
        Ok(list.await?)
    }

    /// Returns every image that is still being created.
    ///
    /// # Errors
    /// The database's.
    pub async fn in_flight(&self) -> Result<Vec<Image>, Error> {
        let list = self.db.scan((), |(), tx| Box::pin(async move { store::in_flight(tx).await }));
        Ok(list.await?)
    }

    /// Opens the streams of an image for a host.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it has no content, and the vault's.
    pub async fn source(&self, image: &Image) -> Result<ImageSource, Error> {
        let content = image.content.as_ref().ok_or(Error::NotFound)?;
        let disk = self.vault.open(&content.disk.pin).await?;
        let kernel = match &content.kernel {
            Some(piece) => Some(self.vault.open(&piece.pin).await?),
            None => None,
        };
        let initrd = match &content.initrd {
            Some(piece) => Some(self.vault.open(&piece.pin).await?),
            None => None,
        };
        Ok(ImageSource { disk, kernel, initrd })
    }

    /// Deletes a tenant's own image. Servers created from it are not affected.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`], [`Error::InFlight`].
    pub async fn delete(&self, tenant: &str, id: Id) -> Result<(), Error> {
        let input = (tenant.to_owned(), id, self.clock.now());
        self.db
            .write(input, |(tenant, id, now), tx| {
                Box::pin(async move {
                    let image = store::visible(tx, tenant, *id).await?.ok_or(Error::NotFound)?;
                    check_owner(&image, tenant)?;
                    if image.status.in_flight() {
                        return Err(Error::InFlight);
                    }
                    Ok(store::delete(tx, &image, *now).await?)
                })
            })
            .await?;
        self.unpin_discarded().await
    }

    /// Returns whether an image of a server is being created.
    ///
    /// # Errors
    /// The database's.
    pub async fn has_image_in_flight(&self, server: Uuid) -> Result<bool, Error> {
        let found = self.db.read(server, |server, tx| {
            Box::pin(async move { store::has_image_in_flight(tx, *server).await })
        });
        Ok(found.await?)
    }

    /// Deletes every image of a server (guide, Delete Server).
    ///
    /// # Errors
    /// The database's and the vault's.
    pub async fn delete_of_server(&self, server: Uuid) -> Result<(), Error> {
        let input = (server, self.clock.now());
        self.db
            .write(input, |(server, now), tx| {
                Box::pin(async move {
                    for image in store::of_server(tx, *server).await? {
                        store::delete(tx, &image, *now).await?;
                    }
                    Ok::<_, Error>(())
                })
            })
            .await?;
        self.unpin_discarded().await
    }

    /// Renames a tenant's own image.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`], [`Error::Invalid`].
    pub async fn rename(&self, tenant: &str, id: Id, name: &str) -> Result<Image, Error> {
        let name = checked_name(name)?;
        self.change_own(tenant, id, move |image| image.name.clone_from(&name)).await
    }

    async fn change_own(
        &self,
        tenant: &str,
        id: Id,
        change: impl Fn(&mut Image) + Send + Sync + 'static,
    ) -> Result<Image, Error> {
        let input = (tenant.to_owned(), id, self.clock.now(), change);
        self.db
            .write(input, |(tenant, id, now, change), tx| {
                Box::pin(async move {
                    let mut image = store::visible(tx, tenant, *id).await?.ok_or(Error::NotFound)?;
                    check_owner(&image, tenant)?;
                    change(&mut image);
                    image.updated = *now;
                    store::update(tx, &image).await?;
                    Ok(image)
                })
            })
            .await
    }

    /// Unpins the bytes of deleted, replaced and rejected images. Those that cannot be unpinned now stay marked for
    /// the next call, so an unavailable vault only delays it.
    ///
    /// # Errors
    /// The database's and the vault's.
    pub async fn unpin_discarded(&self) -> Result<(), Error> {
        self.discard_overdue_pins().await?;
        loop {
            let page = self.db.read((), |(), tx| {
                Box::pin(async move { Ok::<_, Error>(store::discarded(tx, DISCARD_PAGE).await?) })
            });
            let pins = page.await?;
            if pins.is_empty() {
                return Ok(());
            }
            for pin in pins {
                self.vault.unpin(&pin).await?;
                store::remove_discarded(&self.db, &pin).await?;
            }
        }
    }
}

/// Checks that a tenant owns an image. The operator is the tenant with the empty id and owns the images without an owner.
fn check_owner(image: &Image, tenant: &str) -> Result<(), Error> {
    match image.owner.as_deref() {
        owner if owner.unwrap_or_default() == tenant => Ok(()),
        None => Err(Error::OwnedByCloud),
        Some(_) => Err(Error::NotOwner),
    }
}

fn checked_name(name: &str) -> Result<String, Error> {
    let name = name.trim();
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let reason = format!("must have 1 to {NAME_BYTES_MAX} bytes");
        return Err(Error::Invalid { field: "name", reason });
    }
    Ok(name.to_owned())
}
