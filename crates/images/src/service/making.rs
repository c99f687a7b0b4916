//! Creates an image from a server: QUEUED, PREPARING, SAVING, then ACTIVE or FAILED.

use database::Tx;
use hypervisor::{DiskFormat, Progress, Snapshot};
use uuid::Uuid;
use work::Time;

use super::stream::{StreamHash, digest_of};
use super::{Error, Images, checked_name};
use crate::model::{Content, Image, Origin, Piece, Status, Visibility, gib};
use crate::store;
use crate::vault::Object;

/// An image to be created from a server.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// Chosen by the caller, so that a retry refers to the same image.
    pub id: Uuid,
    /// The tenant.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// The server's ids in v2 and in v1.0.
    pub server: (Uuid, i64),
    /// Whether it was requested or by which schedule it is created.
    pub origin: Origin,
}

impl Images {
    /// Inserts a QUEUED image of a server. Idempotent: returns the existing image if there is one with this id.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name is invalid; [`Error::NotFound`] if the image existed and was deleted.
    pub async fn begin(&self, new: NewImage) -> Result<Image, Error> {
        let name = checked_name(&new.name)?;
        let input = (new, name, self.clock.now());
        self.db
            .write(input, |(new, name, now), tx| {
                Box::pin(async move {
                    if store::ever_existed(tx, new.id).await? {
                        return store::by_id(tx, new.id).await?.ok_or(Error::NotFound);
                    }
                    let mut image = new_image(new.id, name, *now);
                    image.number = store::next_number(tx).await?;
                    image.owner = Some(new.owner.clone());
                    image.server = Some(new.server);
                    image.origin = new.origin;
                    store::insert(tx, &image).await?;
                    Ok(image)
                })
            })
            .await
    }

    /// Sets the status and progress of an image that is being created. Has no effect on a finished one.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn advance(&self, id: Uuid, status: Status, progress: u8) -> Result<(), Error> {
        self.change(id, move |image| {
            let moves = image.status.in_flight() && (image.status, image.progress) != (status, progress);
            if moves {
                (image.status, image.progress) = (status, progress);
            }
            moves
        })
        .await
    }

    /// Sets an image that is being created to FAILED. Has no effect on a finished one.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn fail(&self, id: Uuid, reason: &str) -> Result<(), Error> {
        let reason = reason.to_owned();
        self.change(id, move |image| {
            let moves = image.status.in_flight();
            if moves {
                image.status = Status::Failed;
                image.reason = Some(reason.clone());
            }
            moves
        })
        .await
    }

    pub(super) async fn change(
        &self,
        id: Uuid,
        change: impl Fn(&mut Image) -> bool + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let input = (id, change, self.clock.now());
        self.db
            .write(input, |(id, change, now), tx| {
                Box::pin(async move {
                    let mut image = store::by_id(tx, *id).await?.ok_or(Error::NotFound)?;
                    if change(&mut image) {
                        image.updated = *now;
                        store::update(tx, &image).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Stores a snapshot's bytes in the owner's account and sets the image to ACTIVE. The images that it replaces are deleted
    /// in the same transaction. `progress` counts the bytes stored.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the image was deleted meanwhile, and the vault's.
    pub async fn save(&self, id: Uuid, snapshot: Snapshot, progress: &Progress) -> Result<Image, Error> {
        let image = self.by_id(id).await?;
        if image.status == Status::Active {
            return Ok(image);
        }
        progress.begin(snapshot.size_bytes);
        let (reader, hash) = StreamHash::wrap(snapshot.reader, progress.clone());
        let object = Object { owner: image.owner.clone(), name: object_name(&image, "qcow2") };
        let stored = self.vault.put(&object, reader).await?;
        let pieces = [Some(hash.sha256()), None, None];
        let digest = digest_of(DiskFormat::Qcow2, snapshot.virtual_bytes, &pieces)
            .parse()
            .map_err(|_| Error::NotFound)?;
        let content = Content {
            digest,
            format: DiskFormat::Qcow2,
            virtual_bytes: snapshot.virtual_bytes,
            disk: Piece { pin: stored.pin, bytes: stored.bytes },
            kernel: None,
            initrd: None,
            command_line: None,
        };
        self.activate(id, content).await
    }

    /// Sets an image's content and status ACTIVE. If it was deleted while its bytes were being stored, they are unpinned.
    pub(super) async fn activate(&self, id: Uuid, content: Content) -> Result<Image, Error> {
        let input = (id, content, self.clock.now());
        let activated =
            self.db.write(input, |(id, content, now), tx| Box::pin(set_content(tx, *id, content, *now)));
        let activated = activated.await?;
        if let Err(error) = self.unpin_discarded().await {
            tracing::warn!(%error, "cannot unpin the bytes of replaced images; the next sweep retries");
        }
        activated.ok_or(Error::NotFound)
    }
}

/// Sets an image's content and status ACTIVE. Returns `None` and marks the bytes for unpinning if the image was deleted.
pub(super) async fn set_content(
    tx: &mut Tx,
    id: Uuid,
    content: &Content,
    now: Time,
) -> Result<Option<Image>, database::Error> {
    let Some(mut image) = store::by_id(tx, id).await? else {
        for piece in content.pieces() {
            store::discard(tx, &piece.pin).await?;
        }
        return Ok(None);
    };
    image.min_disk_gib = gib(content.virtual_bytes);
    image.content = Some(content.clone());
    (image.status, image.progress, image.updated) = (Status::Active, 100, now);
    store::update(tx, &image).await?;
    delete_replaced(tx, &image, now).await?;
    Ok(Some(image))
}

/// Deletes the images that a new one replaces (guide, Create an Image).
async fn delete_replaced(tx: &mut Tx, image: &Image, now: Time) -> Result<(), database::Error> {
    if image.owner.is_none() {
        return Ok(());
    }
    for old in store::replaced_by(tx, image).await? {
        if !old.status.in_flight() {
            store::delete(tx, &old, now).await?;
        }
    }
    Ok(())
}

/// Returns a QUEUED image without owner, server and content.
pub(super) fn new_image(id: Uuid, name: &str, now: Time) -> Image {
    Image {
        id,
        number: 0,
        name: name.to_owned(),
        owner: None,
        server: None,
        origin: Origin::Snapshot,
        visibility: Visibility::Private,
        status: Status::Queued,
        progress: 0,
        reason: None,
        min_disk_gib: 0,
        created: now,
        updated: now,
        deleted: None,
        content: None,
    }
}

/// Returns the name of an image's object in its owner's account: readable, and unique because it has the image's number.
pub(super) fn object_name(image: &Image, suffix: &str) -> String {
    let readable: String =
        image.name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    format!("{readable}-{}.{suffix}", image.number)
}
