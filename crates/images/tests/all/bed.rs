//! An images service over a directory, with a frozen clock.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use database::Location;
use hypervisor::{DiskFormat, Progress, Reader, Snapshot};
use images::{
    Directory, Error, Files, Image, Images, Import, NewImage, Object, Origin, Page, Registration, Settings,
    Space, Status, Stored, Vault, VaultError,
};
use tokio::sync::{Notify, RwLock};
use uuid::Uuid;
use work::{Clock, Time};

pub const GIB: u64 = 1 << 30;

pub struct TestBed {
    pub images: Arc<Images>,
    pub clock: Clock,
    pub dir: Arc<tempfile::TempDir>,
    /// Notified when a pin is requested.
    pub pin_requested: Arc<Notify>,
    /// Held for writing: no pin is created.
    pub before_pin: Arc<RwLock<()>>,
    /// Held for writing: pins are created, but the calls do not return.
    pub after_pin: Arc<RwLock<()>>,
    /// Held for writing: nothing is read.
    pub before_read: Arc<RwLock<()>>,
}

/// A vault whose calls the test can block.
struct BlockingVault {
    vault: Directory,
    pin_requested: Arc<Notify>,
    before_pin: Arc<RwLock<()>>,
    after_pin: Arc<RwLock<()>>,
    before_read: Arc<RwLock<()>>,
}

#[async_trait]
impl Vault for BlockingVault {
    async fn put(&self, object: &Object, bytes: Reader) -> Result<Stored, VaultError> {
        self.vault.put(object, bytes).await
    }

    async fn pin(&self, pin: &str, owner: &str, container: &str, object: &str) -> Result<Stored, VaultError> {
        self.pin_requested.notify_one();
        drop(self.before_pin.read().await);
        let stored = self.vault.pin(pin, owner, container, object).await;
        let _guard = self.after_pin.read().await;
        stored
    }

    async fn open(&self, pin: &str) -> Result<Reader, VaultError> {
        let _guard = self.before_read.read().await;
        self.vault.open(pin).await
    }

    async fn unpin(&self, pin: &str) -> Result<(), VaultError> {
        self.vault.unpin(pin).await
    }
}

impl TestBed {
    pub async fn new(location: &Location) -> Self {
        let clock = Clock::frozen_at(Time::from_seconds(1_286_712_000));
        Self::over(location, Arc::new(tempfile::tempdir().unwrap()), clock).await
    }

    /// Opens the service on the data of an earlier process.
    pub async fn over(location: &Location, dir: Arc<tempfile::TempDir>, clock: Clock) -> Self {
        Self::with_limit(location, dir, clock, 100 * GIB).await
    }

    /// As [`TestBed::over`], with a limit on the size of disks.
    pub async fn with_limit(
        location: &Location,
        dir: Arc<tempfile::TempDir>,
        clock: Clock,
        virtual_bytes_max: u64,
    ) -> Self {
        let pin_requested = Arc::new(Notify::new());
        let (before_pin, after_pin, before_read) =
            <(Arc<RwLock<()>>, Arc<RwLock<()>>, Arc<RwLock<()>>)>::default();
        let vault = BlockingVault {
            vault: Directory::new(dir.path().join("vault")),
            pin_requested: Arc::clone(&pin_requested),
            before_pin: Arc::clone(&before_pin),
            after_pin: Arc::clone(&after_pin),
            before_read: Arc::clone(&before_read),
        };
        let settings = Settings { scratch: dir.path().join("scratch"), virtual_bytes_max, space };
        let images = Images::open(location, clock.clone(), Arc::new(vault), settings).await.unwrap();
        let images = Arc::new(images);
        images.start();
        Self { images, clock, dir, pin_requested, before_pin, after_pin, before_read }
    }

    /// Registers an object of tenant 100's container `uploads` under its own name.
    pub async fn register(&self, object: &str, format: DiskFormat) -> Result<Image, Error> {
        let (owner, container) = ("100".into(), "uploads".into());
        let new = Registration {
            owner,
            name: object.into(),
            format,
            container,
            object: object.into(),
            images_max: 100,
        };
        self.images.register(new).await
    }

    /// Makes the scratch directory's file system appear to have 1000 bytes, of which `bytes` are free.
    pub fn set_free(&self, bytes: u64) {
        std::fs::write(self.dir.path().join("free"), bytes.to_string()).unwrap();
    }

