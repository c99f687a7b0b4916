//! Whether an image that came from outside is harmless: its header as read here, and then as `qemu-img` reads it under
//! limits. The format is the one that was stated; nothing is probed.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use hypervisor::DiskFormat;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Bytes of a qcow2 that its header and header extensions may take.
const HEADER_BYTES: usize = 64 * 1024;
/// How long `qemu-img` may take.
const INFO_WITHIN: Duration = Duration::from_secs(30);
/// What `qemu-img` may use: memory, processor seconds, no file output at all.
const LIMITS: [&str; 5] = ["--as=2147483648", "--cpu=20", "--fsize=0", "--core=0", "--nofile=64"];

const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

/// Why an image is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hostile {
    /// The bytes are not of the stated format.
    #[error("it is not a {0}")]
    NotOfFormat(&'static str),
    /// It would read another file of the host.
    #[error("it has a backing file")]
    BackingFile,
    /// It would read or write another file of the host.
    #[error("it has an external data file")]
    DataFile,
    /// Nobody could start it.
    #[error("it is encrypted")]
    Encrypted,
    /// It says itself that it is damaged.
    #[error("it is marked as corrupt")]
    Corrupt,
    /// Its disk is too large.
    #[error("its virtual size of {found} bytes is over the limit of {limit}")]
    TooLarge {
        /// The disk's size.
        found: u64,
        /// The most that is taken.
        limit: u64,
    },
    /// It has no disk.
    #[error("its virtual size is not a number of whole sectors")]
    BadSize,
    /// `qemu-img` refused it.
    #[error("qemu-img does not take it: {0}")]
    Refused(String),
    /// `qemu-img` is not there, or did not end in time.
    #[error("it cannot be examined: {0}")]
    CannotTell(String),
}

/// Examines a file of the stated format and answers its virtual size.
pub(crate) async fn examine(path: &Path, format: DiskFormat, limit: u64) -> Result<u64, Hostile> {
    let virtual_bytes = match format {
        DiskFormat::Raw => {
            let found = tokio::fs::metadata(path).await.map_err(|e| Hostile::CannotTell(e.to_string()))?;
            found.len()
        }
        DiskFormat::Qcow2 => {
            let size = header(&beginning(path).await?)?;
            agrees(size, &qemu_info(path).await?)?;
            size
        }
    };
    fitting(virtual_bytes, limit)
}

/// A disk's size, if it is one that is taken.
pub(crate) fn fitting(virtual_bytes: u64, limit: u64) -> Result<u64, Hostile> {
    if virtual_bytes > limit {
        return Err(Hostile::TooLarge { found: virtual_bytes, limit });
    }
    if virtual_bytes == 0 || !virtual_bytes.is_multiple_of(512) {
        return Err(Hostile::BadSize);
    }
    Ok(virtual_bytes)
}

