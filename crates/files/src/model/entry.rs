//! Accounts, containers and objects as stored in rows.

use blobs::{BlobId, Location};
use work::Time;

use crate::model::metadata::Metadata;
use crate::model::shape::Shape;

/// Counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Containers of an account; 0 for a container.
    pub containers: u64,
    /// Number of objects.
    pub objects: u64,
    /// Total length of the objects, in bytes.
    pub bytes: u64,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Primary key.
    pub id: i64,
    /// When the account was created.
    pub created: Time,
    /// Metadata set by its users.
    pub metadata: Metadata,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Primary key.
    pub id: i64,
    /// The account's key.
    pub account: i64,
    /// When the container was created.
    pub created: Time,
    /// When the container or its metadata was last put.
    pub changed: Time,
    /// Metadata set by its users, including ACLs.
    pub metadata: Metadata,
    /// The account's metadata, for quotas, keys and ACLs.
    pub account_metadata: Stored,
    /// Its storage policy's index.
    pub policy: i64,
}

/// Metadata as a row stores it, parsed only when needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored(pub String);

impl Stored {
    /// Returns whether it may contain a name with `text` in it, without parsing it.
    #[must_use]
    pub fn may_hold(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// Parses it.
    #[must_use]
    pub fn read(&self) -> Metadata {
        Metadata::from_column(&self.0)
    }
}

/// A container in an account's listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEntry {
    /// Its name.
    pub name: String,
    /// Objects and bytes.
    pub counts: Counts,
    /// When it was last changed.
    pub changed: Time,
    /// Its storage policy's index.
    pub policy: i64,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// When its bytes were stored.
    pub created: Time,
    /// When its metadata was last changed; initially when its bytes were stored.
    pub changed: Time,
    /// The MD5 of its bytes, in hex.
    pub etag: String,
    /// Its length, in bytes.
    pub size: u64,
    /// Its media type.
    pub content_type: String,
    /// Metadata set by its users, including `content-encoding` and similar headers.
    pub metadata: Metadata,
    /// Where its bytes are stored; `None` for an empty object.
    pub blob: Option<Blob>,
    /// What its bytes represent if not its own content.
    pub shape: Option<Shape>,
    /// When it expires.
    pub expires: Option<Time>,
    /// Its id in a versioned container; `None` if it was stored without versioning (the "null" version).
    pub version: Option<Time>,
}

impl Object {
    /// Returns whether it has expired.
    #[must_use]
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// A blob and its location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its id.
    pub id: BlobId,
    /// Where its bytes are stored.
    pub location: Location,
    /// The key that encrypts it, if it is encrypted.
    pub key: Option<SealedKey>,
}

/// A blob's key, encrypted with the master key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealedKey(pub [u8; Self::BYTES]);

impl SealedKey {
    /// Length of a sealed key, in bytes: 32 of key, the rest identifies the master key and authenticates.
    pub const BYTES: usize = 65;
}

impl std::fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedKey(…)")
    }
}

/// What a conditional deletion requires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The object expires at that time (`X-If-Delete-At`).
    pub expires: Option<Time>,
}
