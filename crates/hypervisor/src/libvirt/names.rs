//! What our things are called on a host. The names alone tell what is ours.

use uuid::Uuid;

use crate::{Digest, DiskFormat, Mac};

const OURS: &str = "nephos-";
const IMAGE: &str = "image-";
const SNAPSHOT: &str = "snapshot-";
const SEAL: &str = ".sealed";

pub const POOL: &str = "nephos";

pub fn domain(machine: Uuid) -> String {
    format!("{OURS}{machine}")
}

pub fn machine_of_domain(name: &str) -> Option<Uuid> {
    name.strip_prefix(OURS)?.parse().ok()
}

/// What all filters of a machine begin with.
pub fn filters(machine: Uuid) -> String {
    format!("{OURS}{machine}-")
}

pub fn filter(machine: Uuid, card: Mac) -> String {
    let digits: String = card.0.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{OURS}{machine}-{digits}")
}

pub fn disk(machine: Uuid) -> String {
    format!("{machine}.disk.qcow2")
}

/// What came from another host, below the disk.
pub fn received_base(machine: Uuid) -> String {
    format!("{machine}.base.qcow2")
}

/// Holds the id of the snapshot that came from another host, once all of it is here.
pub fn received(machine: Uuid) -> String {
    format!("{machine}.received")
}

/// The layer above the disk that a resize writes to until it is confirmed.
pub fn resized_disk(machine: Uuid) -> String {
    format!("{machine}.resized.qcow2")
}

pub fn config_drive(machine: Uuid) -> String {
    format!("{machine}.config.iso")
}

pub fn console(machine: Uuid) -> String {
    format!("{machine}.console.log")
}

/// Exists while we hold a machine in memory only to merge its disk.
pub fn merging(machine: Uuid) -> String {
    format!("{machine}.merging")
}

/// Exists from before the first block of a resize's layer is merged into the disk until all are: there is no way back.
pub fn decided(machine: Uuid) -> String {
    format!("{machine}.decided")
}

/// Every volume that a machine may have; a seal before what it seals.
pub fn volumes(machine: Uuid) -> [String; 8] {
    [
        received(machine),
        resized_disk(machine),
        disk(machine),
        received_base(machine),
        config_drive(machine),
        console(machine),
        merging(machine),
        decided(machine),
    ]
}

pub fn image(digest: &Digest, format: DiskFormat) -> String {
    match format {
        DiskFormat::Qcow2 => format!("{IMAGE}{digest}.qcow2"),
        DiskFormat::Raw => format!("{IMAGE}{digest}.raw"),
    }
}

pub fn kernel(digest: &Digest) -> String {
    format!("{IMAGE}{digest}.kernel")
}

pub fn initrd(digest: &Digest) -> String {
    format!("{IMAGE}{digest}.initrd")
}

/// Exists once an image is complete.
pub fn image_seal(digest: &Digest) -> String {
    format!("{IMAGE}{digest}{SEAL}")
}

pub fn image_of_seal(name: &str) -> Option<Digest> {
    name.strip_prefix(IMAGE)?.strip_suffix(SEAL)?.parse().ok()
}

pub fn snapshot(snapshot: Uuid) -> String {
    format!("{SNAPSHOT}{snapshot}.qcow2")
}

/// Exists once a snapshot is complete.
pub fn snapshot_seal(snapshot: Uuid) -> String {
    format!("{SNAPSHOT}{snapshot}{SEAL}")
}

pub fn snapshot_of_volume(name: &str) -> Option<Uuid> {
    let rest = name.strip_prefix(SNAPSHOT)?;
    rest.strip_suffix(SEAL).or_else(|| rest.strip_suffix(".qcow2"))?.parse().ok()
}
