//! Names of Nephos' objects on a host. Objects are recognised by their names alone.

use uuid::Uuid;

use crate::{Digest, DiskFormat, Mac};

const PREFIX: &str = "nephos-";
const IMAGE: &str = "image-";
const SNAPSHOT: &str = "snapshot-";
const MARKER: &str = ".sealed";

pub const POOL: &str = "nephos";

pub fn domain(machine: Uuid) -> String {
    format!("{PREFIX}{machine}")
}

pub fn machine_of_domain(name: &str) -> Option<Uuid> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// Returns the common prefix of a machine's filters.
pub fn filters(machine: Uuid) -> String {
    format!("{PREFIX}{machine}-")
}

pub fn filter(machine: Uuid, card: Mac) -> String {
    let digits: String = card.0.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{PREFIX}{machine}-{digits}")
}

pub fn disk(machine: Uuid) -> String {
    format!("{machine}.disk.qcow2")
}

/// The snapshot received from another host: the backing file of the disk.
pub fn received_base(machine: Uuid) -> String {
    format!("{machine}.base.qcow2")
}

/// Contains the id of the snapshot received from another host, once it is complete.
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

/// Exists while a machine is paused only to merge its disk.
pub fn merging(machine: Uuid) -> String {
    format!("{machine}.merging")
}

/// Exists while a resize's layer is being merged into the disk: from then on the resize cannot be reverted.
pub fn confirming(machine: Uuid) -> String {
    format!("{machine}.decided")
}

/// Returns all volumes that a machine may have, markers before the volumes that they mark as complete.
pub fn volumes(machine: Uuid) -> [String; 8] {
    [
        received(machine),
        resized_disk(machine),
        disk(machine),
        received_base(machine),
        config_drive(machine),
        console(machine),
        merging(machine),
        confirming(machine),
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
pub fn image_marker(digest: &Digest) -> String {
    format!("{IMAGE}{digest}{MARKER}")
}

pub fn image_of_marker(name: &str) -> Option<Digest> {
    name.strip_prefix(IMAGE)?.strip_suffix(MARKER)?.parse().ok()
}

pub fn snapshot(snapshot: Uuid) -> String {
    format!("{SNAPSHOT}{snapshot}.qcow2")
}

/// Exists once a snapshot is complete.
pub fn snapshot_marker(snapshot: Uuid) -> String {
    format!("{SNAPSHOT}{snapshot}{MARKER}")
}

pub fn snapshot_of_volume(name: &str) -> Option<Uuid> {
    let rest = name.strip_prefix(SNAPSHOT)?;
    rest.strip_suffix(MARKER).or_else(|| rest.strip_suffix(".qcow2"))?.parse().ok()
}
