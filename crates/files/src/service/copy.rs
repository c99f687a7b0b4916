//! Copies objects: by reference to the same bytes, or with new bytes if the copy is assembled from a part or from segments.

use super::authorise::Action;
use super::container_sync::is_synchronised;
use super::content::Content;
use super::content::Incoming;
use super::found::{Found, ReadOptions};
use super::keeping::store_object;
use super::upload::{PutRequest, Stored};
use super::write::{Named, share};
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::entry::{Container, Object};
use crate::model::etag::is_quoted;
use crate::model::metadata::Metadata;
use crate::model::name;
use crate::model::shape::{Link, Shape};
use work::Time;

/// The target of a copy and what differs from the source.
#[derive(Clone, Debug)]
pub struct CopyRequest {
    /// The target's account.
    pub account: String,
    /// The target's container.
    pub container: String,
    /// The target's name.
    pub name: String,
    /// Items to set or replace on the copy.
    pub metadata: Metadata,
    /// The media type, if not the source's.
    pub content_type: Option<String>,
    /// Whether to use only the given items and none of the source's (`X-Fresh-Metadata`).
    pub fresh: bool,
    /// The MD5 that the source must have, in hex.
    pub etag: Option<String>,
    /// Whether to fail if the target exists.
    pub only_new: bool,
    /// The account of the copied link's target.
    pub link_account: Option<String>,
    /// When the copy expires, if not with its source.
    pub expires: Option<Time>,
}

impl Files {
    /// Copies an object: by reference if only its own bytes, its manifest or the link itself is copied, otherwise by reading
    /// `range`. Returns `None` if the source was replaced meanwhile; then look it up again.
    ///
    /// # Errors
    /// As for storing the copy.
    pub async fn copy_object(
        &self,
        context: &Context,
        found: &Found,
        range: Option<std::ops::Range<u64>>,
        request: &CopyRequest,
    ) -> Result<Option<Stored>> {
        name::check_object(&request.name, self.limits())?;
        let by_reference = range.is_none() && !found.is_large();
        if by_reference && request.etag.as_ref().is_some_and(|etag| etag != found.etag()) {
            return Err(Error::WrongEtag);
        }
        let mut metadata = if request.fresh { Metadata::default() } else { found.object.metadata.clone() };
        if found.segments.is_some() {
            metadata.0.remove("x-object-manifest");
        }
        metadata.0.extend(request.metadata.0.clone());
        if request.fresh
            && found.segments.is_none()
            && let Some(pointer) = found.object.metadata.get("x-object-manifest")
        {
            metadata.0.insert("x-object-manifest".into(), pointer.to_owned());
        }
        metadata.check_totals("x-object-meta-", self.limits())?;
        let content_type = request.content_type.clone().unwrap_or_else(|| found.object.content_type.clone());
        let expires = request.expires.or(found.object.expires.filter(|_| !request.fresh));
        if by_reference {
            return self.share_object(context, found, request, (metadata, content_type, expires)).await;
        }
        let size = range.as_ref().map_or(found.size(), |range| range.end - range.start);
        if size > self.limits().max_file_size {
            return Err(Error::TooLarge);
        }
        let range = range.unwrap_or(0..found.size());
        let Some(content) = self.content(context, found, range).await? else { return Ok(None) };
        let put = PutRequest {
            length: Some(size),
            etag: request.etag.clone(),
            content_type,
            metadata,
            only_new: request.only_new,
            shape: None,
            expires,
        };
        let (account, container, name) = (&request.account, &request.container, &request.name);
        let stored = match content {
            Content::Whole(bytes) => {
                self.put_object(context, account, container, name, put, &mut Incoming::of(bytes)).await?
            }
            Content::Stream(mut body) => {
                self.put_object(context, account, container, name, put, body.as_mut()).await?
            }
        };
        Ok(Some(stored))
    }

