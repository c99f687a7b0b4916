//! Images and their statuses.

use hypervisor::{Boot, Digest, DiskFormat, ImageSpec};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use work::Time;

/// An image's id in either form. Both refer to the same image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    /// The id in v1.0.
    Number(i64),
    /// The id in every other API.
    Uuid(Uuid),
}

/// An image's status: QUEUED, PREPARING, SAVING, then ACTIVE or FAILED.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its creation has not started.
    Queued,
    /// The snapshot is being taken.
    Preparing,
    /// Its bytes are being stored.
    Saving,
    /// It can be used.
    Active,
    /// Its creation failed; [`Image::reason`] says why.
    Failed,
    /// Its bytes are missing.
    Unknown,
}

impl Status {
    const ALL: [Self; 6] =
        [Self::Queued, Self::Preparing, Self::Saving, Self::Active, Self::Failed, Self::Unknown];

    /// Its name in v1.0 and in the database.
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

    /// Returns whether the image is still being created.
    #[must_use]
    pub fn in_flight(self) -> bool {
        matches!(self, Self::Queued | Self::Preparing | Self::Saving)
    }
}

/// How an image was created. It decides which older images a new one replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Imported by the operator for all tenants.
    Base,
    /// Uploaded to Cloud Files and registered by its owner.
    Upload,
    /// Created from a server on request. Replaces the owner's image of the same name; a scheduled one only if it is of the same
    /// server.
    Snapshot,
    /// Created by a server's daily backup schedule. Replaces the previous one of that server, and a requested image of that
    /// server with the same name.
    Daily,
    /// As [`Origin::Daily`], by the weekly schedule.
    Weekly,
}

impl Origin {
    const ALL: [Self; 5] = [Self::Base, Self::Upload, Self::Snapshot, Self::Daily, Self::Weekly];

    /// Its name in the database, which is also the name of the images that a schedule creates.
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

    /// Returns whether a backup schedule created the image.
    #[must_use]
    pub fn is_backup(self) -> bool {
        matches!(self, Self::Daily | Self::Weekly)
    }
}

/// Who may use an image besides its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// The tenants that the owner shares it with.
    Private,
    /// All tenants.
    Public,
}

/// Whom an image is shared with (guide, Roadmap: Image Sharing).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whether all tenants may use it.
    pub public: bool,
    /// The tenants that it is shared with by id, sorted.
    pub tenants: Vec<String>,
}

/// One of an image's pinned objects: the disk, the kernel or the initrd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The vault's id of the pinned version.
    pub pin: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// An image's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Digest of disk, kernel and initrd together; the key of the hosts' image caches.
    pub digest: Digest,
    /// Format of the disk.
    pub format: DiskFormat,
    /// Size of the disk that a guest sees, in bytes.
    pub virtual_bytes: u64,
    /// The disk.
    pub disk: Piece,
    /// The kernel of images that boot without a boot loader.
    pub kernel: Option<Piece>,
    /// The initial RAM disk that goes with the kernel.
    pub initrd: Option<Piece>,
    /// The kernel's command line.
    pub command_line: Option<String>,
}

impl Content {
    /// Returns the specification that hosts need.
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

    /// Returns how a machine created from the image boots.
    #[must_use]
    pub fn boot(&self) -> Boot {
        match &self.kernel {
            Some(_) => Boot::Kernel { command_line: self.command_line.clone().unwrap_or_default() },
            None => Boot::Disk,
        }
    }

    /// Returns every object that the image pins.
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
    /// The tenant that owns it; `None` for the operator's images.
    pub owner: Option<String>,
    /// The server that it was created from: its ids in v2 and in v1.0.
    pub server: Option<(Uuid, i64)>,
    /// How it was created.
    pub origin: Origin,
    /// Who may use it.
    pub visibility: Visibility,
    /// Its status.
    pub status: Status,
    /// Progress of its creation in percent.
    pub progress: u8,
    /// Why it failed.
    pub reason: Option<String>,
    /// The smallest disk of a flavor that it fits on, in GiB.
    pub min_disk_gib: u32,
    /// When its creation was requested.
    pub created: Time,
    /// When it changed last.
    pub updated: Time,
    /// When it was deleted. The row stays as a tombstone for `changes-since`.
    pub deleted: Option<Time>,
    /// Its content, once ACTIVE.
    pub content: Option<Content>,
}

/// Which part of a list to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Number of items to skip.
    pub offset: i64,
    /// Maximum number of items.
    pub limit: i64,
    /// Only images that changed at this time or later.
    pub since: Option<Time>,
    /// With `since`: include deleted images.
    pub deleted: bool,
}

/// Returns the size in GiB, rounded up.
pub(crate) fn gib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 30)).unwrap_or(u32::MAX)
}
