//! Sharing: an image's owner allows all tenants or single ones to use it (guide, Roadmap: Image Sharing).
//!
//! A tenant that gains or loses access sees this as a change of the image at that time; other tenants see no change.

use super::{Error, Images, check_owner};
use crate::model::{Access, Id, Image, Visibility};
use crate::store;

/// Maximum number of public images of one tenant: they appear in every tenant's list.
const PUBLIC_MAX: i64 = 10;
/// Maximum length of a tenant's id in bytes.
const TENANT_BYTES_MAX: usize = 255;
/// Maximum number of tenants that an image is shared with by id.
const TENANTS_MAX: usize = 100;

/// A change of who may use an image.
#[derive(Clone, Debug)]
enum Change {
    Public(bool),
    Grant(String),
    Revoke(String),
}

impl Images {
    /// Returns whom an image is shared with. Only for its owner.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`].
    pub async fn access(&self, tenant: &str, id: Id) -> Result<Access, Error> {
        let input = (tenant.to_owned(), id);
        let found = self.db.read(input, |(tenant, id), tx| {
            Box::pin(async move {
                let image = store::visible(tx, tenant, *id).await?.ok_or(Error::NotFound)?;
                check_owner(&image, tenant)?;
                let tenants = store::members(tx, image.id).await?;
                Ok::<_, Error>(Access { public: image.visibility == Visibility::Public, tenants })
            })
        });
        found.await
    }

    /// Makes an image public, or private again; tenants with access by id keep it. Idempotent.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`], [`Error::OverLimit`] if the tenant has too many public images.
    pub async fn publish(&self, tenant: &str, id: Id, public: bool) -> Result<(), Error> {
        self.share(tenant, id, Change::Public(public)).await
    }

    /// Allows another tenant to use an image. Idempotent. The tenant need not exist, so that the caller cannot find out which
    /// tenants do.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`], [`Error::OverLimit`] if the image has too many members, [`Error::Invalid`] if
    /// `member` is the owner or no valid id.
    pub async fn add_member(&self, tenant: &str, id: Id, member: &str) -> Result<(), Error> {
        self.share(tenant, id, Change::Grant(member.to_owned())).await
    }

    /// Revokes a tenant's access to an image. Idempotent: succeeds if it has none. Servers that the tenant created from the
    /// image are not affected.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`].
    pub async fn remove_member(&self, tenant: &str, id: Id, member: &str) -> Result<(), Error> {
        self.share(tenant, id, Change::Revoke(member.to_owned())).await
    }

    /// Deletes all access of a deleted tenant.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_tenant_access(&self, tenant: &str) -> Result<(), Error> {
        let forgotten = self.db.write(tenant.to_owned(), |tenant, tx| {
            Box::pin(async move { store::delete_tenant_access(tx, tenant).await })
        });
        Ok(forgotten.await?)
    }

    async fn share(&self, tenant: &str, id: Id, change: Change) -> Result<(), Error> {
        let input = (tenant.to_owned(), id, change, self.clock.now());
        self.db
            .write(input, |(tenant, id, change, now), tx| {
                Box::pin(async move {
                    let mut image = store::visible(tx, tenant, *id).await?.ok_or(Error::NotFound)?;
                    check_owner(&image, tenant)?;
                    match change {
                        Change::Public(public) => {
                            if *public && image.visibility == Visibility::Private {
                                check_publish_limit(&image, store::count_public(tx, tenant).await?)?;
                            }
                            image.visibility = if *public { Visibility::Public } else { Visibility::Private };
                            store::update(tx, &image).await?;
                            if *public {
                                store::grant(tx, image.id, store::EVERYONE, *now).await?;
                            } else {
                                store::revoke(tx, image.id, store::EVERYONE, *now).await?;
                            }
                        }
                        Change::Grant(member) => {
                            check_new_member(&image, member, &store::members(tx, image.id).await?)?;
                            store::grant(tx, image.id, member, *now).await?;
                        }
                        Change::Revoke(member) if member == store::EVERYONE => {}
                        Change::Revoke(member) => store::revoke(tx, image.id, member, *now).await?,
                    }
                    Ok(())
                })
            })
            .await
    }
}

/// Checks the limit of public images per tenant. The operator's images have no limit.
fn check_publish_limit(image: &Image, public: i64) -> Result<(), Error> {
    if image.owner.is_some() && public >= PUBLIC_MAX {
        return Err(Error::OverLimit(format!("an account may have at most {PUBLIC_MAX} public images")));
    }
    Ok(())
}

fn check_new_member(image: &Image, member: &str, members: &[String]) -> Result<(), Error> {
    let invalid = |reason: &str| Error::Invalid { field: "tenant", reason: reason.into() };
    let valid = (1..=TENANT_BYTES_MAX).contains(&member.len()) && !member.contains(char::is_control);
    if !valid || member == store::EVERYONE {
        return Err(invalid("is not a tenant id"));
    }
    if image.owner.as_deref() == Some(member) {
        return Err(invalid("is the image's owner"));
    }
    if members.len() >= TENANTS_MAX && !members.iter().any(|known| known == member) {
        return Err(Error::OverLimit(format!("an image may be shared with at most {TENANTS_MAX} tenants")));
    }
    Ok(())
}
