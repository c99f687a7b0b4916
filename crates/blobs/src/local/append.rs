//! The appender: blobs queue up while a sync runs and share the next one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::{Volumes, record, unusable};
use crate::error::{Error, Result};
use crate::{BlobId, Location};

/// A volume takes no more records beyond this unless another bound is given, in bytes.
pub(super) const VOLUME_BYTES_MAX: u64 = 1 << 30;
/// A volume found at start that is shorter is scanned and written further; a longer one is left as it is.
const SCANNED_BYTES_MAX: u64 = 64 << 20;
/// Space is reserved in steps of this, so that most syncs need not record a new length, in bytes.
const RESERVED_BYTES: u64 = 32 << 20;
/// Records in one sync at most.
const BATCH_RECORDS_MAX: usize = 256;
/// Records waiting before submitters wait.
const QUEUE_RECORDS: usize = 1024;

struct Append {
    record: Vec<u8>,
    length: u64,
    answer: oneshot::Sender<Result<Location>>,
}

pub(super) struct Appender {
    queue: Option<mpsc::Sender<Append>>,
    thread: Option<JoinHandle<()>>,
    current: Arc<AtomicI64>,
}

impl Appender {
    pub(super) fn start(volumes: Arc<Volumes>, volume_bytes_max: u64) -> Result<Self> {
        let tail = Tail::find(&volumes)?;
        let current = Arc::new(AtomicI64::new(tail.number));
        let (queue, appends) = mpsc::channel(QUEUE_RECORDS);
        let thread = std::thread::Builder::new()
            .name("blob-appender".into())
            .spawn({
                let current = Arc::clone(&current);
                move || append_batches(&volumes, tail, appends, &current, volume_bytes_max)
            })
            .map_err(|e| Error::io("starting the appender", &e))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), current })
    }

    pub(super) fn current(&self) -> i64 {
        self.current.load(Ordering::Acquire)
    }

    pub(super) async fn append(&self, id: BlobId, bytes: &[u8]) -> Result<Location> {
        let (answer, durable) = oneshot::channel();
        let append = Append { record: record::encode(id, bytes), length: bytes.len() as u64, answer };
        let queue = self.queue.as_ref().ok_or(Error::Closing)?;
        queue.send(append).await.map_err(|_| Error::Closing)?;
        durable.await.unwrap_or(Err(Error::Closing))
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

/// The end of the volume that is written.
struct Tail {
    number: i64,
    file: Arc<File>,
    end: u64,
    reserved: u64,
}

impl Tail {
    fn find(volumes: &Volumes) -> Result<Self> {
        let last = {
            let open = volumes.open.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            open.last_key_value().map(|(number, file)| (*number, Arc::clone(file)))
        };
        let Some((number, file)) = last else { return Self::create(volumes, 1) };
        let length = file.metadata().map_err(|e| unusable(&volumes.path(number), &e))?.len();
        if length > SCANNED_BYTES_MAX {
            return Self::create(volumes, number + 1);
        }
        let end = sound_end(&file, length).map_err(|e| unusable(&volumes.path(number), &e))?;
        // What lies behind was never acknowledged.
        file.set_len(end).and_then(|()| file.sync_all()).map_err(|e| unusable(&volumes.path(number), &e))?;
        Ok(Self { number, file, end, reserved: end })
    }

    fn create(volumes: &Volumes, number: i64) -> Result<Self> {
        let path = volumes.path(number);
        let create = || {
            let file = File::options().read(true).write(true).create_new(true).open(&path)?;
            file.sync_all()?;
            // The name must be durable before anything in the file is acknowledged.
            File::open(&volumes.dir)?.sync_all()?;
            Ok(file)
        };
        let file = Arc::new(create().map_err(|e| unusable(&path, &e))?);
        volumes.insert(number, Arc::clone(&file));
        Ok(Self { number, file, end: 0, reserved: 0 })
    }

    fn write(&mut self, batch: &[Append]) -> std::io::Result<Vec<Location>> {
        let total: usize = batch.iter().map(|append| append.record.len()).sum();
        let mut joined = Vec::with_capacity(total);
        let mut locations = Vec::with_capacity(batch.len());
        for append in batch {
            let offset = i64::try_from(self.end + joined.len() as u64).unwrap_or(i64::MAX);
            locations.push(Location { volume: self.number, offset, length: append.length });
            joined.extend_from_slice(&append.record);
        }
        let end = self.end + total as u64;
        if end > self.reserved {
            let reserved = end.next_multiple_of(RESERVED_BYTES);
            rustix::fs::fallocate(
                &*self.file,
                rustix::fs::FallocateFlags::empty(),
                self.reserved,
                reserved - self.reserved,
            )?;
            self.reserved = reserved;
        }
        self.file.write_all_at(&joined, self.end)?;
        self.file.sync_data()?;
        self.end = end;
        Ok(locations)
    }
}

/// Where the last sound record of a volume ends.
fn sound_end(file: &File, length: u64) -> std::io::Result<u64> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0)?;
    let mut end = 0;
    while let Some(length) = record::check(&bytes[end..]) {
        end += length;
    }
    Ok(end as u64)
}

fn append_batches(
    volumes: &Volumes,
    mut tail: Tail,
    mut appends: mpsc::Receiver<Append>,
    current: &AtomicI64,
    volume_bytes_max: u64,
) {
    let mut batch = Vec::with_capacity(BATCH_RECORDS_MAX);
    while appends.blocking_recv_many(&mut batch, BATCH_RECORDS_MAX) > 0 {
        match tail.write(&batch) {
            Ok(locations) => {
                for (append, location) in batch.drain(..).zip(locations) {
                    let _ = append.answer.send(Ok(location));
                }
            }
            Err(error) => {
                tracing::error!(%error, volume = tail.number, "cannot append");
                let error = Error::io("appending to a volume", &error);
                for append in batch.drain(..) {
                    let _ = append.answer.send(Err(error.clone()));
                }
                // After a failed sync the kernel may have dropped the dirty pages, so nothing more is written to
                // this volume: what it holds beyond its end stays unacknowledged.
                tail.end = tail.end.max(volume_bytes_max);
            }
        }
        if tail.end >= volume_bytes_max {
            match Tail::create(volumes, tail.number + 1) {
                Ok(next) => {
                    let _ = tail.file.set_len(tail.end.min(tail.reserved));
                    tail = next;
                    current.store(tail.number, Ordering::Release);
                }
                Err(error) => tracing::error!(%error, "cannot begin a volume"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_tail_ends_before_the_first_bad_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let first = record::encode(BlobId::new(), b"one");
        let mut second = record::encode(BlobId::new(), b"two");
        let last = second.len() - 20;
        second[last] ^= 0xff;
        file.write_all_at(&[first.clone(), second, vec![0; 4096]].concat(), 0).unwrap();
        let length = file.metadata().unwrap().len();
        assert_eq!(sound_end(&file, length).unwrap(), first.len() as u64);
    }
}
