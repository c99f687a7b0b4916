//! Reads objects and versions: follows links and resolves large objects.

use blobs::{BlobId, Reader};
use bytes::Bytes;

use super::authorise::{Action, is_member, require_owner};
use super::content::{Body, Content};
use super::found::{Found, ReadOptions};
use super::segments::DYNAMIC_SEGMENTS_MAX;
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::entry::Object;
use crate::model::shape::{Link, Shape};
use crate::model::version::{VersionId, is_versioned};
use crate::store;

/// Attempts to read before giving up, if the object is replaced during each.
const ATTEMPTS: u32 = 4;
/// Maximum number of links followed per read (Swift, symlink: `symloop_max`).
pub const LINKS_MAX: usize = 2;

impl Files {
    /// Looks up an object as it is stored, without following links or reading segments.
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
        let place = (account.to_owned(), container.to_owned(), name.to_owned());
        self.one(context, place, None).await
    }

    async fn one(
        &self,
        context: &Context,
        place: (String, String, String),
        version: Option<VersionId>,
    ) -> Result<Found> {
        let container = self.container_for(context, &place.0, &place.1, Action::ReadObject).await?;
        if matches!(version, Some(VersionId::At(_))) && context.pass.is_none() {
            require_owner(context, &place.0, &container)?;
        }
        let object = match version {
            Some(version) => self.version(&container, &place.2, version).await?,
            None => store::objects::find(&self.0.db, container.id, &place.2).await?.ok_or(Error::NotFound)?,
        };
        if object.expires.is_some() && object.is_expired(self.now()) {
            let open = context.open_expired
                && self.settings().allow_open_expired
                && is_member(context, &place.0, Some(&container.account_metadata));
            if !open {
                return Err(Error::NotFound);
            }
        }
        let read = version.or_else(|| {
            is_versioned(&container.metadata).then(|| object.version.map_or(VersionId::Null, VersionId::At))
        });
        Ok(Found { object, container, place, linked: false, version: read, segments: None, whole: false })
    }

    /// Looks up what a name represents.
    ///
    /// # Errors
    /// As [`Files::object`], and [`Error::BrokenLink`] for links without a valid target.
    pub async fn look(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
        look: ReadOptions,
    ) -> Result<Found> {
        let place = (account.to_owned(), container.to_owned(), name.to_owned());
        let mut found = self.one(context, place, look.version).await?;
        if !look.link && found.object.shape.as_ref().is_some_and(|shape| shape.link().is_some()) {
            found = self.follow(context, found).await?;
        }
        found.whole = !look.manifest;
        if found.whole && (look.segments || found.object.metadata.get("x-object-manifest").is_some()) {
            let most = look.dynamic_max.unwrap_or(DYNAMIC_SEGMENTS_MAX);
            found.segments = self.segments_of(context, &found, most).await?;
        }
        Ok(found)
    }

    /// Follows links from an object.
    async fn follow(&self, context: &Context, first: Found) -> Result<Found> {
        let (kept_in, version) = (first.container.id, first.version);
        let mut found = first;
        let mut expected: Option<String> = None;
        for followed in 0.. {
            let Some(link) = found.object.shape.as_ref().and_then(Shape::link).cloned() else { break };
            let own = link.etag.as_ref().unwrap_or(&found.object.etag);
            if expected.as_ref().is_some_and(|expected| expected != own) {
                let text = "X-Symlink-Target-Etag headers do not match".into();
                return Err(Error::BrokenLink { text, place: found.place });
            }
            if followed == LINKS_MAX {
                let text = format!("Too many levels of symbolic links, maximum allowed is {LINKS_MAX}");
                return Err(Error::Conflict(text));
            }
            expected.clone_from(&link.etag);
            let place = target(&link, &found.place.0);
            let target = self.one(context, place.clone(), None).await;
            found = target.map_err(|error| Error::Beyond(Box::new(error), place))?;
            found.linked = true;
        }
        // The version is reported only if the links stay within the container.
        let own = found.version.filter(|_| found.container.id == kept_in);
        found.version = version.map(|_| own.unwrap_or(VersionId::Null));
        if let Some(expected) = expected
            && expected != found.object.etag
        {
            let text = format!(
                "Object Etag '{}' does not match X-Symlink-Target-Etag header '{expected}'",
                found.object.etag
            );
            return Err(Error::BrokenLink { text, place: found.place });
        }
        Ok(found)
    }

    /// Returns the target of a new static link if it is valid: an object with the link's ETag.
    pub(super) async fn link_target(&self, context: &Context, account: &str, link: &Link) -> Result<Found> {
        let place = target(link, account);
        let missing =
            || Error::BrokenLink { text: "X-Symlink-Target does not exist".into(), place: place.clone() };
        let mut found = self.one(context, place.clone(), None).await.map_err(|error| match error {
            Error::NotFound => missing(),
            other => other,
        })?;
        let wanted = link.etag.clone().unwrap_or_default();
        // The target may itself be a link; if it is a static one, the ETags must agree.
        if let Some(next) =
            found.object.shape.as_ref().and_then(Shape::link).filter(|next| next.etag.is_some())
        {
            if next.etag.as_ref() != Some(&wanted) {
                let text = "X-Symlink-Target-Etag headers do not match".into();
                return Err(Error::BrokenLink { text, place });
            }
            found = self.follow(context, found).await.map_err(|error| match error {
                Error::Beyond(error, place) if *error == Error::NotFound => {
                    Error::BrokenLink { text: "X-Symlink-Target does not exist".into(), place }
                }
                other => other,
            })?;
        }
        if found.object.etag != wanted {
            let text = format!(
                "Object Etag '{}' does not match X-Symlink-Target-Etag header '{wanted}'",
                found.object.etag
            );
            return Err(Error::BrokenLink { text, place: found.place });
        }
        Ok(found)
    }

    /// Opens a part of an object that was just looked up. Returns `None` if it was replaced since; then look it up again.
    ///
    /// # Errors
    /// [`Error::Internal`] if its bytes are damaged, [`Error::Conflict`] if a large object's segments do not match its manifest.
    pub async fn content(
        &self,
        context: &Context,
        found: &Found,
        range: std::ops::Range<u64>,
    ) -> Result<Option<Content>> {
        match &found.segments {
            Some(segments) if found.whole => self.open_segments(context, segments, range).await.map(Some),
            _ => self.open_object(&found.object, range).await,
        }
    }

    /// Opens a part of a stored object's own bytes. Returns `None` if it was replaced since; then look it up again.
    ///
    /// # Errors
    /// [`Error::Internal`] if its bytes are damaged.
    pub async fn open_object(&self, object: &Object, range: std::ops::Range<u64>) -> Result<Option<Content>> {
        let Some(blob) = object.blob.filter(|_| !range.is_empty()) else {
            return Ok(Some(Content::Whole(Bytes::new())));
        };
        let length = range.end - range.start;
        // Read the first piece before the response begins, so that damage results in a status, not in an aborted response.
        let opened = match self.open_blob(&blob, range).await? {
            Ok(mut reader) => reader.next().await.map(|first| (first.unwrap_or_default(), reader)),
            Err(error) => Err(error),
        };
        let (first, reader) = match opened {
            Err(error @ (blobs::Error::Missing { .. } | blobs::Error::Corrupt { .. })) => {
                if store::blobs::location(&self.0.db, blob.id).await? != Some(blob.location) {
                    // The blob was released, or moved by compaction, since its row was read.
                    return Ok(None);
                }
                self.record_damage(blob.id, &error.to_string()).await;
                return Err(error.into());
            }
            opened => opened?,
        };
        if first.len() as u64 == length {
            return Ok(Some(Content::Whole(first)));
        }
        let stream = Resumed { first: Some(first), rest: reader, blob: blob.id, files: self.clone() };
        Ok(Some(Content::Stream(Box::new(stream))))
    }

    /// Looks up an object and opens all of it; repeats if it is replaced in between.
    ///
    /// # Errors
    /// As [`Files::look`] and [`Files::content`].
    pub async fn read_whole(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
    ) -> Result<(Found, Content)> {
        let look = ReadOptions { segments: true, ..ReadOptions::default() };
        for _ in 0..ATTEMPTS {
            let found = self.look(context, account, container, name, look).await?;
            if let Some(content) = self.content(context, &found, 0..found.size()).await? {
                return Ok((found, content));
            }
        }
        Err(Error::Unavailable("the object is being replaced over and over".into()))
    }
}

fn target(link: &Link, account: &str) -> (String, String, String) {
    let account = link.account.clone().unwrap_or_else(|| account.to_owned());
    (account, link.container.clone(), link.name.clone())
}

struct Resumed {
    first: Option<Bytes>,
    rest: Box<dyn Reader>,
    blob: BlobId,
    files: Files,
}

#[async_trait::async_trait]
impl Body for Resumed {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => match self.rest.next().await {
                Err(error @ blobs::Error::Corrupt { .. }) => {
                    self.files.record_damage(self.blob, &error.to_string()).await;
                    Err(error.into())
                }
                next => Ok(next?),
            },
        }
    }
}
