//! What images can do.

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

use crate::inspect::Hostile;
use crate::model::{Id, Image, Page};
use crate::scratch::Space;
use crate::store;
use crate::vault::{Vault, VaultError};

/// Pins let go of in one go.
const DISCARD_PAGE: i64 = 100;
/// Rows of lost access that are forgotten in one go.
const FORGET_PAGE: i64 = 500;
/// How long it is told that an image was deleted, or taken again.
const REMEMBERED: Duration = Duration::from_secs(7 * 86_400);
/// What is announced and not made after so long was left by a request that died.
const PINNING_GRACE: Duration = Duration::from_secs(600);
/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 255;

/// Why images refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is none that the caller may see.
    #[error("no such image")]
    NotFound,
    /// The image belongs to someone else, who shares it.
    #[error("the image belongs to another account")]
    NotOwner,
    /// The image is everyone's, and the operator's.
    #[error("the image is the cloud's own")]
    CloudsOwn,
    /// The image is still being made.
    #[error("the image is still being saved")]
    InFlight,
    /// Something given is wrong.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which part of the request.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There would be more than there may be.
    #[error("{0}")]
    OverLimit(String),
    /// The image is not taken.
    #[error("the image is refused: {0}")]
    Hostile(#[from] Hostile),
    /// The image was not taken, as its job said.
    #[error("{0}")]
    Refused(String),
    /// The bytes could not be stored or read.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// There is too little room to examine it now.
    #[error("{length} bytes are too much for the scratch directory's file system now, which has {free} free")]
    NoRoom {
        /// The object's length.
        length: u64,
        /// What is free.
        free: u64,
    },
    /// A local file could not be read or written.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// The database's own.
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// What the operator decides about images.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where images are examined before they are taken.
    pub scratch: PathBuf,
    /// The largest disk that is taken from outside, in bytes.
    pub virtual_bytes_max: u64,
    /// How much room there is: [`Space::of`].
    pub space: fn(&Path) -> std::io::Result<Space>,
}

/// The images of this cloud.
pub struct Images {
    db: Database,
    clock: Clock,
    vault: Arc<dyn Vault>,
    settings: Settings,
    runner: OnceLock<RunnerHandle>,
    halt: watch::Sender<bool>,
    /// An image that was registered came to its end.
    settled: Notify,
    /// Held by whoever has a copy in the scratch directory.
    aside: tokio::sync::Mutex<()>,
}

