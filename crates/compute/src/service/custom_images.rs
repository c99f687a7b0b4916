//! Images of a tenant's own: registered, shared, deleted (guide, Roadmap: Custom Image Upload, Image Sharing).

use hypervisor::DiskFormat;
use identity::{Product, Right};
use images::{Access, Id, Image, Registration};

use super::{Compute, Context, Error};
use crate::model::launch;

/// An object of the tenant's own that is to be an image.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The image's name.
    pub name: String,
    /// Where it is in the tenant's account: `container/object`.
    pub source: String,
    /// What it is: `qcow2` or `raw`.
    pub format: String,
}

impl Compute {
    /// Makes an image of an object that the tenant put into Cloud Files: QUEUED when this answers.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NotFound`] for the object, [`Error::OverLimit`]. [`Error::Forbidden`] also to those
    /// who may not read the tenant's objects: a server made of one would show it to them.
    pub async fn register_image(&self, context: &Context, upload: Upload) -> Result<Image, Error> {
        context.need(Right::Create)?;
        context.need_of(Product::ObjectStore, Right::Observe)?;
        let name = launch::name(&upload.name)?;
        let format = match upload.format.as_str() {
            "qcow2" => DiskFormat::Qcow2,
            "raw" => DiskFormat::Raw,
            _ => return Err(Error::invalid("format", "is qcow2 or raw")),
        };
        let (container, object) = upload
            .source
            .split_once('/')
            .filter(|(container, object)| !container.is_empty() && !object.is_empty())
            .ok_or_else(|| {
                Error::invalid("source", "is the container and the object, as in images/disk.qcow2")
            })?;
        let (container, object) = (container.to_owned(), object.to_owned());
        let owner = context.tenant().to_owned();
        let images_max = self.limits_of(&owner).await?.images_max;
        let new = Registration { owner, name, format, container, object, images_max };
        Ok(self.0.images.register(new).await?)
    }

    /// Lets everyone use an image of the tenant's own, or not any more. It shows in every account's list, and so takes
    /// the right to answer for this one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`], [`Error::OverLimit`].
    pub async fn publish_image(&self, context: &Context, id: Id, public: bool) -> Result<(), Error> {
        context.need(Right::Administer)?;
        Ok(self.0.images.publish(context.tenant(), id, public).await?)
    }

    /// Whom an image of the tenant's own is shared with.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`].
    pub async fn image_access(&self, context: &Context, id: Id) -> Result<Access, Error> {
        context.need(Right::Observe)?;
        Ok(self.0.images.access(context.tenant(), id).await?)
    }

    /// Lets another tenant use an image of the tenant's own; well if it may, and if there is no such tenant: which there
    /// are is nobody's to learn by this.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`], [`Error::OverLimit`].
    pub async fn share_image(&self, context: &Context, id: Id, with: &str) -> Result<(), Error> {
        context.need(Right::Create)?;
        Ok(self.0.images.add_member(context.tenant(), id, with).await?)
    }

    /// Takes an image from another tenant again, well if it has not got it. What was made of it there goes on.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the image, [`Error::NotOwner`].
    pub async fn unshare_image(&self, context: &Context, id: Id, with: &str) -> Result<(), Error> {
        context.need(Right::Administer)?;
        Ok(self.0.images.remove_member(context.tenant(), id, with).await?)
    }

    /// Deletes an image of the tenant's own.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`], [`Error::Conflict`] while it is being saved.
    pub async fn delete_image(&self, context: &Context, id: Id) -> Result<(), Error> {
        context.need(Right::Administer)?;
        Ok(self.0.images.delete(context.tenant(), id).await?)
    }
}
