//! Purging: a purge advances a generation, and edges revalidate what they cached before it. Its cost does not depend on
//! how much is cached.

use identity::Right;

use super::limits::{DAY, PURGES_PER_DAY};
use super::publishing::listed;
use super::{Cdn, Context, container_purge};
use crate::error::{Error, Result};
use crate::store;

/// Purged objects that are remembered by name, in one container; beyond that the whole container is purged.
const PURGED_OBJECTS_MAX: i64 = 1000;
/// Bytes of an object's name at most (Cloud Files guide).
const NAME_MAX: usize = 1024;

impl Cdn {
    /// Purges one object of a published container: what edges have of it is revalidated before it is served again. The
    /// object need not exist.
    ///
    /// # Errors
    /// [`Error::PurgesUsedUp`] when the account has no purge left on this UTC day; [`Error::NotPublished`],
    /// [`Error::Forbidden`], [`Error::Invalid`].
    pub async fn purge_object(
        &self,
        context: &Context,
        tenant: &str,
        container: &str,
        object: &str,
    ) -> Result<()> {
        context.authorise(tenant, Right::Administer)?;
        if object.is_empty() || object.len() > NAME_MAX {
            return Err(Error::Invalid(format!("an object's name has 1 to {NAME_MAX} bytes")));
        }
        let day = self.0.clock.now().seconds().div_euclid(DAY);
        let input = (tenant.to_owned(), container.to_owned(), object.to_owned(), day);
        self.change((tenant, container), input, |(tenant, container, object, day), tx| {
            Box::pin(async move {
                let mut publication = listed(store::find(tx, tenant, container).await?)?;
                let limit = store::limits::purges(tx, tenant).await?;
                let limit = limit.unwrap_or(PURGES_PER_DAY);
                if store::limits::count_purge(tx, tenant, *day).await? > limit {
                    return Err(Error::PurgesUsedUp(u64::try_from(limit).unwrap_or(0)));
                }
                publication.generation += 1;
                if store::purges::count(tx, publication.hash).await? >= PURGED_OBJECTS_MAX {
                    store::purges::clear(tx, publication.hash).await?;
                    publication.purged = publication.generation;
                } else {
                    store::purges::put(tx, publication.hash, object, publication.generation).await?;
                }
                Ok(store::put(tx, &publication).await?)
            })
        })
        .await
    }

    /// Purges all objects of a published container.
    ///
    /// # Errors
    /// [`Error::PurgeRefused`] when the last time was less than an hour ago; [`Error::NotPublished`],
    /// [`Error::Forbidden`].
    pub async fn purge_container(&self, context: &Context, tenant: &str, container: &str) -> Result<()> {
        context.authorise(tenant, Right::Administer)?;
        let input = (tenant.to_owned(), container.to_owned(), self.0.clock.now());
        self.change((tenant, container), input, |(tenant, container, now), tx| {
            Box::pin(async move {
                let publication = listed(store::find(tx, tenant, container).await?)?;
                if !container_purge::is_due(tx, &publication, *now).await? {
                    let reason = "A container can be purged once in 3600 seconds";
                    return Err(Error::PurgeRefused(reason.into()));
                }
                let purged = container_purge::purge(tx, publication, *now).await?;
                Ok(store::put(tx, &purged).await?)
            })
        })
        .await
    }
}
