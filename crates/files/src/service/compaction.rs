//! Compaction: copies the live blobs out of a volume that is mostly dead and removes the volume. Which blobs are live is
//! decided by rows alone, never by a volume's contents, so damage in a volume affects only the damaged blobs.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use blobs::{BlobId, Claim, Location, Volume};

use tokio::time::Instant;

use super::Files;
use crate::error::{Error, Result};
use crate::store;
use crate::store::blobs::Named;

/// Maximum number of blobs copied, synced and committed together.
const BATCH: usize = 256;
/// Bytes copied, synced and committed together; exceeded by at most one blob.
const BATCH_BYTES: u64 = 8 << 20;
/// With little space left, fewer bytes are copied before the old copies are freed.
const SHORT_BATCH_BYTES: u64 = 1 << 20;
/// A volume is compacted when more than this percentage of it is dead.
const DEAD_PERCENT: u64 = 50;
/// Rows of live blobs read at once when looking for gaps between them.
const GAPS_AT_ONCE: usize = 4096;
/// Maximum number of gaps freed per round.
const GAPS_MAX: usize = 100_000;
/// Dead space is freed in place only if at most this much more is unreferenced than known to be dead, in bytes: a crash
/// leaves such uploads behind.
const UNACCOUNTED_BYTES_MAX: u64 = 4 << 20;
/// Maximum locations of dead bytes kept in memory while the database cannot count them; the scrub measures any others.
const UNCOUNTED_MAX: usize = 100_000;
/// A volume shorter than this is small, in bytes. Each start may leave one behind.
const SMALL_BYTES: u64 = 4 << 20;
/// More small volumes than this are merged.
const SMALL_VOLUMES_MAX: usize = 16;

/// How long a volume of an earlier process is kept if no row refers to it but the database has no record of its blobs being
/// deleted. An operator who started with an older database has this long to notice.
const KEEP_UNACCOUNTED: Duration = Duration::from_secs(86_400);

/// The volumes of earlier processes.
pub(super) struct EarlierVolumes {
    pub(super) volumes: BTreeSet<i64>,
    /// When this process started.
    pub(super) since: Instant,
    /// How long rows that refer to them may still appear.
    pub(super) settling: Duration,
}

impl Files {
    /// Removes volumes without live blobs, then compacts those that are mostly dead. A volume that fails does not prevent
    /// compaction of the others.
    ///
    /// # Errors
    /// The database's, if it cannot tell what is dead.
    pub async fn compact(&self) -> Result<()> {
        self.count_dead(Vec::new()).await;
        let dead = store::blobs::dead(&self.0.db).await?;
        // A crash between removing a volume and deleting its dead space count leaves the count behind.
        for (number, _) in dead.iter().filter(|(number, _)| !self.0.blobs.may_have_volume(*number)) {
            store::blobs::forget_volume(&self.0.db, *number).await?;
        }
        let dead_in = |volume: &Volume| {
            dead.iter().find(|(number, _)| *number == volume.number).map_or(0, |(_, dead)| *dead)
        };
        // Seal current volumes that are mostly dead: on a full disk, there may be no others.
        for current in self.0.blobs.current_volumes() {
            if current.bytes > SMALL_BYTES && is_mostly_dead(&current, dead_in(&current)) {
                self.0.blobs.seal(current.number).await?;
            }
        }
        let mut left = Vec::new();
        for volume in self.0.blobs.volumes() {
            let accounted = is_mostly_dead(&volume, dead_in(&volume));
            match self.remove_if_dead(&volume, accounted).await {
                Ok(true) => {}
                Ok(false) => left.push(volume),
                Err(error) => {
                    tracing::warn!(%error, volume = volume.number, "cannot remove a dead volume; retrying later")
                }
            }
        }
        let small = left.iter().filter(|volume| volume.bytes < SMALL_BYTES).count() > SMALL_VOLUMES_MAX;
        left.retain(|volume| {
            !self.holds_unreadable(volume.number)
                && (is_mostly_dead(volume, dead_in(volume)) || (small && volume.bytes < SMALL_BYTES))
        });
        // First the volumes that free most per byte copied.
        left.sort_by_key(|volume| volume.bytes.saturating_sub(dead_in(volume)));
        for volume in left {
            if self.0.blobs.is_short_of_space(volume.number)
                && let Err(error) = self.free_dead(&volume, dead_in(&volume)).await
            {
                tracing::warn!(%error, volume = volume.number, "cannot free dead space in a volume; retrying later");
            }
            match self.empty(volume.number).await {
                Ok(()) => {
                    self.remove_if_dead(&volume, true).await?;
                }
                Err(error) => {
                    tracing::warn!(%error, volume = volume.number, "cannot compact a volume; retrying later")
                }
            }
        }
        Ok(())
    }