impl Images {
    /// Opens the database of images.
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
        import::clear(&settings.scratch).await?;
        let (halt, _) = watch::channel(false);
        Ok(Self {
            db,
            clock,
            vault,
            settings,
            runner: OnceLock::new(),
            halt,
            settled: Notify::new(),
            aside: tokio::sync::Mutex::default(),
        })
    }

    /// The images that a tenant may use: everyone's, its own, those shared with it. What is asked for as changed has
    /// deletions of the last seven days in it.
    ///
    /// # Errors
    /// The database's.
    pub async fn list(&self, tenant: &str, page: Page) -> Result<Vec<Image>, Error> {
        let input = (tenant.to_owned(), page, self.remembered());
        let list = self.db.scan(input, |(tenant, page, remembered), tx| {
            Box::pin(async move { store::page(tx, tenant, *page, *remembered).await })
        });
        Ok(list.await?)
    }

    /// When anything changed in what [`Images::list`] answers, deletions included.
    ///
    /// # Errors
    /// The database's.
    pub async fn latest_change(&self, tenant: &str) -> Result<Option<Time>, Error> {
        let latest = self.db.scan(tenant.to_owned(), |tenant, tx| {
            Box::pin(async move { store::latest_change(tx, tenant).await })
        });
        Ok(latest.await?)
    }

    /// What is deleted or taken again since then is told.
    fn remembered(&self) -> Time {
        Time(self.clock.now().0 - i64::try_from(REMEMBERED.as_micros()).unwrap_or(0))
    }

    /// Forgets whom images were taken from so long ago that it is not told any more; for a sweep.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_lost_access(&self) -> Result<(), Error> {
        let before = self.remembered();
        let any = self
            .db
            .read(before, |before, tx| Box::pin(async move { store::has_old_access(tx, *before).await }));
        let mut more = any.await?;
        while more {
            let forgotten = self.db.write(before, |before, tx| {
                Box::pin(async move { store::forget_access(tx, *before, FORGET_PAGE).await })
            });
            more = forgotten.await? == usize::try_from(FORGET_PAGE).unwrap_or_default();
        }
        Ok(())
    }

    /// An image that a tenant may use.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get(&self, tenant: &str, id: Id) -> Result<Image, Error> {
        let found = self.db.read((tenant.to_owned(), id), |(tenant, id), tx| {
            Box::pin(async move { Ok::<_, Error>(store::visible(tx, tenant, *id).await?) })
        });
        found.await?.ok_or(Error::NotFound)
    }

    /// An image whoever asks: for work that was authorised when it was accepted.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn by_id(&self, id: Uuid) -> Result<Image, Error> {
        let found =
            self.db.read(id, |id, tx| Box::pin(async move { Ok::<_, Error>(store::by_id(tx, *id).await?) }));
        found.await?.ok_or(Error::NotFound)
    }

    /// An image by either of its names, whoever asks: for the operator.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn find(&self, id: Id) -> Result<Image, Error> {
        let found =
            self.db.read(id, |id, tx| Box::pin(async move { Ok::<_, Error>(store::find(tx, *id).await?) }));
        found.await?.ok_or(Error::NotFound)
    }

    /// An image whoever asks, also one that was deleted since: a machine made of it still has its boot and digest.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn by_id_or_tombstone(&self, id: Uuid) -> Result<Image, Error> {
        let found = self.db.read(id, |id, tx| {
            Box::pin(async move { Ok::<_, Error>(store::by_id_or_tombstone(tx, *id).await?) })
        });
        found.await?.ok_or(Error::NotFound)
    }

    /// Whether an image with this content is there; none if there never was one here.
    ///
    /// # Errors
    /// The database's.
    pub async fn is_wanted(&self, digest: &Digest) -> Result<Option<bool>, Error> {
        let wanted = self.db.read(digest.to_string(), |digest, tx| {
            Box::pin(async move { store::is_wanted(tx, digest).await })
        });
        Ok(wanted.await?)
    }

    /// Every image made of a server.
    ///
    /// # Errors
    /// The database's.
    pub async fn of_server(&self, server: Uuid) -> Result<Vec<Image>, Error> {
        let list =
            self.db.read(server, |server, tx| Box::pin(async move { store::of_server(tx, *server).await }));
        Ok(list.await?)
    }

    /// Every image that is still being made.
    ///
    /// # Errors
    /// The database's.
    pub async fn in_flight(&self) -> Result<Vec<Image>, Error> {
        let list = self.db.scan((), |(), tx| Box::pin(async move { store::in_flight(tx).await }));
        Ok(list.await?)
    }

    /// The streams of an image, for a host.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it has no content, and the vault's.
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

    /// Deletes an image of the tenant's own. What was made of it keeps running.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`], [`Error::InFlight`].
    pub async fn delete(&self, tenant: &str, id: Id) -> Result<(), Error> {
        let input = (tenant.to_owned(), id, self.clock.now());
        self.db
            .write(input, |(tenant, id, now), tx| {
                Box::pin(async move {
                    let image = store::visible(tx, tenant, *id).await?.ok_or(Error::NotFound)?;
                    owned(&image, tenant)?;
                    if image.status.in_flight() {
                        return Err(Error::InFlight);
                    }
                    Ok(store::delete(tx, &image, *now).await?)
                })
            })
            .await?;
        self.let_go().await
    }

    /// Whether an image of a server is in flight.
    ///
    /// # Errors
    /// The database's.
    pub async fn being_made_of(&self, server: Uuid) -> Result<bool, Error> {
        let found = self
            .db
            .read(server, |server, tx| Box::pin(async move { store::being_made_of(tx, *server).await }));
        Ok(found.await?)
    }

    /// Deletes every image made of a server (guide, Delete Server).
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
        self.let_go().await
    }

    /// Gives an image another name.
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
                    owned(&image, tenant)?;
                    change(&mut image);
                    image.updated = *now;
                    store::update(tx, &image).await?;
                    Ok(image)
                })
            })
            .await
    }

    /// Unpins what deleted and replaced images held, and what was pinned for nothing. Repeated until it succeeds, so a
    /// vault that is away only delays.
    ///
    /// # Errors
    /// The database's and the vault's.
    pub async fn let_go(&self) -> Result<(), Error> {
        self.give_up_overdue().await?;
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
                store::unpinned(&self.db, &pin).await?;
            }
        }
    }
}

/// The operator is the tenant without a name, as the owner of what belongs to no other.
fn owned(image: &Image, tenant: &str) -> Result<(), Error> {
    match image.owner.as_deref() {
        owner if owner.unwrap_or_default() == tenant => Ok(()),
        None => Err(Error::CloudsOwn),
        Some(_) => Err(Error::NotOwner),
    }
}

fn checked_name(name: &str) -> Result<String, Error> {
    let name = name.trim();
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let reason = format!("1 to {NAME_BYTES_MAX} bytes");
        return Err(Error::Invalid { field: "name", reason });
    }
    Ok(name.to_owned())
}
