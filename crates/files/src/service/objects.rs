//! Objects: reading, metadata and deletion.

use blobs::Reader;
use bytes::Bytes;
use database::Tx;

use super::authorise::Action;
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::entry::{Container, Object};
use crate::model::metadata::Metadata;
use crate::store;

/// Times a read begins anew when the object was replaced under it.
const ATTEMPTS: u32 = 4;

/// An object and its container.
#[derive(Clone, Debug)]
pub struct Found {
    /// The object.
    pub object: Object,
    /// The container that it is in.
    pub container: Container,
}

/// An object's bytes, or a part of them.
pub enum Content {
    /// All that was asked for, already checked.
    Whole(Bytes),
    /// To be read piece by piece.
    Stream(Box<dyn Reader>),
}

impl Files {
    /// Looks at an object.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Unauthenticated`].
    pub async fn object(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
    ) -> Result<Found> {
        let container = self.container_for(context, account, container, Action::ReadObject).await?;
        let object = store::objects::find(&self.0.db, container.id, name).await?.ok_or(Error::NotFound)?;
        Ok(Found { object, container })
    }

    /// Opens a part of an object that was found a moment ago. `None` when it was replaced since: look again.
    ///
    /// # Errors
    /// [`Error::Internal`] when its bytes are not what was stored.
    pub async fn open_object(&self, object: &Object, range: std::ops::Range<u64>) -> Result<Option<Content>> {
        let Some(blob) = object.blob.filter(|_| !range.is_empty()) else {
            return Ok(Some(Content::Whole(Bytes::new())));
        };
        let length = range.end - range.start;
        let mut reader = match self.0.blobs.read(blob.id, blob.location, range).await {
            Err(blobs::Error::Missing { .. }) => return Ok(None),
            other => other?,
        };
        // The first piece is read before anything is answered: bad bytes become a status, not a broken stream.
        let first = reader.next().await?.unwrap_or_default();
        if first.len() as u64 == length {
            return Ok(Some(Content::Whole(first)));
        }
        Ok(Some(Content::Stream(Box::new(Resumed { first: Some(first), rest: reader }))))
    }

    /// Finds an object and opens a part of it that `choose` picks; looks again when it is replaced in between.
    ///
    /// # Errors
    /// As [`Files::object`] and [`Files::open_object`].
    pub async fn read_whole(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
    ) -> Result<(Found, Content)> {
        for _ in 0..ATTEMPTS {
            let found = self.object(context, account, container, name).await?;
            if let Some(content) = self.open_object(&found.object, 0..found.object.size).await? {
                return Ok((found, content));
            }
        }
        Err(Error::Unavailable("the object is being replaced over and over".into()))
    }

    /// Replaces an object's metadata; its type stays unless a new one is given.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] beyond the limits.
    pub async fn post_object(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
        metadata: Metadata,
        content_type: Option<String>,
    ) -> Result<Object> {
        metadata.check_totals("x-object-meta-", self.limits())?;
        let container = self.container_for(context, account, container, Action::WriteObject).await?;
        let input = (container.id, name.to_owned(), metadata, content_type, self.now());
        self.0
            .db
            .write(input, |(container, name, metadata, content_type, now), tx| {
                Box::pin(async move {
                    let found = store::objects::find_in(tx, *container, name).await?;
                    let mut object = found.ok_or(Error::NotFound)?;
                    object.metadata = metadata.clone();
                    object.changed = later(*now, object.changed);
                    if let Some(content_type) = content_type {
                        object.content_type.clone_from(content_type);
                    }
                    store::objects::set_metadata(tx, *container, name, &object).await?;
                    Ok(object)
                })
            })
            .await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_object(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
    ) -> Result<()> {
        let container = self.container_for(context, account, container, Action::DeleteObject).await?;
        self.0
            .db
            .write((container.account, container.id, name.to_owned()), |(account, container, name), tx| {
                Box::pin(async move {
                    if remove(tx, *account, *container, name).await? { Ok(()) } else { Err(Error::NotFound) }
                })
            })
            .await?;
        self.0.garbage.notify_one();
        Ok(())
    }
}

/// Removes an object within a unit and counts it; `false` when it is not there.
pub(super) async fn remove(tx: &mut Tx, account: i64, container: i64, name: &str) -> Result<bool> {
    let Some(old) = store::objects::replaced(tx, container, name).await? else { return Ok(false) };
    store::objects::delete(tx, container, name).await?;
    if let Some(blob) = old.blob {
        store::blobs::let_go(tx, blob).await?;
    }
    let bytes = i64::try_from(old.size).unwrap_or(i64::MAX);
    store::containers::add(tx, container, -1, -bytes);
    store::accounts::add(tx, account, 0, -1, -bytes);
    Ok(true)
}

/// Now, but behind what it replaces: the newest commit carries the newest time.
pub(super) fn later(now: work::Time, than: work::Time) -> work::Time {
    now.max(work::Time(than.0 + 10))
}

struct Resumed {
    first: Option<Bytes>,
    rest: Box<dyn Reader>,
}

#[async_trait::async_trait]
impl Reader for Resumed {
    async fn next(&mut self) -> blobs::Result<Option<Bytes>> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.rest.next().await,
        }
    }
}
