//! Registers, shares and deletes a tenant's own images (guide, Roadmap: Custom Image Upload, Image Sharing).

use hypervisor::DiskFormat;
use identity::{Product, Right};
use images::{Access, Id, Image, Registration};

use super::{Compute, Context, Error};
use crate::model::launch;

/// An object of the tenant to be registered as an image.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The image's name.
    pub name: String,
    /// Its path in the tenant's account: `container/object`.
    pub source: String,
    /// Its format: `qcow2` or `raw`.
    pub format: String,
}

impl Compute {
    /// Registers an object in Cloud Files as an image. It is QUEUED when this returns; a job does the rest.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NotFound`] for the object, [`Error::OverLimit`]. [`Error::Forbidden`] also if the
    /// caller may not read the tenant's objects: a server created from the image would disclose its bytes.
    pub async fn register_image(&self, context: &Context, upload: Upload) -> Result<Image, Error> {
        context.need(Right::Create)?;
        context.need_of(Product::ObjectStore, Right::Observe)?;
        let name = launch::name(&upload.name)?;
        let format = match upload.format.as_str() {
            "qcow2" => DiskFormat::Qcow2,
            "raw" => DiskFormat::Raw,
            _ => return Err(Error::invalid("format", "must be qcow2 or raw")),
        };
        let (container, object) = upload
            .source
            .split_once('/')
            .filter(|(container, object)| !container.is_empty() && !object.is_empty())
            .ok_or_else(|| {
                Error::invalid(
                    "source",
                    "must be the container and the object, for example images/disk.qcow2",
                )
            })?;
        let (container, object) = (container.to_owned(), object.to_owned());
        let owner = context.tenant().to_owned();
        let images_max = self.limits_of(&owner).await?.images_max;
        let new = Registration { owner, name, format, container, object, images_max };
        Ok(self.0.images.register(new).await?)
    }

    /// Makes a tenant's own image public or private. Needs [`Right::Administer`], because a public image appears in
    /// every account's list.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`], [`Error::OverLimit`].
    pub async fn publish_image(&self, context: &Context, id: Id, public: bool) -> Result<(), Error> {
        context.need(Right::Administer)?;
        Ok(self.0.images.publish(context.tenant(), id, public).await?)
    }

    /// Returns whom a tenant's own image is shared with.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`].
    pub async fn image_access(&self, context: &Context, id: Id) -> Result<Access, Error> {
        context.need(Right::Observe)?;
        Ok(self.0.images.access(context.tenant(), id).await?)
    }

    /// Allows another tenant to use a tenant's own image. Idempotent. The other tenant need not exist, so that the
    /// caller cannot find out which tenants do.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`], [`Error::OverLimit`].
    pub async fn share_image(&self, context: &Context, id: Id, with: &str) -> Result<(), Error> {
        context.need(Right::Create)?;
        Ok(self.0.images.add_member(context.tenant(), id, with).await?)
    }

    /// Revokes another tenant's access to an image. Idempotent: succeeds if it has none. Servers created from the
    /// image keep running.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the image, [`Error::NotOwner`].
    pub async fn unshare_image(&self, context: &Context, id: Id, with: &str) -> Result<(), Error> {
        context.need(Right::Administer)?;
        Ok(self.0.images.remove_member(context.tenant(), id, with).await?)
    }

    /// Deletes a tenant's own image.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`], [`Error::Conflict`] while it is being saved.
    pub async fn delete_image(&self, context: &Context, id: Id) -> Result<(), Error> {
        context.need(Right::Administer)?;
        Ok(self.0.images.delete(context.tenant(), id).await?)
    }
}
