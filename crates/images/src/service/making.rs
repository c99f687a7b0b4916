//! Making an image of a server: begun, prepared, saved, and then active or failed.

use database::Tx;
use hypervisor::{DiskFormat, Progress, Snapshot};
use uuid::Uuid;
use work::Time;

use super::stream::{Tally, digest_of};
use super::{Error, Images, checked_name};
use crate::model::{Content, Image, Origin, Piece, Status, Visibility, gib};
use crate::store;
use crate::vault::Object;

/// An image to be made of a server.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// Chosen by the caller, so that a repetition is the same image.
    pub id: Uuid,
    /// The tenant.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// The server, by both ids.
    pub server: (Uuid, i64),
    /// On demand, or by which schedule.
    pub origin: Origin,
}

impl Images {
    /// Begins an image of a server: QUEUED. The same one if it was begun before.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the name; [`Error::NotFound`] when it was begun and deleted since.
    pub async fn begin(&self, new: NewImage) -> Result<Image, Error> {
        let name = checked_name(&new.name)?;
        let input = (new, name, self.clock.now());
        self.db
            .write(input, |(new, name, now), tx| {
                Box::pin(async move {
                    if store::was_begun(tx, new.id).await? {
                        return store::by_id(tx, new.id).await?.ok_or(Error::NotFound);
                    }
                    let mut image = blank(new.id, name, *now);
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

    /// Moves an image on while it is being made; one that is not in flight stays as it is.
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

    /// Ends an image that could not be made; one that is not in flight stays as it is.
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

    /// Stores a snapshot's bytes in the owner's account: ACTIVE. What it replaces goes in the same unit.
    /// `progress` counts bytes stored.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the image was deleted meanwhile, and the vault's.
    pub async fn save(&self, id: Uuid, snapshot: Snapshot, progress: &Progress) -> Result<Image, Error> {
        let image = self.by_id(id).await?;
        if image.status == Status::Active {
            return Ok(image);
        }
        progress.begin(snapshot.size_bytes);
        let (reader, tally) = Tally::over(snapshot.reader, progress.clone());
        let object = Object { owner: image.owner.clone(), name: object_name(&image, "qcow2") };
        let stored = self.vault.put(&object, reader).await?;
        let pieces = [Some(tally.sha256()), None, None];
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

    /// Gives an image its content. If it was deleted while the bytes were stored, they are let go of again.
    pub(super) async fn activate(&self, id: Uuid, content: Content) -> Result<Image, Error> {
        let input = (id, content, self.clock.now());
        let activated = self.db.write(input, |(id, content, now), tx| Box::pin(fill(tx, *id, content, *now)));
        let activated = activated.await?;
        if let Err(error) = self.let_go().await {
            tracing::warn!(%error, "replaced images' bytes are kept until the next sweep");
        }
        activated.ok_or(Error::NotFound)
    }
}

/// Gives an image its content; none if it is gone, and its bytes are to be let go of.
pub(super) async fn fill(
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
    replace(tx, &image, now).await?;
    Ok(Some(image))
}

/// Deletes what a new image takes the place of (guide, Create an Image).
async fn replace(tx: &mut Tx, image: &Image, now: Time) -> Result<(), database::Error> {
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

/// An image of which nothing is known yet.
pub(super) fn blank(id: Uuid, name: &str, now: Time) -> Image {
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

/// What an image's object is called in its owner's account: readable, and unique by its number.
pub(super) fn object_name(image: &Image, suffix: &str) -> String {
    let readable: String =
        image.name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    format!("{readable}-{}.{suffix}", image.number)
}
