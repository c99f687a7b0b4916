//! The scrub: reads everything that is stored, in the background at a limited rate, and records damage.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use blobs::BlobId;
use work::Time;

use super::Files;
use crate::error::Result;
use crate::store;
use crate::store::blobs::Named;
use crate::store::damage::Pass;

/// Blobs checked between two saves of the progress.
const BATCH: usize = 64;
/// Bytes that each blob counts in addition to its length, so that many tiny blobs are paced too.
const BLOB_COST: u64 = 4096;
/// Interval at which a finished scrub checks whether the next pass is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Minimum interval between two counts of damaged blobs.
const COUNT_EVERY_MIN: Duration = Duration::from_secs(1);
/// Maximum number of recorded blobs that are remembered.
const NOTED_MAX: usize = 10_000;

/// How the scrub is paced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// Bytes read per second; 0 disables the scrub.
    pub bytes_per_second: u64,
    /// Interval between the starts of two passes; a pass never starts before the previous one ended.
    pub every: Duration,
}

impl Default for Scrub {
    fn default() -> Self {
        Self { bytes_per_second: 8 << 20, every: Duration::from_secs(7 * 86_400) }
    }
}

/// A damaged blob, as reported to operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The blob.
    pub blob: BlobId,
    /// When it was found.
    pub found: Time,
    /// What is wrong.
    pub what: String,
}

impl Files {
    /// Scrubs until the service stops.
    pub(super) async fn scrub(self) {
        let pace = self.settings().scrub;
        let mut stop = self.0.stop.subscribe();
        if pace.bytes_per_second == 0 {
            return;
        }
        loop {
            let rest = match self.scrub_batch().await {
                Ok(Some(bytes)) => Duration::from_millis(bytes.saturating_mul(1000) / pace.bytes_per_second),
                Ok(None) => LOOK_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "the scrub failed; retrying later");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Checks everything that is stored, without pacing; returns the number of blobs checked.
    ///
    /// # Errors
    /// The database's.
    pub async fn scrub_all(&self) -> Result<u64> {
        let mut pass = Pass::begin(self.now());
        while self.check_after(&mut pass).await?.is_some() {}
        Ok(pass.checked)
    }

    /// Checks one batch of the current pass, or of the next one if it is due. Returns the bytes read; `None` if nothing is due.
    async fn scrub_batch(&self) -> Result<Option<u64>> {
        let now = self.now();
        let every = i64::try_from(self.settings().scrub.every.as_micros()).unwrap_or(i64::MAX);
        let mut pass = match store::damage::pass(&self.0.db).await? {
            Some(pass) if pass.finished.is_none() => pass,
            Some(pass) if now.0 < pass.begun.0.saturating_add(every) => return Ok(None),
            _ => Pass::begin(now),
        };
        let read = self.check_after(&mut pass).await?;
        if read.is_none() {
            pass.finished = Some(self.now());
            store::damage::prune(&self.0.db).await?;
            self.measure_volumes().await?;
            tracing::info!(blobs = pass.checked, "finished a pass of the scrub");
        }
        store::damage::save_pass(&self.0.db, &pass).await?;
        Ok(read)
    }

    /// Measures the dead space of each volume. Deletions count it as it arises; blobs left by a crash are found only here.
    ///
    /// # Errors
    /// The database's.
    pub async fn measure_volumes(&self) -> Result<()> {
        for volume in self.0.blobs.volumes().into_iter().filter(|volume| !volume.claimed) {
            let live = store::blobs::live_bytes(&self.0.db, volume.number).await?;
            if live == 0 && self.0.inherited.volumes.contains(&volume.number) {
                // A newer copy of the database may refer to its blobs; compaction decides how long to keep it.
                continue;
            }
            store::blobs::set_dead(&self.0.db, volume.number, volume.bytes.saturating_sub(live)).await?;
        }
        Ok(())
    }

    /// Checks the next blobs; returns the bytes read, or `None` at the end of the pass.
    async fn check_after(&self, pass: &mut Pass) -> Result<Option<u64>> {
        let batch = store::blobs::by_place(&self.0.db, &pass.after, BATCH).await?;
        let Some(last) = batch.last() else { return Ok(None) };
        pass.after = *last;
        let mut bytes = 0;
        for named in &batch {
            bytes += named.location.length + BLOB_COST;
            self.check(named).await?;
        }
        pass.checked += batch.len() as u64;
        Ok(Some(bytes))
    }

    async fn check(&self, named: &Named) -> Result<()> {
        match self.0.blobs.verify(named.id, named.location).await {
            Ok(()) => {
                store::damage::forget(&self.0.db, named.id).await?;
                self.noted().remove(&named.id);
                Ok(())
            }
            Err(error) => {
                // The blob may have been released or moved meanwhile.
                if store::blobs::location(&self.0.db, named.id).await? == Some(named.location) {
                    self.record_damage(named.id, &error.to_string()).await;
                }
                Ok(())
            }
        }
    }

    /// Records that a blob is damaged. Repeated reads of a damaged object cause no further writes.
    pub(super) async fn record_damage(&self, blob: BlobId, what: &str) {
        {
            let mut noted = self.noted();
            if noted.len() >= NOTED_MAX {
                noted.clear();
            }
            if !noted.insert(blob) {
                return;
            }
        }
        tracing::error!(%blob, what, "a blob is damaged; it is not served");
        if let Err(error) = store::damage::note(&self.0.db, blob, self.now(), what).await {
            tracing::warn!(%error, %blob, "cannot record the damage; it will be found again");
            self.noted().remove(&blob);
        }
        self.0.damaged.notify_one();
    }

    fn noted(&self) -> MutexGuard<'_, HashSet<BlobId>> {
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Updates the metric of damaged blobs until the service stops: soon after damage was recorded, and every minute.
    pub(super) async fn watch_damage(self) {
        let mut stop = self.0.stop.subscribe();
        loop {
            self.show_damage().await;
            let changed = async {
                // Counting reads the rows of all damaged blobs, so limit it to once per second.
                tokio::time::sleep(COUNT_EVERY_MIN).await;
                self.0.damaged.notified().await;
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Records that the disk fails to read a volume, so that it is not compacted until the next start.
    pub(super) fn record_unreadable(&self, volume: i64) {
        self.0.unreadable.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(volume);
    }

    pub(super) fn holds_unreadable(&self, volume: i64) -> bool {
        self.0.unreadable.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(&volume)
    }

    async fn show_damage(&self) {
        if let Ok(count) = store::damage::count(&self.0.db).await {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            metrics::gauge!("nephos_damaged_blobs").set(count as f64);
        }
    }

    /// Returns the first `limit` damaged blobs.
    ///
    /// # Errors
    /// The database's.
    pub async fn damage(&self, limit: usize) -> Result<Vec<Damage>> {
        let found = store::damage::list(&self.0.db, BlobId([0; 16]), limit).await?;
        let shown = |damaged: store::damage::Damaged| Damage {
            blob: damaged.blob,
            found: damaged.found,
            what: damaged.what,
        };
        Ok(found.into_iter().map(shown).collect())
    }
}
