//! A blob store with faults that a test injects.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use blobs::{BlobId, Blobs, Error, Local, Location, Reader, Relocated, Result, StoredBlob, Volume, Writer};
use bytes::Bytes;
use tokio::sync::Notify;

/// Local files with injected faults.
pub struct Faulty {
    pub local: Local,
    /// Whether the disk reports that little space is left.
    pub short: AtomicBool,
    /// Whether copying blobs out of a volume fails.
    pub cannot_relocate: AtomicBool,
    /// Number of syncs of large blobs that have started.
    pub finishing: Arc<AtomicUsize>,
    /// If `holds_finish` is set, each of them waits for a notification.
    pub may_finish: Arc<Notify>,
    pub holds_finish: AtomicBool,
}

impl Faulty {
    pub fn over(local: Local) -> Arc<Self> {
        Arc::new(Self {
            local,
            short: AtomicBool::new(false),
            cannot_relocate: AtomicBool::new(false),
            finishing: Arc::default(),
            may_finish: Arc::default(),
            holds_finish: AtomicBool::new(false),
        })
    }
}

struct Held {
    inner: Box<dyn Writer>,
    finishing: Arc<AtomicUsize>,
    may_finish: Option<Arc<Notify>>,
}

#[async_trait]
impl Writer for Held {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<Location> {
        // As on a disk, a sync that has started completes even if the task waiting for it is dropped.
        let finished = tokio::spawn(async move {
            self.finishing.fetch_add(1, Ordering::SeqCst);
            if let Some(may_finish) = self.may_finish {
                may_finish.notified().await;
            }
            self.inner.finish().await
        });
        finished.await.unwrap()
    }
}

#[async_trait]
impl Blobs for Faulty {
    async fn put(&self, id: BlobId, bytes: Bytes) -> Result<StoredBlob> {
        self.local.put(id, bytes).await
    }

    async fn create(&self, id: BlobId) -> Result<Box<dyn Writer>> {
        let may_finish = self.holds_finish.load(Ordering::SeqCst).then(|| Arc::clone(&self.may_finish));
        let inner = self.local.create(id).await?;
        Ok(Box::new(Held { inner, finishing: Arc::clone(&self.finishing), may_finish }))
    }

    async fn read(&self, id: BlobId, location: Location, range: Range<u64>) -> Result<Box<dyn Reader>> {
        self.local.read(id, location, range).await
    }

    async fn verify(&self, id: BlobId, location: Location) -> Result<()> {
        self.local.verify(id, location).await
    }

    async fn delete(&self, id: BlobId, location: Location) -> Result<()> {
        self.local.delete(id, location).await
    }

    fn volumes(&self) -> Vec<Volume> {
        self.local.volumes()
    }

    fn current_volume(&self) -> Option<Volume> {
        self.local.current_volume()
    }

    fn has_volume(&self, number: i64) -> bool {
        self.local.has_volume(number)
    }

    async fn seal(&self, number: i64) -> Result<()> {
        self.local.seal(number).await
    }

    async fn relocate(&self, id: BlobId, from: Location) -> Result<Relocated> {
        if self.cannot_relocate.load(Ordering::SeqCst) {
            return Err(Error::Full);
        }
        self.local.relocate(id, from).await
    }

    async fn free(&self, volume: i64, parts: Vec<Range<u64>>) -> Result<bool> {
        self.local.free(volume, parts).await
    }

    async fn remove_volume(&self, number: i64) -> Result<bool> {
        self.local.remove_volume(number).await
    }

    async fn singles_of_earlier_processes(&self, page: usize) -> Result<Option<Vec<BlobId>>> {
        self.local.singles_of_earlier_processes(page).await
    }

    async fn set_aside(&self, id: BlobId) -> Result<()> {
        self.local.set_aside(id).await
    }

    async fn orphans_older_than(&self, age: Duration) -> Result<Vec<BlobId>> {
        self.local.orphans_older_than(age).await
    }

    async fn delete_orphan(&self, id: BlobId) -> Result<()> {
        self.local.delete_orphan(id).await
    }

    fn is_short_of_space(&self) -> bool {
        self.short.load(Ordering::SeqCst)
    }

    fn is_empty(&self) -> bool {
        self.local.is_empty()
    }

    fn cloud(&self) -> Result<Option<String>> {
        self.local.cloud()
    }

    fn set_cloud(&self, id: &str) -> Result<()> {
        self.local.set_cloud(id)
    }

    fn describe(&self) -> String {
        self.local.describe()
    }
}