async fn beginning(path: &Path) -> Result<Vec<u8>, Hostile> {
    let unreadable = |error: std::io::Error| Hostile::CannotTell(error.to_string());
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(HEADER_BYTES as u64).read_to_end(&mut bytes).await.map_err(unreadable)?;
    Ok(bytes)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Reads a qcow2's header (QEMU, docs/interop/qcow2.txt) and answers its virtual size.
pub(crate) fn header(bytes: &[u8]) -> Result<u64, Hostile> {
    const SHORT: Hostile = Hostile::NotOfFormat("qcow2");
    if bytes.get(..4) != Some(b"QFI\xfb") {
        return Err(SHORT);
    }
    let version = be32(bytes, 4).ok_or(SHORT)?;
    if !(2..=3).contains(&version) {
        return Err(SHORT);
    }
    if be64(bytes, 8).ok_or(SHORT)? != 0 || be32(bytes, 16).ok_or(SHORT)? != 0 {
        return Err(Hostile::BackingFile);
    }
    if be32(bytes, 32).ok_or(SHORT)? != 0 {
        return Err(Hostile::Encrypted);
    }
    let size = be64(bytes, 24).ok_or(SHORT)?;
    let mut at = 72;
    if version == 3 {
        let features = be64(bytes, 72).ok_or(SHORT)?;
        if features & EXTERNAL_DATA != 0 {
            return Err(Hostile::DataFile);
        }
        if features & CORRUPT != 0 {
            return Err(Hostile::Corrupt);
        }
        at = be32(bytes, 100).ok_or(SHORT)? as usize;
    }
    loop {
        // An extension that runs over what was read is no extension of an honest image.
        let (kind, length) = (be32(bytes, at).ok_or(SHORT)?, be32(bytes, at + 4).ok_or(SHORT)?);
        match kind {
            0 => return Ok(size),
            EXTENSION_BACKING_FORMAT => return Err(Hostile::BackingFile),
            EXTENSION_ENCRYPTION => return Err(Hostile::Encrypted),
            EXTENSION_DATA_FILE => return Err(Hostile::DataFile),
            _ => at += 8 + (length as usize).next_multiple_of(8),
        }
    }
}

/// Lets `qemu-img` look at the header, and then at every table for what points outside of the file.
async fn qemu_info(path: &Path) -> Result<Value, Hostile> {
    let info = qemu_img("info", path).await?;
    if !info.status.success() {
        return Err(refused(&info, path));
    }
    let described = serde_json::from_slice(&info.stdout).map_err(|e| Hostile::CannotTell(e.to_string()))?;
    let check = qemu_img("check", path).await?;
    // Leaked clusters (3) harm nobody.
    if !matches!(check.status.code(), Some(0 | 3)) {
        return Err(refused(&check, path));
    }
    Ok(described)
}

fn refused(output: &Output, path: &Path) -> Hostile {
    let message = String::from_utf8_lossy(&output.stderr);
    let line = message.lines().next().unwrap_or("its tables are damaged");
    // A tenant may read this, and the path is this machine's.
    Hostile::Refused(line.replace(&named(path), "the image").replace(&*path.to_string_lossy(), "the image"))
}

/// As an option of `qemu-img`: a comma would begin another one; doubled it is part of the name.
fn named(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

async fn qemu_img(command: &str, path: &Path) -> Result<Output, Hostile> {
    let mut limited = Command::new("prlimit");
    limited
        .args(LIMITS)
        .args(["qemu-img", command, "--output=json", "--image-opts"])
        .arg(format!("driver=qcow2,file.driver=file,file.filename={}", named(path)))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(INFO_WITHIN, limited.output())
        .await
        .map_err(|_| Hostile::CannotTell("qemu-img did not end in time".into()))?
        .map_err(|error| Hostile::CannotTell(format!("prlimit: {error}: install util-linux")))?;
    if output.status.code() == Some(127) {
        return Err(Hostile::CannotTell("qemu-img is missing: install qemu-utils".into()));
    }
    Ok(output)
}

/// What `qemu-img` says must be what the header said.
fn agrees(size: u64, info: &Value) -> Result<(), Hostile> {
    if info.get("backing-filename").is_some() {
        return Err(Hostile::BackingFile);
    }
    if info.get("encrypted").and_then(Value::as_bool) == Some(true) {
        return Err(Hostile::Encrypted);
    }
    let specific = info.pointer("/format-specific/data");
    if specific.is_some_and(|data| data.get("data-file").is_some()) {
        return Err(Hostile::DataFile);
    }
    if specific.and_then(|data| data.get("corrupt")).and_then(Value::as_bool) == Some(true) {
        return Err(Hostile::Corrupt);
    }
    if info.get("virtual-size").and_then(Value::as_u64) != Some(size) {
        return Err(Hostile::Refused("its header and its content disagree".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[..4].copy_from_slice(b"QFI\xfb");
        bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
        bytes[24..32].copy_from_slice(&(1u64 << 30).to_be_bytes());
        bytes[100..104].copy_from_slice(&104u32.to_be_bytes());
        bytes
    }

    fn with(at: usize, value: &[u8]) -> Result<u64, Hostile> {
        let mut bytes = plain();
        bytes[at..at + value.len()].copy_from_slice(value);
        header(&bytes)
    }

    #[test]
    fn each_trap_in_a_header_is_named() {
        assert_eq!(header(&plain()), Ok(1 << 30));
        assert_eq!(with(0, b"QFI\xfa"), Err(Hostile::NotOfFormat("qcow2")));
        assert_eq!(with(7, &[4]), Err(Hostile::NotOfFormat("qcow2")));
        assert_eq!(with(15, &[1]), Err(Hostile::BackingFile));
        assert_eq!(with(19, &[1]), Err(Hostile::BackingFile));
        assert_eq!(with(35, &[2]), Err(Hostile::Encrypted));
        assert_eq!(with(79, &[4]), Err(Hostile::DataFile));
        assert_eq!(with(79, &[2]), Err(Hostile::Corrupt));
        assert_eq!(with(104, &EXTENSION_DATA_FILE.to_be_bytes()), Err(Hostile::DataFile));
        assert_eq!(with(104, &EXTENSION_BACKING_FORMAT.to_be_bytes()), Err(Hostile::BackingFile));
        // An extension whose length leads out of the header.
        assert_eq!(with(104, &[9, 9, 9, 9, 255, 255, 255, 0]), Err(Hostile::NotOfFormat("qcow2")));
        assert_eq!(header(&plain()[..60]), Err(Hostile::NotOfFormat("qcow2")));
    }
}
