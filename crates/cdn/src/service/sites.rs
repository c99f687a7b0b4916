//! Sites by hash, cached in memory, because an edge needs one for every request.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::Cdn;
use crate::error::Result;
use crate::model::{Hash, Site};
use crate::store;

/// Sites kept in memory at most.
const KEPT_MAX: usize = 10_000;

/// Cached sites. A site that was read from the database is cached only if nothing has changed meanwhile, so that no reader
/// restores an old site after a purge was acknowledged.
#[derive(Default)]
pub(super) struct Sites(RwLock<Kept>);

#[derive(Default)]
struct Kept {
    changes: u64,
    sites: HashMap<Hash, Option<Arc<Site>>>,
}

impl Sites {
    fn get(&self, hash: Hash) -> (Option<Option<Arc<Site>>>, u64) {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (kept.sites.get(&hash).cloned(), kept.changes)
    }

    fn keep(&self, hash: Hash, site: Option<Arc<Site>>, changes: u64) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if kept.changes == changes {
            if kept.sites.len() >= KEPT_MAX {
                kept.sites.clear();
            }
            kept.sites.insert(hash, site);
        }
    }

    /// Forgets a site that may have changed.
    pub(super) fn forget(&self, hash: Hash) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.changes += 1;
        kept.sites.remove(&hash);
    }

    /// Forgets all sites.
    pub(super) fn forget_all(&self) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.changes += 1;
        kept.sites.clear();
    }
}

impl Cdn {
    /// Returns a site that is in memory. The outer `None` means that [`Cdn::site`] must be called.
    #[must_use]
    pub fn known_site(&self, hash: Hash) -> Option<Option<Arc<Site>>> {
        self.0.sites.get(hash).0
    }

    /// Returns the site with this hash, or `None` if no published container has it.
    ///
    /// # Errors
    /// The database's.
    pub async fn site(&self, hash: Hash) -> Result<Option<Arc<Site>>> {
        let (known, changes) = self.0.sites.get(hash);
        if let Some(site) = known {
            return Ok(site);
        }
        let site = self
            .0
            .db
            .read(hash, |hash, tx| {
                Box::pin(async move {
                    let Some(publication) = store::find_by_hash(tx, *hash).await? else { return Ok(None) };
                    let objects = store::purges::all(tx, *hash).await?;
                    Ok::<_, crate::Error>(Site::of(publication, objects))
                })
            })
            .await?
            .map(Arc::new);
        self.0.sites.keep(hash, site.clone(), changes);
        Ok(site)
    }
}