    /// Waits until the job of an image was tried more often than the limit of attempts for unreadable files.
    pub async fn wait_for_retries(&self, id: Uuid) {
        let calls = self.dir.path().join("space-calls");
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            let (mut seen, mut idle) = (0, 0);
            while seen < 7 {
                let image = self.images.by_id(id).await.unwrap();
                assert!(image.status.in_flight(), "{:?}: {:?}", image.status, image.reason);
                let found = std::fs::metadata(&calls).map_or(0, |found| found.len());
                if found > seen {
                    (seen, idle) = (found, 0);
                }
                // Advance the clock only while no attempt is under way, so that none loses its lease.
                if idle == 50 {
                    idle = 0;
                    self.clock.advance(Duration::from_secs(31));
                }
                idle += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        waited.await.expect("it is retried");
    }

    /// The directory of tenant 100's container `uploads`.
    pub fn uploads(&self) -> std::path::PathBuf {
        let container = self.dir.path().join("vault/100/uploads");
        std::fs::create_dir_all(&container).unwrap();
        container
    }

    /// Numbers of pinned objects and of files in the scratch directory.
    pub fn remaining_files(&self) -> (usize, usize) {
        let count = |path: &str| std::fs::read_dir(self.dir.path().join(path)).map_or(0, Iterator::count);
        (count("vault/pins"), count("scratch"))
    }

    /// Waits until no file is left: bytes are unpinned after the image's status has changed.
    pub async fn wait_until_clean(&self, what: &str) {
        let clean = tokio::time::timeout(Duration::from_secs(20), async {
            while self.remaining_files() != (0, 0) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(clean.await.is_ok(), "{what}: {:?}", self.remaining_files());
    }

    /// Waits until an image is no longer being created and returns it.
    pub async fn finished(&self, id: Uuid) -> Image {
        let finished = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let image = self.images.by_id(id).await.unwrap();
                if !image.status.in_flight() {
                    return image;
                }
                // Skip the delay before the next attempt.
                self.clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        finished.await.expect("the image is finished")
    }

    pub async fn snapshot(&self, owner: &str, name: &str, origin: Origin, server: Uuid) -> Image {
        let new = NewImage {
            id: Uuid::new_v4(),
            owner: owner.into(),
            name: name.into(),
            server: (server, 12),
            origin,
        };
        let begun = self.images.begin(new.clone()).await.unwrap();
        assert_eq!((begun.status, begun.progress), (Status::Queued, 0));
        assert_eq!(self.images.begin(new).await.unwrap(), begun);
        self.images.advance(begun.id, Status::Saving, 50).await.unwrap();
        let bytes = name.as_bytes().to_vec();
        let snapshot = Snapshot {
            size_bytes: bytes.len() as u64,
            virtual_bytes: 10 * GIB,
            reader: Box::pin(std::io::Cursor::new(bytes)),
        };
        self.images.save(begun.id, snapshot, &Progress::new()).await.unwrap()
    }

    pub async fn names(&self, tenant: &str, since: Option<Time>) -> Vec<(String, bool)> {
        let page = Page { offset: 0, limit: 1000, since, deleted: true };
        let list = self.images.list(tenant, page).await.unwrap();
        list.into_iter().map(|image| (image.name, image.deleted.is_some())).collect()
    }

    pub async fn import(&self, file: &Path, format: DiskFormat) -> Result<Image, Error> {
        let disk = file.to_owned();
        let files = Files { disk, kernel: None, initrd: None, command_line: None };
        self.images.import(Import { name: "outside".into(), format, files }).await
    }
}

/// Returns the free space that the test has set, else unlimited space. Counts its calls in the file `space-calls`.
fn space(scratch: &Path) -> std::io::Result<Space> {
    let calls = scratch.with_file_name("space-calls");
    std::fs::OpenOptions::new().append(true).create(true).open(calls)?.write_all(b".")?;
    let said = std::fs::read_to_string(scratch.with_file_name("free")).ok();
    said.map_or_else(
        || Ok(Space { total: u64::MAX, free: u64::MAX }),
        |free| Ok(Space { total: 1000, free: free.parse().unwrap() }),
    )
}

pub fn qemu_img(dir: &Path, args: &[&str]) {
    let done =
        Command::new("qemu-img").args(args).current_dir(dir).output().expect("qemu-img: install qemu-utils");
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
}