    async fn share_object(
        &self,
        context: &Context,
        found: &Found,
        request: &CopyRequest,
        (metadata, content_type, expires): (Metadata, String, Option<Time>),
    ) -> Result<Option<Stored>> {
        let target =
            self.container_for(context, &request.account, &request.container, Action::WriteObject).await?;
        self.may_expire(context, &request.account, (&target, &request.container), &request.name, expires)
            .await?;
        self.check_quotas(context, &target, found.object.size).await?;
        if let Some(Shape::Link(link)) = &found.object.shape {
            // A link without an account refers to the account of the copy.
            let link = with_account(link, request);
            let to = link.account.as_deref().unwrap_or(&request.account);
            let own = (request.account.as_str(), request.container.as_str(), request.name.as_str());
            if (to, link.container.as_str(), link.name.as_str()) == own {
                return Err(Error::Invalid("Symlink cannot target itself".into()));
            }
        }
        let shape = match &found.object.shape {
            Some(Shape::Link(link)) => Some(Shape::Link(with_account(link, request))),
            other => other.clone(),
        };
        let now = self.now();
        let copy = Object {
            created: now,
            changed: now,
            content_type,
            metadata,
            expires,
            version: None,
            shape,
            ..found.object.clone()
        };
        if let Some(blob) = &copy.blob
            && !self.suits(blob, target.policy)?
        {
            return self.store_apart(context, found, request, target, copy).await;
        }
        let place = (request.account.as_str(), request.container.as_str());
        let access = self.access(context, place, &target, Action::WriteObject);
        let copied = self
            .0
            .db
            .write((access, request.clone(), copy), |(access, request, copy), tx| {
                Box::pin(async move {
                    let target = &access.container_with_room(tx, copy.size).await?;
                    access.may_expire(tx, target, &request.name, copy).await?;
                    if !share(tx, copy).await? {
                        return Ok(None);
                    }
                    let named = store_object(tx, target, &request.name, copy, request.only_new).await?;
                    Ok::<_, Error>(Some((named, is_quoted(target), is_synchronised(&target.metadata))))
                })
            })
            .await?;
        Ok(copied.map(|(Named { object, freed }, quoted, carried)| {
            self.after_write(&object, freed);
            self.after_change(carried);
            Stored { object, quoted }
        }))
    }

    /// Stores a copy with its own bytes, because its container's policy uses another store or encryption.
    async fn store_apart(
        &self,
        context: &Context,
        found: &Found,
        request: &CopyRequest,
        target: Container,
        copy: Object,
    ) -> Result<Option<Stored>> {
        let begun = self.0.clock.now();
        let (size, policy) = (found.object.size, target.policy);
        let tenant = name::tenant_of(&request.account).unwrap_or(&request.account);
        let place = (request.account.as_str(), request.container.as_str());
        let access = self.access(context, place, &target, Action::WriteObject);
        let Some(content) = self.open_object(&found.object, 0..size).await? else { return Ok(None) };
        let received = match content {
            Content::Whole(bytes) => {
                self.receive(policy, tenant, Some(size), &mut Incoming::of(bytes)).await?
            }
            Content::Stream(mut body) => self.receive(policy, tenant, Some(size), body.as_mut()).await?,
        };
        let access = access.by(self.caller_now(context, begun).await?);
        self.store_and_commit(access, &request.name, copy, (request.only_new, false), received)
            .await
            .map(Some)
    }

    /// Looks up the source of a copy.
    ///
    /// # Errors
    /// As [`Files::look`].
    pub async fn find_copy_source(
        &self,
        context: &Context,
        source: (&str, &str, &str),
        look: ReadOptions,
    ) -> Result<Found> {
        self.look(context, source.0, source.1, source.2, ReadOptions { segments: !look.manifest, ..look })
            .await
    }
}

fn with_account(link: &Link, request: &CopyRequest) -> Link {
    let account = request.link_account.clone().or_else(|| link.account.clone());
    Link { account, ..link.clone() }
}
