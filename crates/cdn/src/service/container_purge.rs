//! The purge of a whole container, which its owner asks for or which comes with its removal. There is one in an hour.

use std::time::Duration;

use database::Tx;
use work::Time;

use crate::error::Result;
use crate::model::Publication;
use crate::store;

/// A whole container may be purged once in this time.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Whether a whole container may be purged again.
pub(super) async fn is_due(tx: &mut Tx, publication: &Publication, now: Time) -> Result<bool> {
    let last = store::last_container_purge(tx, publication.hash).await?;
    Ok(last.is_none_or(|last| last.after(INTERVAL) <= now))
}

/// Purges a whole container, and returns its publication as it is to be stored.
pub(super) async fn purge(tx: &mut Tx, publication: Publication, now: Time) -> Result<Publication> {
    store::set_container_purge(tx, publication.hash, now).await?;
    // Each of them is older than this purge.
    store::purges::clear(tx, publication.hash).await?;
    let generation = publication.generation + 1;
    Ok(Publication { generation, purged: generation, ..publication })
}
