//! A service of images over a directory, its time in the test's hands.

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

pub struct Bed {
    pub images: Arc<Images>,
    pub clock: Clock,
    pub dir: Arc<tempfile::TempDir>,
    /// Somebody wants something pinned.
    pub asked: Arc<Notify>,
    /// Held for writing, nothing is pinned.
    pub asking: Arc<RwLock<()>>,
    /// Held for writing, whoever has pinned something does not learn of it.
    pub pinning: Arc<RwLock<()>>,
    /// Held for writing, nothing is read.
    pub reading: Arc<RwLock<()>>,
}

/// A directory behind gates.
struct Gated {
    vault: Directory,
    asked: Arc<Notify>,
    asking: Arc<RwLock<()>>,
    pinning: Arc<RwLock<()>>,
    reading: Arc<RwLock<()>>,
}

#[async_trait]
impl Vault for Gated {
    async fn put(&self, object: &Object, bytes: Reader) -> Result<Stored, VaultError> {
        self.vault.put(object, bytes).await
    }

    async fn pin(&self, pin: &str, owner: &str, container: &str, object: &str) -> Result<Stored, VaultError> {
        self.asked.notify_one();
        drop(self.asking.read().await);
        let stored = self.vault.pin(pin, owner, container, object).await;
        let _open = self.pinning.read().await;
        stored
    }

    async fn open(&self, pin: &str) -> Result<Reader, VaultError> {
        let _open = self.reading.read().await;
        self.vault.open(pin).await
    }

    async fn unpin(&self, pin: &str) -> Result<(), VaultError> {
        self.vault.unpin(pin).await
    }
}

impl Bed {
    pub async fn new(location: &Location) -> Self {
        let clock = Clock::frozen_at(Time::from_seconds(1_286_712_000));
        Self::over(location, Arc::new(tempfile::tempdir().unwrap()), clock).await
    }

    /// A process over what another one left.
    pub async fn over(location: &Location, dir: Arc<tempfile::TempDir>, clock: Clock) -> Self {
        Self::taking(location, dir, clock, 100 * GIB).await
    }

    /// One that takes disks of so many bytes at most.
    pub async fn taking(
        location: &Location,
        dir: Arc<tempfile::TempDir>,
        clock: Clock,
        virtual_bytes_max: u64,
    ) -> Self {
        let asked = Arc::new(Notify::new());
        let (asking, pinning, reading) = <(Arc<RwLock<()>>, Arc<RwLock<()>>, Arc<RwLock<()>>)>::default();
        let vault = Gated {
            vault: Directory::new(dir.path().join("vault")),
            asked: Arc::clone(&asked),
            asking: Arc::clone(&asking),
            pinning: Arc::clone(&pinning),
            reading: Arc::clone(&reading),
        };
        let settings = Settings { scratch: dir.path().join("scratch"), virtual_bytes_max, space };
        let images = Images::open(location, clock.clone(), Arc::new(vault), settings).await.unwrap();
        let images = Arc::new(images);
        images.start();
        Self { images, clock, dir, asked, asking, pinning, reading }
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

    /// Makes the scratch directory's file system one of 1000 bytes with so many free.
    pub fn free(&self, bytes: u64) {
        std::fs::write(self.dir.path().join("free"), bytes.to_string()).unwrap();
    }

    /// Waits until an image that cannot be taken now was tried more often than one that cannot be read.
    pub async fn waits(&self, id: Uuid) {
        let looks = self.dir.path().join("looks");
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            let (mut seen, mut idle) = (0, 0);
            while seen < 7 {
                let image = self.images.by_id(id).await.unwrap();
                assert!(image.status.in_flight(), "{:?}: {:?}", image.status, image.reason);
                let found = std::fs::metadata(&looks).map_or(0, |found| found.len());
                if found > seen {
                    (seen, idle) = (found, 0);
                }
                // Time goes on where nothing happens: an attempt that got past the look would lose its lease otherwise.
                if idle == 50 {
                    idle = 0;
                    self.clock.advance(Duration::from_secs(31));
                }
                idle += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        waited.await.expect("it is tried again");
    }

    /// That container, as a directory.
    pub fn uploads(&self) -> std::path::PathBuf {
        let container = self.dir.path().join("vault/100/uploads");
        std::fs::create_dir_all(&container).unwrap();
        container
    }

    /// What is left of images: pinned objects, and files put aside.
    pub fn left(&self) -> (usize, usize) {
        let count = |path: &str| std::fs::read_dir(self.dir.path().join(path)).map_or(0, Iterator::count);
        (count("vault/pins"), count("scratch"))
    }

    /// Waits until nothing is left: bytes are let go of once the image shows its end.
    pub async fn clean(&self, what: &str) {
        let clean = tokio::time::timeout(Duration::from_secs(20), async {
            while self.left() != (0, 0) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(clean.await.is_ok(), "{what}: {:?}", self.left());
    }

    /// Waits until an image is in flight no more.
    pub async fn settled(&self, id: Uuid) -> Image {
        let settled = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let image = self.images.by_id(id).await.unwrap();
                if !image.status.in_flight() {
                    return image;
                }
                // The pause before another attempt passes at once.
                self.clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        settled.await.expect("the image comes to its end")
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

/// The file system's room, or what a test makes of it.
fn space(scratch: &Path) -> std::io::Result<Space> {
    let looks = scratch.with_file_name("looks");
    std::fs::OpenOptions::new().append(true).create(true).open(looks)?.write_all(b".")?;
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
