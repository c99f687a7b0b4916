//! Images and their states.

use hypervisor::{Boot, Digest, DiskFormat, ImageSpec};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use work::Time;

/// How an image is named by a dialect: both names mean the same image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    /// v1.0's.
    Number(i64),
    /// Everyone else's.
    Uuid(Uuid),
}

/// Where an image is in its life: QUEUED, PREPARING, SAVING, then ACTIVE or FAILED.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// To be made.
    Queued,
    /// The snapshot is being taken.
    Preparing,
    /// Its bytes are being stored.
    Saving,
    /// Ready for use.
    Active,
    /// It could not be made; the reason is with it.
    Failed,
    /// Its bytes cannot be found.
    Unknown,
}

impl Status {
    const ALL: [Self; 6] =
        [Self::Queued, Self::Preparing, Self::Saving, Self::Active, Self::Failed, Self::Unknown];

    /// As v1.0 writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Preparing => "PREPARING",
            Self::Saving => "SAVING",
            Self::Active => "ACTIVE",
            Self::Failed => "FAILED",
            Self::Unknown => "UNKNOWN",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether it is still being made.
    #[must_use]
    pub fn in_flight(self) -> bool {
        matches!(self, Self::Queued | Self::Preparing | Self::Saving)
    }
}

/// What brought an image about, which decides what a later one replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Imported by the operator, for everyone.
    Base,
    /// Put into Cloud Files and registered by its owner.
    Upload,
    /// Made of a server by its owner; replaces the one of the same name, of the same server a scheduled one too.
    Snapshot,
    /// Made by a server's backup schedule; replaces the last one of that server and kind, and the owner's of that server and
    /// name.
    Daily,
    /// Likewise.
    Weekly,
}

impl Origin {
    const ALL: [Self; 5] = [Self::Base, Self::Upload, Self::Snapshot, Self::Daily, Self::Weekly];

    /// Its name in the database, and of the images that a schedule makes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Upload => "upload",
            Self::Snapshot => "snapshot",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.as_str() == text)
    }

    /// Whether a backup schedule made it.
    #[must_use]
    pub fn is_backup(self) -> bool {
        matches!(self, Self::Daily | Self::Weekly)
    }
}

/// Who may use an image beside its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// The owner and the members that it named.
    Private,
    /// Everyone.
    Public,
}

/// Whom an image is shared with (guide, Roadmap: Image Sharing).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Everyone may use it.
    pub public: bool,
    /// The tenants that were named, in order.
    pub tenants: Vec<String>,
}

/// One of an image's pinned objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The vault's name of the pinned version.
    pub pin: String,
    /// Its length.
    pub bytes: u64,
}

/// What an image holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Of disk, kernel and initrd together: what hosts cache it by.
    pub digest: Digest,
    /// Of the disk.
    pub format: DiskFormat,
    /// What a guest sees, in bytes.
    pub virtual_bytes: u64,
    /// The disk.
    pub disk: Piece,
    /// The kernel, for images that boot without a loader.
    pub kernel: Option<Piece>,
    /// The initial RAM disk that goes with the kernel.
    pub initrd: Option<Piece>,
    /// The kernel's command line.
    pub command_line: Option<String>,
}

impl Content {
    /// As hosts take it.
    #[must_use]
    pub fn spec(&self) -> ImageSpec {
        ImageSpec {
            digest: self.digest.clone(),
            format: self.format,
            size_bytes: self.disk.bytes,
            virtual_bytes: self.virtual_bytes,
            kernel_bytes: self.kernel.as_ref().map(|piece| piece.bytes),
            initrd_bytes: self.initrd.as_ref().map(|piece| piece.bytes),
        }
    }

    /// How a machine made of it starts.
    #[must_use]
    pub fn boot(&self) -> Boot {
        match &self.kernel {
            Some(_) => Boot::Kernel { command_line: self.command_line.clone().unwrap_or_default() },
            None => Boot::Disk,
        }
    }

    /// Every object that it pins.
    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        std::iter::once(&self.disk).chain(&self.kernel).chain(&self.initrd)
    }
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its id in v2.
    pub id: Uuid,
    /// Its id in v1.0.
    pub number: i64,
    /// Its name.
    pub name: String,
    /// The tenant that it belongs to; none for the operator's.
    pub owner: Option<String>,
    /// The server that it was made of, by both ids.
    pub server: Option<(Uuid, i64)>,
    /// What brought it about.
    pub origin: Origin,
    /// Who may use it.
    pub visibility: Visibility,
    /// Where it is in its life.
    pub status: Status,
    /// Hundredths of its making.
    pub progress: u8,
    /// Why it failed.
    pub reason: Option<String>,
    /// The smallest flavor's disk that it fits, in GiB.
    pub min_disk_gib: u32,
    /// When it was asked for.
    pub created: Time,
    /// When it changed last.
    pub updated: Time,
    /// It is gone since then: a tombstone for those who ask what changed.
    pub deleted: Option<Time>,
    /// What it holds, once it is there.
    pub content: Option<Content>,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Items before it.
    pub offset: i64,
    /// Items in it at most.
    pub limit: i64,
    /// Only what changed since.
    pub since: Option<Time>,
    /// What was deleted since is among that.
    pub deleted: bool,
}

/// The smallest whole number of GiB that holds so many bytes.
pub(crate) fn gib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 30)).unwrap_or(u32::MAX)
}
