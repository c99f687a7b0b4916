//! Object bytes: durable before they are named, checked before they are sent.
//!
//! A blob is immutable. Its id and its [`Location`] are kept by whoever stores it, in the same database unit that
//! names it; this crate has no index of its own. Small blobs are appended to volume files, many per sync; large
//! ones are files of their own. Both carry a CRC32C for each 64 KiB block, and no block leaves unchecked.

mod buffers;
mod checksum;
mod error;
mod local;
mod several;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

pub use error::{Error, Result};
pub use local::Local;
pub use several::{Several, is_single, store_of};

/// A blob no longer than this is packed into a volume, in bytes.
pub const PACKED_BYTES_MAX: usize = 1 << 20;

/// The unit of checking, in bytes.
pub const BLOCK_BYTES: usize = 64 << 10;

const _: () = assert!(PACKED_BYTES_MAX.is_multiple_of(BLOCK_BYTES));

/// A blob's id, ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub [u8; 16]);

impl BlobId {
    /// A fresh one.
    #[must_use]
    pub fn new() -> Self {
        Self(uuid::Uuid::now_v7().into_bytes())
    }

    /// From the bytes that a row holds; `None` for another length.
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

/// Where a blob's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The volume's number, or 0 for a blob on its own; its upper bits are for [`Several`].
    pub volume: i64,
    /// Where its record begins in the volume, in bytes; 0 for a blob on its own.
    pub offset: i64,
    /// Its length, in bytes.
    pub length: u64,
}

/// A volume, as compaction sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its number.
    pub number: i64,
    /// Bytes in it, records' frames included.
    pub bytes: u64,
}

/// A part of what was written to a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The blobs and their places.
    pub blobs: Vec<(BlobId, Location)>,
    /// Where the next part begins; `None` behind the last.
    pub next: Option<u64>,
}

/// A store of blobs.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Stores a blob of at most [`PACKED_BYTES_MAX`] bytes; it is durable when this returns.
    async fn put(&self, id: BlobId, bytes: Bytes) -> Result<Location>;

    /// Begins a blob of unknown length. Nothing of it stays unless [`Writer::finish`] returns well.
    async fn create(&self, id: BlobId) -> Result<Box<dyn Writer>>;

    /// Reads `range` of a blob in pieces, each checked.
    async fn read(&self, id: BlobId, location: Location, range: Range<u64>) -> Result<Box<dyn Reader>>;

    /// Frees a blob that no row names any more; well if it is gone. Bytes in a volume are freed by compaction.
    async fn delete(&self, id: BlobId, location: Location) -> Result<()>;

    /// Volumes that take no more blobs, for compaction.
    fn sealed_volumes(&self) -> Vec<Volume>;

    /// Blobs that were written to a sealed volume, dead or alive: up to `limit` from `offset` on, and where to go on.
    async fn records(&self, number: i64, offset: u64, limit: usize) -> Result<Records>;

    /// Removes a sealed volume that no row names any more.
    async fn remove_volume(&self, number: i64) -> Result<()>;

    /// Blobs on their own, made before this store was opened, for the sweep of what a crash left unnamed; at most
    /// `limit` after `after`, in id order.
    async fn older_singles(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobId>>;
}

/// Takes a blob's bytes in order.
#[async_trait]
pub trait Writer: Send {
    /// Appends.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Makes the blob durable.
    async fn finish(self: Box<Self>) -> Result<Location>;
}

/// Gives a blob's bytes in order.
#[async_trait]
pub trait Reader: Send {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>>;
}