    /// Removes a volume that no row refers to and no upload claims; returns false otherwise. `accounted` says that the database
    /// has a record of its blobs being deleted.
    async fn remove_if_dead(&self, volume: &Volume, accounted: bool) -> Result<bool> {
        if self.0.inherited.volumes.contains(&volume.number) {
            let age = self.0.inherited.since.elapsed();
            // An older copy of the database has no rows for blobs stored after it was made, and no record of their deletion.
            let wait = if accounted { self.0.inherited.settling } else { KEEP_UNACCOUNTED };
            if age < wait {
                return Ok(false);
            }
        }
        // Check claims before rows: an upload that released its claim by now has committed its row.
        if volume.claimed || store::blobs::refers_to_volume(&self.0.db, volume.number).await? {
            return Ok(false);
        }
        if !self.0.blobs.remove_volume(volume.number).await? {
            return Ok(false);
        }
        store::blobs::forget_volume(&self.0.db, volume.number).await?;
        tracing::info!(volume = volume.number, bytes = volume.bytes, "removed a dead volume");
        Ok(true)
    }

    /// Frees the dead space of a volume in place. This requires no free space, so it works on a full disk.
    async fn free_dead(&self, volume: &Volume, dead: u64) -> Result<()> {
        if volume.claimed {
            return Ok(());
        }
        let (mut place, mut from, mut live, mut gaps) = (0, 0, 0, Vec::new());
        let unnamed = loop {
            let named = store::blobs::in_volume(&self.0.db, volume.number, place, GAPS_AT_ONCE).await?;
            let Some(last) = named.last() else {
                // The part after the last record, to the end of the volume.
                gaps.push(from..u64::MAX);
                break volume.bytes.saturating_sub(live);
            };
            for record in named.iter().map(|named| named.location.record()) {
                if record.start > from {
                    gaps.push(from..record.start);
                }
                from = record.end;
                live += record.end - record.start;
            }
            place = last.location.offset + 1;
            if gaps.len() > GAPS_MAX {
                break gaps.iter().map(|gap| gap.end - gap.start).sum();
            }
        };
        // Space beyond what the database knows to be dead may be live in a newer copy of the database.
        if unnamed > dead.saturating_add(UNACCOUNTED_BYTES_MAX) {
            return Ok(());
        }
        self.0.blobs.free(volume.number, gaps).await?;
        Ok(())
    }

    /// Copies all live blobs out of a volume.
    async fn empty(&self, volume: i64) -> Result<()> {
        let mut from = 0;
        loop {
            let named = store::blobs::in_volume(&self.0.db, volume, from, BATCH).await?;
            let Some(last) = named.last() else { return Ok(()) };
            let short = self.0.blobs.is_short_of_space(volume);
            let most = if short { SHORT_BATCH_BYTES } else { BATCH_BYTES };
            let batch = first_bytes(&named, most);
            from = if batch.len() == named.len() {
                last.location.offset + 1
            } else {
                named[batch.len()].location.offset
            };
            let left = self.relocate(batch).await?;
            let parts = left.iter().map(Location::record).collect();
            if short && !self.0.blobs.free(volume, parts).await? {
                // Continuing would use the space that deletions need, and free nothing.
                return Err(Error::Full);
            }
        }
    }

