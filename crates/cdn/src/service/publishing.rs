//! Publishing, changing, listing and removing.

use identity::Right;

use super::{Cdn, Context, container_purge};
use crate::error::{Error, Result};
use crate::model::{Change, Publication};
use crate::store;

/// Bytes of a container's name at most (Cloud Files guide).
const NAME_MAX: usize = 256;
/// Bytes of a pattern at most.
const PATTERN_MAX: usize = 1024;

/// Which publications are listed.
#[derive(Clone, Debug)]
pub struct Page {
    /// At most so many.
    pub limit: usize,
    /// Only those whose names come after this one.
    pub marker: String,
    /// Only those whose names come before this one, if not empty.
    pub end_marker: String,
    /// Only those that are, or are not, enabled.
    pub enabled: Option<bool>,
}

/// What [`Cdn::publish`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The publication as it is now.
    pub publication: Publication,
    /// Whether the container was not published before.
    pub is_new: bool,
}

impl Cdn {
    /// Publishes a container, or changes a publication. The container need not exist yet.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `object-store:admin`; [`Error::Invalid`] for a name or a pattern.
    pub async fn publish(
        &self,
        context: &Context,
        tenant: &str,
        container: &str,
        change: Change,
    ) -> Result<Published> {
        context.authorise(tenant, Right::Administer)?;
        check_name(container)?;
        check_patterns(&change)?;
        let input = (Publication::new(self.hash(tenant, container), tenant, container), change);
        self.change((tenant, container), input, |(new, change), tx| {
            Box::pin(async move {
                let found = store::find(tx, &new.tenant, &new.container).await?;
                let is_new = found.as_ref().is_none_or(|found| found.removed);
                let mut publication = match found {
                    // A removed publication keeps its names and its purges, so publishing it again purges nothing more.
                    Some(found) if found.removed => Publication {
                        hash: found.hash,
                        generation: found.generation,
                        purged: found.purged,
                        ..new.clone()
                    },
                    Some(found) => found,
                    None => new.clone(),
                };
                change.apply(&mut publication);
                store::put(tx, &publication).await?;
                Ok::<_, Error>(Published { publication, is_new })
            })
        })
        .await
    }

    /// Changes a publication.
    ///
    /// # Errors
    /// [`Error::NotPublished`] for a container that never was; [`Error::Forbidden`]; [`Error::Invalid`].
    pub async fn update(
        &self,
        context: &Context,
        tenant: &str,
        container: &str,
        change: Change,
    ) -> Result<Publication> {
        context.authorise(tenant, Right::Administer)?;
        check_patterns(&change)?;
        let input = (tenant.to_owned(), container.to_owned(), change);
        self.change((tenant, container), input, |(tenant, container, change), tx| {
            Box::pin(async move {
                let mut publication = listed(store::find(tx, tenant, container).await?)?;
                change.apply(&mut publication);
                store::put(tx, &publication).await?;
                Ok::<_, Error>(publication)
            })
        })
        .await
    }

    /// A container's publication.
    ///
    /// # Errors
    /// [`Error::NotPublished`], [`Error::Forbidden`].
    pub async fn publication(&self, context: &Context, tenant: &str, container: &str) -> Result<Publication> {
        context.authorise(tenant, Right::Observe)?;
        let input = (tenant.to_owned(), container.to_owned());
        self.0
            .db
            .read(input, |(tenant, container), tx| {
                Box::pin(async move { listed(store::find(tx, tenant, container).await?) })
            })
            .await
    }

    /// The containers that are or were published, in the order of their names.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub async fn list(&self, context: &Context, tenant: &str, page: Page) -> Result<Vec<Publication>> {
        context.authorise(tenant, Right::Observe)?;
        let input = (tenant.to_owned(), page);
        self.0
            .db
            .scan(input, |(tenant, page), tx| {
                Box::pin(async move {
                    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
                    Ok(store::list(tx, tenant, (&page.marker, &page.end_marker), page.enabled, limit).await?)
                })
            })
            .await
    }

    /// Removes a container from the list and from the edges. Its host names stay reserved for it. This also purges the container,
    /// unless it was purged within the last hour, so that removing and publishing is no way around the limit on purges.
    ///
    /// # Errors
    /// [`Error::NotPublished`], [`Error::Forbidden`].
    pub async fn remove(&self, context: &Context, tenant: &str, container: &str) -> Result<()> {
        context.authorise(tenant, Right::Administer)?;
        let input = (tenant.to_owned(), container.to_owned(), self.0.clock.now());
        self.change((tenant, container), input, |(tenant, container, now), tx| {
            Box::pin(async move {
                let mut publication = listed(store::find(tx, tenant, container).await?)?;
                if container_purge::is_due(tx, &publication, *now).await? {
                    publication = container_purge::purge(tx, publication, *now).await?;
                }
                store::put(tx, &Publication { enabled: false, removed: true, ..publication }).await?;
                Ok::<_, Error>(())
            })
        })
        .await
    }

    /// Deletes everything of a tenant that is gone.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_tenant(&self, tenant: &str) -> Result<()> {
        let deleted = self.0.db.write(tenant.to_owned(), |tenant, tx| {
            Box::pin(async move { Ok::<_, Error>(store::delete_tenant(tx, tenant).await?) })
        });
        let outcome = deleted.await;
        self.0.sites.forget_all();
        outcome
    }
}

/// Finds a publication that was not removed.
pub(super) fn listed(found: Option<Publication>) -> Result<Publication> {
    found.filter(|found| !found.removed).ok_or(Error::NotPublished)
}

fn check_name(container: &str) -> Result<()> {
    let is_name = !container.is_empty() && container.len() <= NAME_MAX && !container.contains('/');
    if is_name {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "a container's name has 1 to {NAME_MAX} bytes and no slash; this one has {}",
        container.len()
    )))
}

fn check_patterns(change: &Change) -> Result<()> {
    for pattern in [&change.user_agents, &change.referrers].into_iter().flatten() {
        if pattern.len() > PATTERN_MAX {
            return Err(Error::Invalid(format!("a pattern has at most {PATTERN_MAX} bytes")));
        }
    }
    Ok(())
}
