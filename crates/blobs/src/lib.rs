//! Object bytes: durable before a database row refers to them, verified before they are sent.
//!
//! A blob is immutable. The caller stores its id and its [`Location`] in the database; this crate has no index of its own.
//! Small blobs are appended to volume files, with one fsync for many of them; large blobs have a file each. Both carry a
//! CRC32C per 64 KiB block, and no block is returned before its checksum was verified.

mod buffers;
mod checksum;
mod error;
mod local;
mod policy_stores;

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use error::{Error, Result};
pub use local::{Claim, Local, record_bytes};
pub use policy_stores::{PolicyStores, is_single, store_of};

/// Longest blob that is packed into a volume, in bytes.
pub const PACKED_BYTES_MAX: usize = 1 << 20;

/// Length of a checksummed block, in bytes.
pub const BLOCK_BYTES: usize = 64 << 10;

const _: () = assert!(PACKED_BYTES_MAX.is_multiple_of(BLOCK_BYTES));

/// A blob's id. Ids sort by creation time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub [u8; 16]);

impl BlobId {
    /// Creates a new id.
    #[must_use]
    pub fn new() -> Self {
        Self(uuid::Uuid::now_v7().into_bytes())
    }

    /// Returns the creation time, in milliseconds since 1970.
    #[must_use]
    pub fn created_ms(&self) -> u64 {
        self.0[..6].iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte))
    }

    /// Reads an id from a database value; `None` if the length is wrong.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl Default for BlobId {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for BlobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        uuid::Uuid::from_bytes(self.0).as_simple().fmt(f)
    }
}

/// Where a blob's bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The volume's number, or 0 for a blob in a file of its own. [`PolicyStores`] uses the upper bits.
    pub volume: i64,
    /// Offset of the blob's record in the volume, in bytes; 0 for a blob in a file of its own.
    pub offset: i64,
    /// Length of the blob, in bytes.
    pub length: u64,
}

impl Location {
    /// Returns the range of the volume that a packed blob's record occupies, in bytes.
    #[must_use]
    pub fn record(&self) -> Range<u64> {
        let start = u64::try_from(self.offset).unwrap_or(u64::MAX);
        start..start.saturating_add(record_bytes(self.length))
    }
}

/// A sealed volume, as compaction sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its number.
    pub number: i64,
    /// Disk space that it occupies, in bytes, without space reserved for future blobs.
    pub bytes: u64,
    /// Whether it may contain blobs whose rows are not committed yet.
    pub claimed: bool,
}

/// A blob that was just stored. While the claim is held, the volume is not removed, even if no row refers to the blob.
#[derive(Clone, Debug)]
pub struct StoredBlob {
    /// Where the blob is stored.
    pub location: Location,
    /// Drop it once the row is committed or rolled back; call [`Claim::keep`] if the outcome is unknown.
    pub claim: Claim,
}

/// A blob that compaction copied to another volume.
#[derive(Clone, Debug)]
pub struct Relocated {
    /// The copy.
    pub placed: StoredBlob,
    /// Whether the blob fails its checksums. The copy has the same damage.
    pub damaged: bool,
}

/// A store of blobs.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Stores a blob of at most [`PACKED_BYTES_MAX`] bytes. It is durable when this returns.
    async fn put(&self, id: BlobId, bytes: Bytes) -> Result<StoredBlob>;

    /// Starts a blob of unknown length. Nothing remains of it unless [`Writer::finish`] succeeds.
    async fn create(&self, id: BlobId) -> Result<Box<dyn Writer>>;

    /// Reads `range` of a blob in pieces, each verified.
    async fn read(&self, id: BlobId, location: Location, range: Range<u64>) -> Result<Box<dyn Reader>>;

    /// Reads a whole blob and verifies its data, header and checksum table.
    ///
    /// # Errors
    /// [`Error::Corrupt`] or [`Error::Missing`] if the blob is not what was stored.
    async fn verify(&self, id: BlobId, location: Location) -> Result<()>;

    /// Deletes a blob that no row refers to; succeeds if it is absent. Space in a volume is freed by compaction.
    async fn delete(&self, id: BlobId, location: Location) -> Result<()>;

    /// Returns the sealed volumes.
    fn volumes(&self) -> Vec<Volume>;

    /// Returns the volume that new blobs are appended to, if there is one.
    fn current_volume(&self) -> Option<Volume>;

    /// Returns whether a volume with this number exists. The number of a removed volume is never used again.
    fn has_volume(&self, number: i64) -> bool;

    /// Stops appending to a volume, so that it can be compacted.
    async fn seal(&self, number: i64) -> Result<()>;

    /// Copies a blob unchanged out of a volume, for compaction. May use most of the space that is reserved from uploads.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if another blob is stored at `from`.
    async fn relocate(&self, id: BlobId, from: Location) -> Result<Relocated>;

    /// Frees the disk space of `parts` of a sealed volume if the file system supports that. No row may refer to a blob in them.
    /// Returns false, without effect, while the volume is being read. A part may extend past the volume's end.
    async fn free(&self, volume: i64, parts: Vec<Range<u64>>) -> Result<bool>;

    /// Removes a sealed volume that no row refers to; returns false if it is claimed.
    async fn remove_volume(&self, number: i64) -> Result<bool>;

    /// Lists blobs in files of their own that were written before this process started, for the orphan check against the
    /// database. Pages are numbered from 0 and unordered; `None` after the last page. Reading all pages reads each directory
    /// once.
    async fn singles_of_earlier_processes(&self, page: usize) -> Result<Option<Vec<BlobId>>>;

    /// Moves a blob's own file, which no row refers to, to the orphan directory. Reading the blob moves it back.
    async fn set_aside(&self, id: BlobId) -> Result<()>;

    /// Lists orphans that were set aside at least `age` ago.
    async fn orphans_older_than(&self, age: Duration) -> Result<Vec<BlobId>>;

    /// Deletes an orphan that was set aside.
    async fn delete_orphan(&self, id: BlobId) -> Result<()>;

    /// Returns whether free space is so low that compaction must free space while it runs.
    fn is_short_of_space(&self) -> bool;

    /// Returns whether the store has never held anything.
    fn is_empty(&self) -> bool;

    /// Returns the id of the cloud that the store belongs to, if one was set.
    ///
    /// # Errors
    /// [`Error::Open`].
    fn cloud(&self) -> Result<Option<String>>;

    /// Records the cloud that the store belongs to. Durable when this returns.
    ///
    /// # Errors
    /// [`Error::Open`].
    fn set_cloud(&self, id: &str) -> Result<()>;

    /// Returns a name for the store that operators recognise, such as its path.
    fn describe(&self) -> String;
}

/// Writes a blob's bytes in order.
#[async_trait]
pub trait Writer: Send {
    /// Appends `bytes`.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Makes the blob durable and returns its location.
    async fn finish(self: Box<Self>) -> Result<Location>;
}

/// Reads a blob's bytes in order.
#[async_trait]
pub trait Reader: Send {
    /// Returns the next piece, or `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>>;
}
