//! Copies: a name more for the same bytes.

use super::authorise::Action;
use super::objects::Found;
use super::upload::{Stored, replace};
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::entry::Object;
use crate::model::metadata::Metadata;
use crate::model::name;
use crate::store;

/// Where a copy goes and what is different about it.
#[derive(Clone, Debug)]
pub struct CopyRequest {
    /// The account that it goes to.
    pub account: String,
    /// The container that it goes to.
    pub container: String,
    /// Its name there.
    pub name: String,
    /// Items that are set or replaced on the copy.
    pub metadata: Metadata,
    /// Another media type than the source's.
    pub content_type: Option<String>,
    /// Only the given items, none of the source's (`X-Fresh-Metadata`).
    pub fresh: bool,
    /// The MD5 that the source must have, in hex.
    pub etag: Option<String>,
    /// Only if no object has the name.
    pub only_new: bool,
}

/// Times a copy begins anew when its source was replaced under it.
const ATTEMPTS: u32 = 4;

impl Files {
    /// Copies an object by reference.
    ///
    /// # Errors
    /// As reading the source and storing the copy.
    pub async fn copy_object(
        &self,
        context: &Context,
        source: (&str, &str, &str),
        request: &CopyRequest,
    ) -> Result<(Found, Stored)> {
        name::check_object(&request.name, self.limits())?;
        for _ in 0..ATTEMPTS {
            let found = self.object(context, source.0, source.1, source.2).await?;
            if request.etag.as_ref().is_some_and(|etag| *etag != found.object.etag) {
                return Err(Error::WrongEtag);
            }
            let target = self
                .container_for(context, &request.account, &request.container, Action::WriteObject)
                .await?;
            let mut metadata =
                if request.fresh { Metadata::default() } else { found.object.metadata.clone() };
            metadata.0.extend(request.metadata.0.clone());
            metadata.check_totals("x-object-meta-", self.limits())?;
            let now = self.now();
            let copy = Object {
                created: now,
                changed: now,
                content_type: request
                    .content_type
                    .clone()
                    .unwrap_or_else(|| found.object.content_type.clone()),
                metadata,
                ..found.object.clone()
            };
            let input = (target, request.clone(), copy);
            let copied = self
                .0
                .db
                .write(input, |(target, request, copy), tx| {
                    Box::pin(async move {
                        let there =
                            store::containers::still_there(tx, target.account, &request.container, target.id);
                        if !there.await? {
                            return Err(Error::NotFound);
                        }
                        if let Some(blob) = &copy.blob
                            && !store::blobs::share(tx, blob.id).await?
                        {
                            return Ok(None);
                        }
                        replace(tx, target, &request.name, copy, request.only_new).await.map(Some)
                    })
                })
                .await?;
            if let Some((object, freed)) = copied {
                if freed {
                    self.0.garbage.notify_one();
                }
                return Ok((found, Stored { object }));
            }
        }
        Err(Error::Unavailable("the source is being replaced over and over".into()))
    }
}
