//! Blobs without rows: removes files that were queued for removal, and those that a crash left.

use std::time::Duration;

use tokio::time::Instant;

use super::Files;
use crate::error::Result;
use crate::store;

/// Blobs handled per round.
const ROUND: usize = 256;
/// Interval of rounds when there is nothing to do.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Minimum interval between two compactions, however much is deleted.
const COMPACT_EVERY: Duration = Duration::from_secs(1);
/// How long a file that no row refers to is kept before it is deleted. An operator who started with the wrong database has
/// this long to notice.
const KEEP_ASIDE: Duration = Duration::from_secs(86_400);

impl Files {
    /// Removes queued blobs, sets orphans aside, and compacts volumes, until the service stops.
    pub(super) async fn sweep(self) {
        let mut stop = self.0.stop.subscribe();
        let files = self.clone();
        // In a separate task: with many files it takes long, and meanwhile deletions must free space.
        let setting_aside = tokio::spawn(async move {
            if let Err(error) = files.set_orphans_aside().await {
                tracing::warn!(%error, "cannot set orphaned blobs aside; retrying at the next start");
            }
        });
        let mut compacted: Option<Instant> = None;
        loop {
            match self.remove_garbage().await {
                Ok(removed) if removed == ROUND => continue,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot remove queued blobs; retrying in the next round")
                }
            }
            if compacted.is_none_or(|at| at.elapsed() >= COMPACT_EVERY) {
                if let Err(error) = self.compact().await {
                    tracing::warn!(%error, "cannot compact volumes; retrying in the next round");
                }
                if let Err(error) = self.delete_old_orphans(KEEP_ASIDE).await {
                    tracing::warn!(%error, "cannot delete old orphans; retrying in the next round");
                }
                compacted = Some(Instant::now());
            }
            let again = async {
                self.0.garbage.notified().await;
                // Deletions come in bursts; one compaction serves many.
                let due = compacted.map(|at| at + COMPACT_EVERY).unwrap_or_else(Instant::now);
                tokio::time::sleep_until(due).await;
            };
            tokio::select! {
                () = again => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        setting_aside.abort();
        let _ = setting_aside.await;
    }

    async fn remove_garbage(&self) -> Result<usize> {
        let queued = store::blobs::garbage(&self.0.db, i64::try_from(ROUND).unwrap_or(i64::MAX)).await?;
        let mut removed = Vec::with_capacity(queued.len());
        let mut failure = None;
        for id in queued {
            match self.0.blobs.delete_single(id).await {
                Ok(()) => removed.push(id),
                // Continue with the others.
                Err(error) => failure = Some(error),
            }
        }
        let count = removed.len();
        if count > 0 {
            store::blobs::removed(&self.0.db, removed).await?;
        }
        failure.map_or(Ok(count), |error| Err(error.into()))
    }

    /// Sets aside single-blob files of earlier processes that no row refers to.
    async fn set_orphans_aside(&self) -> Result<()> {
        for store in self.0.blobs.stores() {
            let mut page = 0;
            while let Some(found) = store.singles_of_earlier_processes(page).await? {
                page += 1;
                for id in found {
                    if !store::blobs::is_known(&self.0.db, id).await? {
                        tracing::info!(blob = %id, store = store.describe(), "no row refers to this blob; set aside as an orphan");
                        store.set_aside(id).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Deletes orphans that were set aside at least `age` ago and that still no row refers to.
    ///
    /// # Errors
    /// The database's and the stores'.
    pub async fn delete_old_orphans(&self, age: Duration) -> Result<()> {
        for store in self.0.blobs.stores() {
            for id in store.orphans_older_than(age).await? {
                // Blobs older than the database may belong to another database.
                if id.created_ms() < self.settings().database_since {
                    continue;
                }
                if !store::blobs::is_known(&self.0.db, id).await? {
                    tracing::info!(blob = %id, "removing an orphaned blob");
                    store.delete_orphan(id).await?;
                }
            }
        }
        Ok(())
    }
}
