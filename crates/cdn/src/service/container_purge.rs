//! Purges of whole containers, at most one per hour: on request, or as part of a removal.

use std::time::Duration;

use database::Tx;
use work::Time;

use crate::error::Result;
use crate::model::Publication;
use crate::store;

/// A whole container may be purged once in this time.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Returns whether a whole container may be purged again.
pub(super) async fn is_due(tx: &mut Tx, publication: &Publication, now: Time) -> Result<bool> {
    let last = store::last_container_purge(tx, publication.hash).await?;
    Ok(last.is_none_or(|last| last.after(INTERVAL) <= now))
}

/// Purges a whole container, and returns its publication as it is to be stored.
pub(super) async fn purge(tx: &mut Tx, publication: Publication, now: Time) -> Result<Publication> {
    store::set_container_purge(tx, publication.hash, now).await?;
    // The purges of single objects are older than this one.
    store::purges::clear(tx, publication.hash).await?;
    let generation = publication.generation + 1;
    Ok(Publication { generation, purged: generation, ..publication })
}
