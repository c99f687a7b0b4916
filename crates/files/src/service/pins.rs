//! Pins: versions kept by reference for another service, such as images that servers are built from.

use super::authorise::Action;
use super::content::Content;
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::entry::Object;
use crate::model::metadata::Metadata;
use crate::store;

/// A pinned version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Its length, in bytes.
    pub size: u64,
}

impl Files {
    /// Keeps an object's current version under the name `pin`, replacing what that pin referred to.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`]; [`Error::Invalid`] for large objects and links, which have no bytes of their own.
    pub async fn pin(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
        pin: &str,
    ) -> Result<Pinned> {
        let container = self.container_for(context, account, container, Action::ReadObject).await?;
        let input = (container.id, name.to_owned(), pin.to_owned(), self.now());
        self.0
            .db
            .write(input, |(container, name, pin, now), tx| {
                Box::pin(async move {
                    let object =
                        store::objects::find_in(tx, *container, name).await?.ok_or(Error::NotFound)?;
                    if object.is_expired(*now) {
                        return Err(Error::NotFound);
                    }
                    if object.shape.is_some() || object.metadata.get("x-object-manifest").is_some() {
                        let reason = "it refers to other objects: copy it to an object with its own bytes";
                        return Err(Error::Invalid(reason.into()));
                    }
                    let blob = object.blob.map(|blob| blob.id);
                    if let Some(blob) = blob {
                        store::blobs::share(tx, blob).await?;
                    }
                    if let Some(old) = store::pins::remove(tx, pin).await? {
                        store::blobs::decrement_references(tx, old).await?;
                    }
                    store::pins::insert(tx, pin, blob, object.size).await?;
                    Ok(Pinned { size: object.size })
                })
            })
            .await
    }

    /// Opens a pinned version for reading from its start.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn open_pin(&self, pin: &str) -> Result<(Pinned, Content)> {
        let found = store::pins::find(&self.0.db, pin).await?.ok_or(Error::NotFound)?;
        let now = self.now();
        let object = Object {
            created: now,
            changed: now,
            etag: String::new(),
            size: found.size,
            content_type: String::new(),
            metadata: Metadata::default(),
            blob: found.blob,
            shape: None,
            expires: None,
            version: None,
        };
        let content = self.open_object(&object, 0..found.size).await?.ok_or(Error::NotFound)?;
        Ok((Pinned { size: found.size }, content))
    }

    /// Releases a pinned version. Idempotent: succeeds if the pin does not exist.
    ///
    /// # Errors
    /// The database's.
    pub async fn unpin(&self, pin: &str) -> Result<()> {
        self.0
            .db
            .write(pin.to_owned(), |pin, tx| {
                Box::pin(async move {
                    if let Some(blob) = store::pins::remove(tx, pin).await? {
                        store::blobs::decrement_references(tx, blob).await?;
                    }
                    Ok::<_, Error>(())
                })
            })
            .await?;
        self.0.garbage.notify_one();
        Ok(())
    }
}
