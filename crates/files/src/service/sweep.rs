//! What nothing names any more: queued files of their own, what a crash left, and volumes that are mostly dead.

use std::time::Duration;

use blobs::BlobId;

use super::Files;
use crate::error::Result;
use crate::store;

/// Blobs removed per round.
const ROUND: usize = 256;
/// A volume is compacted when more than this part of it is dead, in percent.
const DEAD_PERCENT: u64 = 50;
/// Nothing to do for this long: look all the same.
const LOOK_EVERY: Duration = Duration::from_secs(60);

impl Files {
    pub(super) async fn sweep(self) {
        let mut stop = self.0.stop.subscribe();
        if let Err(error) = self.sweep_unnamed().await {
            tracing::warn!(%error, "what an earlier crash left stays until the next start");
        }
        loop {
            match self.remove_garbage().await {
                Ok(removed) if removed == ROUND => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "queued blobs stay until the next round"),
            }
            if let Err(error) = self.compact().await {
                tracing::warn!(%error, "a volume stays as it is until the next round");
            }
            tokio::select! {
                () = self.0.garbage.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn remove_garbage(&self) -> Result<usize> {
        let queued = store::blobs::garbage(&self.0.db, i64::try_from(ROUND).unwrap_or(i64::MAX)).await?;
        for id in &queued {
            self.0.blobs.delete_single(*id).await?;
        }
        let removed = queued.len();
        if removed > 0 {
            store::blobs::removed(&self.0.db, queued).await?;
        }
        Ok(removed)
    }

    /// Files that were written before this start and never named.
    async fn sweep_unnamed(&self) -> Result<()> {
        let (mut index, mut after): (usize, Option<BlobId>) = (0, None);
        while let Some(found) = self.0.blobs.older_singles(index, after, ROUND).await? {
            for id in &found {
                if !store::blobs::is_known(&self.0.db, *id).await? {
                    tracing::info!(blob = %id, "removing what an unfinished upload left");
                    self.0.blobs.delete_single(*id).await?;
                }
            }
            match found.last() {
                Some(last) => after = Some(*last),
                None => (index, after) = (index + 1, None),
            }
        }
        Ok(())
    }

    /// Copies what is alive out of sealed volumes that are mostly dead, and removes them.
    pub async fn compact(&self) -> Result<()> {
        let dead = store::blobs::dead(&self.0.db).await?;
        for volume in self.0.blobs.sealed_volumes() {
            let dead = dead.iter().find(|(number, _)| *number == volume.number).map_or(0, |(_, dead)| *dead);
            if dead * 100 > volume.bytes * DEAD_PERCENT {
                self.empty(volume.number).await?;
                self.0.blobs.remove_volume(volume.number).await?;
                store::blobs::forget_volume(&self.0.db, volume.number).await?;
                tracing::info!(volume = volume.number, dead, "compacted");
            }
        }
        Ok(())
    }

    async fn empty(&self, volume: i64) -> Result<()> {
        let mut from = Some(0);
        while let Some(offset) = from {
            let records = self.0.blobs.records(volume, offset, ROUND).await?;
            from = records.next;
            for (id, old) in store::blobs::alive(&self.0.db, records.blobs).await? {
                let mut reader = self.0.blobs.read(id, old, 0..old.length).await?;
                let mut bytes = bytes::BytesMut::new();
                while let Some(piece) = reader.next().await? {
                    bytes.extend_from_slice(&piece);
                }
                let new = self.0.blobs.put(blobs::store_of(volume), id, bytes.freeze()).await?;
                store::blobs::moved(&self.0.db, id, old, new).await?;
            }
        }
        Ok(())
    }
}
