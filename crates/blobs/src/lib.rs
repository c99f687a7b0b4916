//! Object bytes: durable before they are named, checked before they are sent.
//!
//! A blob is immutable. Its id and its [`Location`] are kept by whoever stores it, in the same database unit that
//! names it; this crate has no index of its own. Small blobs are appended to volume files, many per sync; large
//! ones are files of their own. Both carry a CRC32C for each 64 KiB block, and no block leaves unchecked.

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

    /// When it was created, in milliseconds since 1970.
    #[must_use]
    pub fn created_ms(&self) -> u64 {
        self.0[..6].iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte))
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
    /// The volume's number, or 0 for a blob on its own; its upper bits are for [`PolicyStores`].
    pub volume: i64,
    /// Where its record begins in the volume, in bytes; 0 for a blob on its own.
    pub offset: i64,
    /// Its length, in bytes.
    pub length: u64,
}

impl Location {
    /// The part of its volume that a packed blob's record takes, in bytes.
    #[must_use]
    pub fn record(&self) -> Range<u64> {
        let start = u64::try_from(self.offset).unwrap_or(u64::MAX);
        start..start.saturating_add(record_bytes(self.length))
    }
}

/// A volume that takes no more blobs, as compaction sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its number.
    pub number: i64,
    /// What it takes on the disk, in bytes.
    pub bytes: u64,
    /// Whether blobs in it may be named by rows that are not committed yet.
    pub claimed: bool,
}

/// A blob that was just stored. While the claim is held, the volume stays, whether or not a row names the blob.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Where it is.
    pub location: Location,
    /// To be dropped once the row is committed or known not to be, and kept if that is unknown.
    pub claim: Claim,
}

/// A blob that was copied to another volume.
#[derive(Clone, Debug)]
pub struct Relocated {
    /// The copy.
    pub placed: Placed,
    /// It does not match its checksums; the copy does not either.
    pub damaged: bool,
}

/// A store of blobs.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Stores a blob of at most [`PACKED_BYTES_MAX`] bytes; it is durable when this returns.
    async fn put(&self, id: BlobId, bytes: Bytes) -> Result<Placed>;

    /// Begins a blob of unknown length. Nothing of it stays unless [`Writer::finish`] succeeds.
    async fn create(&self, id: BlobId) -> Result<Box<dyn Writer>>;

    /// Reads `range` of a blob in pieces, each checked.
    async fn read(&self, id: BlobId, location: Location, range: Range<u64>) -> Result<Box<dyn Reader>>;

    /// Reads all of a blob and checks it and what is stored with it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] or [`Error::Missing`] if it is not what was stored.
    async fn verify(&self, id: BlobId, location: Location) -> Result<()>;

    /// Frees a blob that no row names; succeeds if it is absent. Bytes in a volume are freed by compaction.
    async fn delete(&self, id: BlobId, location: Location) -> Result<()>;

    /// Volumes that take no more blobs.
    fn volumes(&self) -> Vec<Volume>;

    /// The volume that blobs are added to, if there is one now.
    fn current_volume(&self) -> Option<Volume>;

    /// Adds no more blobs to a volume, so that it can be compacted.
    async fn seal(&self, number: i64) -> Result<()>;

    /// Copies a blob out of a volume, as it is, for compaction. May use most of the space that uploads leave free.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if another blob is in its place.
    async fn relocate(&self, id: BlobId, from: Location) -> Result<Relocated>;

    /// Gives the space of parts of a sealed volume back in which no row names a blob, where the disk can do that and nobody is
    /// reading; false if somebody is. A part may reach beyond the volume's end.
    async fn free(&self, volume: i64, parts: Vec<Range<u64>>) -> Result<bool>;

    /// Removes a sealed volume in which no row names a blob; false if it is claimed.
    async fn remove_volume(&self, number: i64) -> Result<bool>;

    /// Blobs in files of their own that are older than this process, to be looked up in the database; at most `limit` after
    /// `after`, in the order of their ids.
    async fn older_singles(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobId>>;

    /// Moves a blob in a file of its own, which no row names, out of the way. It is found again if it is read.
    async fn set_aside(&self, id: BlobId) -> Result<()>;

    /// Blobs that were set aside at least `age` ago.
    async fn aside_for(&self, age: Duration) -> Result<Vec<BlobId>>;

    /// Deletes a blob that was set aside.
    async fn remove_aside(&self, id: BlobId) -> Result<()>;

    /// Whether so little space is free that compaction should free some as it goes.
    fn is_short_of_space(&self) -> bool;

    /// Whether nothing was ever stored here.
    fn is_empty(&self) -> bool;

    /// The id of the cloud whose bytes these are, if one was set.
    ///
    /// # Errors
    /// [`Error::Open`].
    fn cloud(&self) -> Result<Option<String>>;

    /// Says whose bytes these are; durable when this returns.
    ///
    /// # Errors
    /// [`Error::Open`].
    fn set_cloud(&self, id: &str) -> Result<()>;

    /// What an operator knows this store by.
    fn describe(&self) -> String;
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
