//! The scrub: reads everything that is stored, in the background, at a bounded rate, and notes what is not what was stored.

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

/// Blobs read between two saves of how far the pass is.
const BATCH: usize = 64;
/// What a blob costs besides its bytes, so that many tiny ones are paced, too, in bytes.
const BLOB_COST: u64 = 4096;
/// How often a finished scrub looks whether the next pass is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Least time between two counts of what is damaged.
const COUNT_EVERY_MIN: Duration = Duration::from_secs(1);
/// Blobs that are remembered as noted.
const NOTED_MAX: usize = 10_000;

/// How the scrub is paced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// Bytes read a second; 0 switches it off.
    pub bytes_per_second: u64,
    /// A pass begins this long after the one before began, or when that is finished.
    pub every: Duration,
}

impl Default for Scrub {
    fn default() -> Self {
        Self { bytes_per_second: 8 << 20, every: Duration::from_secs(7 * 86_400) }
    }
}

/// A damaged blob, as an operator is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The blob.
    pub blob: BlobId,
    /// When it was found.
    pub found: Time,
    /// What is wrong with it.
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
                    tracing::warn!(%error, "the scrub pauses");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Checks everything that is stored, at once; returns how many blobs were checked.
    ///
    /// # Errors
    /// The database's.
    pub async fn scrub_all(&self) -> Result<u64> {
        let mut pass = Pass::begin(self.now());
        while self.check_after(&mut pass).await?.is_some() {}
        Ok(pass.checked)
    }

    /// One batch of the pass that is under way, or of the next if it is due. The bytes that were read; `None` with nothing to do.
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
            tracing::info!(blobs = pass.checked, "a pass of the scrub is finished");
        }
        store::damage::save_pass(&self.0.db, &pass).await?;
        Ok(read)
    }

    /// Measures what is dead in each volume. Deletions count it as it comes to be; what a crash left unnamed shows only here.
    ///
    /// # Errors
    /// The database's.
    pub async fn measure_volumes(&self) -> Result<()> {
        for volume in self.0.blobs.volumes().into_iter().filter(|volume| !volume.claimed) {
            let live = store::blobs::live_bytes(&self.0.db, volume.number).await?;
            if live == 0 && self.0.inherited.volumes.contains(&volume.number) {
                // What is in it may be named by a newer copy of the database; compaction decides how long it stays.
                continue;
            }
            store::blobs::set_dead(&self.0.db, volume.number, volume.bytes.saturating_sub(live)).await?;
        }
        Ok(())
    }

    /// Checks the blobs that follow; the bytes that were read, `None` at the end.
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
                // It may have been let go or moved meanwhile.
                if store::blobs::location(&self.0.db, named.id).await? == Some(named.location) {
                    self.note_damage(named.id, &error.to_string()).await;
                }
                Ok(())
            }
        }
    }

    /// Notes that a blob is not what was stored, the first time that this is found: who reads a damaged object over and over
    /// causes no writes.
    pub(super) async fn note_damage(&self, blob: BlobId, what: &str) {
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
            tracing::warn!(%error, %blob, "the damage is not noted; it will be found again");
            self.noted().remove(&blob);
        }
        self.0.damaged.notify_one();
    }

    fn noted(&self) -> MutexGuard<'_, HashSet<BlobId>> {
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the metric of damaged blobs up to date until the service stops: soon after new damage was noted, and every minute.
    pub(super) async fn watch_damage(self) {
        let mut stop = self.0.stop.subscribe();
        loop {
            self.show_damage().await;
            let changed = async {
                // Counting reads all damaged blobs; once a second is enough, however many are found.
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

    /// Notes that a volume holds what the disk does not give, so that it is not compacted before the next start.
    pub(super) fn note_unreadable(&self, volume: i64) {
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

    /// Damaged blobs, the first `limit` of them.
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