    /// Copies blobs and updates their rows; returns the old locations, which no row refers to any more.
    async fn relocate(&self, batch: &[Named]) -> Result<Vec<Location>> {
        let copies = batch.iter().map(|named| self.0.blobs.relocate(named.id, named.location));
        // Copy concurrently, so that all share one fsync.
        let copies = futures_util::future::join_all(copies).await;
        let (mut moves, mut claims, mut failure) = (Vec::new(), Vec::new(), None);
        for (named, copy) in batch.iter().zip(copies) {
            match copy {
                Ok(copy) => {
                    if copy.damaged {
                        self.record_damage(named.id, "it does not match its checksums").await;
                    }
                    moves.push((named.id, named.location, copy.placed.location));
                    claims.push(copy.placed.claim);
                }
                // The disk fails to read the blob: it stays where it is, and so does the volume.
                Err(blobs::Error::Io { operation: "reading a blob", reason }) => {
                    self.record_damage(named.id, &reason).await;
                    self.record_unreadable(named.location.volume);
                }
                // Another blob or nothing is stored there, so there is nothing to move.
                Err(error @ (blobs::Error::Corrupt { .. } | blobs::Error::Missing { .. })) => {
                    self.record_damage(named.id, &error.to_string()).await;
                    self.record_unreadable(named.location.volume);
                }
                // Still commit what was copied before.
                Err(other) => failure = Some(Error::from(other)),
            }
        }
        let left = moves.iter().map(|(_, from, _)| *from).collect();
        let moved: Vec<(BlobId, Location, Location)> = moves;
        let copies: Vec<Location> = moved.iter().map(|(_, _, to)| *to).collect();
        if !moved.is_empty()
            && let Err(error) = store::blobs::moved(&self.0.db, moved).await
        {
            if error.is_unknown() {
                // Rows may refer to the copies, so keep their claims until this process exits.
                claims.into_iter().for_each(Claim::keep);
            } else {
                self.count_dead(copies).await;
            }
            return Err(error.into());
        }
        drop(claims);
        failure.map_or(Ok(left), Err)
    }
}

impl Files {
    /// Counts blobs that no row will refer to as dead space, together with those that could not be counted before. Those that
    /// cannot be counted now are kept in memory until the next call.
    pub(super) async fn count_dead(&self, places: Vec<Location>) {
        let mut uncounted = std::mem::take(&mut *self.uncounted());
        uncounted.extend(places);
        if uncounted.is_empty() {
            return;
        }
        match store::blobs::discarded(&self.0.db, uncounted.clone()).await {
            Ok(()) => {}
            // They may have been counted. If not, the scrub measures the volume.
            Err(error) if error.is_unknown() => {}
            Err(error) => {
                tracing::warn!(%error, "cannot count dead space; retrying later");
                let mut kept = self.uncounted();
                uncounted.truncate(UNCOUNTED_MAX.saturating_sub(kept.len()));
                kept.extend(uncounted);
            }
        }
    }

    fn uncounted(&self) -> MutexGuard<'_, Vec<Location>> {
        self.0.uncounted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_mostly_dead(volume: &Volume, dead: u64) -> bool {
    dead * 100 > volume.bytes * DEAD_PERCENT
}

/// Returns the leading blobs with at most `most` bytes in total, but at least one.
fn first_bytes(named: &[Named], most: u64) -> &[Named] {
    let mut bytes = 0;
    let fits = |named: &&Named| {
        bytes += named.location.length;
        bytes <= most
    };
    let count = named.iter().take_while(fits).count().max(1);
    &named[..count.min(named.len())]
}
