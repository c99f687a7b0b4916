//! Appends blobs to volumes. Blobs that arrive during an fsync are queued and share the next one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::space::{self, Claimant};
use super::volume::{Claim, Created, Volumes};
use crate::error::{Error, Result};
use crate::{Location, StoredBlob};

/// Default size at which a volume is sealed, in bytes.
pub(super) const VOLUME_BYTES_MAX: u64 = 1 << 30;
/// Most records per fsync.
const BATCH_RECORDS_MAX: usize = 256;
/// Length of the queue; submitters wait while it is full.
const QUEUE_RECORDS: usize = 1024;

enum Order {
    Append(Append),
    /// Stop writing to this volume, so that it can be compacted.
    Seal(i64, oneshot::Sender<()>),
}

struct Append {
    record: Vec<u8>,
    length: u64,
    claimant: Claimant,
    done: oneshot::Sender<Result<StoredBlob>>,
}

pub(super) struct Appender {
    queue: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    current: Arc<AtomicI64>,
}

impl Appender {
    pub(super) fn start(volumes: Arc<Volumes>, volume_bytes_max: u64) -> Result<Self> {
        // Never append to a volume of an earlier process: its end is unknown after a crash. A new volume is created with the
        // first record, so a start without writes leaves no empty one.
        let current = Arc::new(AtomicI64::new(0));
        let (queue, orders) = mpsc::channel(QUEUE_RECORDS);
        let writer = Writer { volumes, tail: None, current: Arc::clone(&current), volume_bytes_max };
        let thread = std::thread::Builder::new()
            .name("blob-appender".into())
            .spawn(move || writer.run(orders))
            .map_err(|e| Error::io("starting the appender", &e))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), current })
    }

    /// Returns the number of the volume being written, or 0 if there is none.
    pub(super) fn current(&self) -> i64 {
        self.current.load(Ordering::Acquire)
    }

    pub(super) async fn append(
        &self,
        record: Vec<u8>,
        length: u64,
        claimant: Claimant,
    ) -> Result<StoredBlob> {
        let (done, durable) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(Error::Closing)?;
        let order = Order::Append(Append { record, length, claimant, done });
        queue.send(order).await.map_err(|_| Error::Closing)?;
        durable.await.unwrap_or(Err(Error::Closing))
    }

    /// Seals `volume`: nothing is written to it afterwards.
    pub(super) async fn seal(&self, volume: i64) -> Result<()> {
        let (done, sealed) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(Error::Closing)?;
        queue.send(Order::Seal(volume, done)).await.map_err(|_| Error::Closing)?;
        sealed.await.map_err(|_| Error::Closing)
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The volume being written and its current end.
struct CurrentVolume {
    number: i64,
    file: Arc<File>,
    end: u64,
    reserved: u64,
    /// Publishes `end` as the length of the volume.
    written: Arc<AtomicU64>,
    /// Keeps compaction from removing the volume while it is being created or closed.
    _claim: Claim,
}

/// The result of appending a batch, per record.
struct Written {
    places: Vec<io::Result<Location>>,
    /// Whether the volume must not be written to again.
    unusable: bool,
}

impl CurrentVolume {
    /// Appends the records that fit and syncs once. A record that does not fit fails; the others are not affected.
    fn append(&mut self, batch: &[Append]) -> Written {
        let mut joined = Vec::with_capacity(batch.iter().map(|append| append.record.len()).sum());
        let mut places = Vec::with_capacity(batch.len());
        for append in batch {
            let offset = self.end + joined.len() as u64;
            let end = offset + append.record.len() as u64;
            if end > self.reserved {
                match space::grow(&self.file, self.reserved, end, append.claimant) {
                    Ok(reserved) => self.reserved = reserved,
                    Err(error) => {
                        places.push(Err(error));
                        continue;
                    }
                }
            }
            let offset = i64::try_from(offset).unwrap_or(i64::MAX);
            places.push(Ok(Location { volume: self.number, offset, length: append.length }));
            joined.extend_from_slice(&append.record);
        }
        if joined.is_empty() {
            return Written { places, unusable: false };
        }
        // After a failed fsync the kernel may have dropped the dirty pages, and a second fsync would report success. So
        // this volume is sealed: nothing beyond its end is acknowledged or overwritten.
        let (written, synced) = match self.file.write_all_at(&joined, self.end) {
            Ok(()) => (Ok(()), self.file.sync_data()),
            Err(error) => (Err(error), Ok(())),
        };
        let unusable = synced.is_err() || written.as_ref().is_err_and(|error| !is_full(error));
        match written.and(synced) {
            Ok(()) => {
                self.end += joined.len() as u64;
                self.written.store(self.end, Ordering::Release);
            }
            Err(error) => {
                tracing::error!(%error, volume = self.number, "cannot append");
                for place in places.iter_mut().filter(|place| place.is_ok()) {
                    *place = Err(copy(&error));
                }
            }
        }
        Written { places, unusable }
    }

    /// Frees the reserved space that was not used.
    fn close(&self) {
        if let Err(error) = space::punch(&self.file, self.end.next_multiple_of(4096), self.reserved) {
            tracing::warn!(%error, volume = self.number, "cannot free a volume's unused space; it stays allocated");
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

struct Writer {
    volumes: Arc<Volumes>,
    tail: Option<CurrentVolume>,
    current: Arc<AtomicI64>,
    volume_bytes_max: u64,
}

impl Writer {
    fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut received = Vec::with_capacity(BATCH_RECORDS_MAX);
        let mut batch = Vec::with_capacity(BATCH_RECORDS_MAX);
        while orders.blocking_recv_many(&mut received, BATCH_RECORDS_MAX) > 0 {
            let mut seals = Vec::new();
            for order in received.drain(..) {
                match order {
                    Order::Append(append) => batch.push(append),
                    Order::Seal(volume, done) => seals.push((volume, done)),
                }
            }
            self.append(&mut batch);
            for (volume, done) in seals {
                if self.tail.as_ref().is_some_and(|tail| tail.number == volume) {
                    self.close();
                }
                let _ = done.send(());
            }
        }
        self.close();
    }

    fn append(&mut self, batch: &mut Vec<Append>) {
        if batch.is_empty() {
            return;
        }
        let written = match self.tail() {
            Ok(tail) => tail.append(batch),
            Err(error) => {
                tracing::error!(%error, "cannot create a volume; the uploads in this batch fail");
                Written { places: batch.iter().map(|_| Err(copy(&error))).collect(), unusable: false }
            }
        };
        let number = self.current.load(Ordering::Acquire);
        for (append, place) in batch.drain(..).zip(written.places) {
            // Claim the volume before returning the location, and so before the volume can be sealed and removed.
            let placed = place.map(|location| StoredBlob { location, claim: self.volumes.claim(number) });
            let _ = append.done.send(placed.map_err(|e| Error::io("appending to a volume", &e)));
        }
        if written.unusable && self.tail.as_ref().is_some_and(|tail| tail.end == 0) {
            // No record in it was acknowledged. Remove it, so that repeated disk errors do not accumulate empty volumes.
            self.close();
            if let Err(error) = self.volumes.remove(number) {
                tracing::warn!(%error, volume = number, "cannot remove an empty volume; it stays on the disk");
            }
            return;
        }
        if written.unusable || self.tail.as_ref().is_some_and(|tail| tail.end >= self.volume_bytes_max) {
            self.close();
        }
    }

    fn tail(&mut self) -> io::Result<&mut CurrentVolume> {
        if self.tail.is_none() {
            let Created { number, file, written, claim } = self.volumes.create()?;
            self.current.store(number, Ordering::Release);
            self.tail = Some(CurrentVolume { number, file, end: 0, reserved: 0, written, _claim: claim });
        }
        self.tail.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn close(&mut self) {
        if let Some(tail) = self.tail.take() {
            tail.close();
            self.current.store(0, Ordering::Release);
        }
    }
}

impl StoredBlob {
    /// Creates the result for a blob whose location needs no claim.
    #[must_use]
    pub fn without_claim(location: Location) -> Self {
        Self { location, claim: Claim::default() }
    }
}
