//! Accounts, containers and objects as rows have them.

use blobs::{BlobId, Location};
use work::Time;

use crate::model::metadata::Metadata;
use crate::model::shape::Shape;

/// Counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Containers of an account; 0 for a container.
    pub containers: u64,
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its key in other tables.
    pub id: i64,
    /// When it was made.
    pub created: Time,
    /// What its users put beside it.
    pub metadata: Metadata,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its key in other tables.
    pub id: i64,
    /// Its account's.
    pub account: i64,
    /// When it was made.
    pub created: Time,
    /// When it or its metadata was put last.
    pub changed: Time,
    /// What its users put beside it, ACLs included.
    pub metadata: Metadata,
    /// What its account's users put beside that, for quotas, keys and ACLs.
    pub account_metadata: Stored,
    /// Its storage policy's index.
    pub policy: i64,
}

/// Metadata as a row holds it, read only when it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored(pub String);

impl Stored {
    /// Whether it may hold a name that contains `text`, without reading it.
    #[must_use]
    pub fn may_hold(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// Reads it.
    #[must_use]
    pub fn read(&self) -> Metadata {
        Metadata::from_column(&self.0)
    }
}

/// A container as an account's listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEntry {
    /// Its name.
    pub name: String,
    /// Objects and bytes.
    pub counts: Counts,
    /// When it was changed last.
    pub changed: Time,
    /// Its storage policy's index.
    pub policy: i64,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// When its bytes were stored.
    pub created: Time,
    /// When its metadata was changed last, or its bytes were stored.
    pub changed: Time,
    /// The MD5 of its bytes, in hex.
    pub etag: String,
    /// Its length, in bytes.
    pub size: u64,
    /// Its media type.
    pub content_type: String,
    /// What its users put beside it, `content-encoding` and the like included.
    pub metadata: Metadata,
    /// Where its bytes are; none for an empty object.
    pub blob: Option<Blob>,
    /// What its bytes stand for, if not for themselves.
    pub shape: Option<Shape>,
    /// When it is gone.
    pub expires: Option<Time>,
    /// Its id in a versioned container; none for what was stored without versioning, the "null" version.
    pub version: Option<Time>,
}

impl Object {
    /// Whether it is past its time.
    #[must_use]
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// A blob and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its id.
    pub id: BlobId,
    /// Its place.
    pub location: Location,
    /// What its bytes are encrypted with, if they are.
    pub key: Option<SealedKey>,
}

/// A blob's own key, sealed by the master key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealedKey(pub [u8; Self::BYTES]);

impl SealedKey {
    /// Its length: 32 bytes of key, and what names and seals it.
    pub const BYTES: usize = 65;
}

impl std::fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedKey(…)")
    }
}

/// What a deletion expects to find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The object is to be gone at that time (`X-If-Delete-At`).
    pub expires: Option<Time>,
}
