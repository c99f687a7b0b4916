//! Creates symbolic links (Swift, Symlinks).

use super::content::Body;
use super::upload::{PutRequest, Stored};
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::shape::{Link, Shape};

/// Default media type of a link.
const LINK_TYPE: &str = "application/symlink";

impl Files {
    /// Stores a link. A static link's target must exist and have its ETag. `typed` says whether the sender specified a media
    /// type.
    ///
    /// # Errors
    /// [`Error::Page`] for a body or a link to itself, [`Error::BrokenLink`], and as [`Files::put_object`].
    pub async fn put_link(
        &self,
        context: &Context,
        (account, container, name): (&str, &str, &str),
        mut link: Link,
        mut request: PutRequest,
        typed: bool,
        body: &mut dyn Body,
    ) -> Result<Stored> {
        let is_empty = match request.length {
            Some(length) => length == 0,
            None => {
                self.may_store(context, account, Some(container)).await?;
                body.next().await?.is_none()
            }
        };
        if !is_empty {
            return Err(Error::Invalid("Symlink requests require a zero byte body".into()));
        }
        let target = link.account.as_deref().unwrap_or(account);
        if (target, link.container.as_str(), link.name.as_str()) == (account, container, name) {
            return Err(Error::Invalid("Symlink cannot target itself".into()));
        }
        if link.etag.is_some() && context.carried.is_some() {
            // A replicated link may arrive before its target.
        } else if link.etag.is_some() {
            let found = self.link_target(context, account, &link).await?;
            if let Some(Shape::Manifest { etag, size }) = &found.object.shape {
                link.manifest_etag = Some(etag.clone());
                link.size = Some(*size);
            } else {
                link.size = Some(found.object.size);
            }
            if !typed {
                request.content_type = found.object.content_type;
            }
        } else if !typed {
            request.content_type = LINK_TYPE.into();
        }
        request.length = Some(0);
        request.shape = Some(Shape::Link(link));
        self.put_object(context, account, container, name, request, body).await
    }
}
