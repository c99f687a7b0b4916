//! Sharing: an image's owner names who else may use it, everyone or single tenants (guide, Roadmap: Image Sharing).
//!
//! Whoever gets or loses an image so sees it change then, and nobody else does.

use super::{Error, Images, owned};
use crate::model::{Access, Id, Image, Visibility};
use crate::store;

/// Images of one tenant that everyone sees in its list, at most.
const PUBLIC_MAX: i64 = 10;
/// Bytes of a tenant's id at most.
const TENANT_BYTES_MAX: usize = 255;
/// Tenants that an image is shared with by name, at most.
const TENANTS_MAX: usize = 100;

/// What becomes of an image's sharing.
#[derive(Clone, Debug)]
enum Change {
    Public(bool),
    Give(String),
    Take(String),
}

impl Images {
    /// Whom an image is shared with, for its owner.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`].
    pub async fn access(&self, tenant: &str, id: Id) -> Result<Access, Error> {
        let input = (tenant.to_owned(), id);
        let found = self.db.read(input, |(tenant, id), tx| {
            Box::pin(async move {
                let image = store::visible(tx, tenant, *id).await?.ok_or(Error::NotFound)?;
                owned(&image, tenant)?;
                let tenants = store::members(tx, image.id).await?;
                Ok::<_, Error>(Access { public: image.visibility == Visibility::Public, tenants })
            })
        });
        found.await
    }

    /// Lets everyone use an image, or its owner and those alone that it named; well if it is so.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`], [`Error::OverLimit`].
    pub async fn publish(&self, tenant: &str, id: Id, public: bool) -> Result<(), Error> {
        self.share(tenant, id, Change::Public(public)).await
    }

    /// Lets another tenant use an image; well if it may. One that does not exist may once it does: whoever shares is not
    /// told which tenants there are.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`], [`Error::OverLimit`], [`Error::Invalid`] for the owner itself.
    pub async fn add_member(&self, tenant: &str, id: Id, member: &str) -> Result<(), Error> {
        self.share(tenant, id, Change::Give(member.to_owned())).await
    }

    /// Takes an image from a tenant again, well if it has not got it; what that tenant made of it keeps running.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotOwner`].
    pub async fn remove_member(&self, tenant: &str, id: Id, member: &str) -> Result<(), Error> {
        self.share(tenant, id, Change::Take(member.to_owned())).await
    }

    /// Forgets what a tenant that is deleted was given.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_tenant(&self, tenant: &str) -> Result<(), Error> {
        let forgotten = self.db.write(tenant.to_owned(), |tenant, tx| {
            Box::pin(async move { store::forget_tenant(tx, tenant).await })
        });
        Ok(forgotten.await?)
    }

    async fn share(&self, tenant: &str, id: Id, change: Change) -> Result<(), Error> {
        let input = (tenant.to_owned(), id, change, self.clock.now());
        self.db
            .write(input, |(tenant, id, change, now), tx| {
                Box::pin(async move {
                    let mut image = store::visible(tx, tenant, *id).await?.ok_or(Error::NotFound)?;
                    owned(&image, tenant)?;
                    match change {
                        Change::Public(public) => {
                            if *public && image.visibility == Visibility::Private {
                                may_be_published(&image, store::public_of(tx, tenant).await?)?;
                            }
                            image.visibility = if *public { Visibility::Public } else { Visibility::Private };
                            store::update(tx, &image).await?;
                            if *public {
                                store::grant(tx, image.id, store::EVERYONE, *now).await?;
                            } else {
                                store::revoke(tx, image.id, store::EVERYONE, *now).await?;
                            }
                        }
                        Change::Give(member) => {
                            may_be_given(&image, member, &store::members(tx, image.id).await?)?;
                            store::grant(tx, image.id, member, *now).await?;
                        }
                        Change::Take(member) if member == store::EVERYONE => {}
                        Change::Take(member) => store::revoke(tx, image.id, member, *now).await?,
                    }
                    Ok(())
                })
            })
            .await
    }
}

/// The cloud's own are as many as the operator likes.
fn may_be_published(image: &Image, public: i64) -> Result<(), Error> {
    if image.owner.is_some() && public >= PUBLIC_MAX {
        return Err(Error::OverLimit(format!("an account has {PUBLIC_MAX} public images at most")));
    }
    Ok(())
}

fn may_be_given(image: &Image, member: &str, members: &[String]) -> Result<(), Error> {
    let invalid = |reason: &str| Error::Invalid { field: "tenant", reason: reason.into() };
    let names = (1..=TENANT_BYTES_MAX).contains(&member.len()) && !member.contains(char::is_control);
    if !names || member == store::EVERYONE {
        return Err(invalid("names no tenant"));
    }
    if image.owner.as_deref() == Some(member) {
        return Err(invalid("is the image's owner"));
    }
    if members.len() >= TENANTS_MAX && !members.iter().any(|known| known == member) {
        return Err(Error::OverLimit(format!("an image is shared with {TENANTS_MAX} tenants at most")));
    }
    Ok(())
}
