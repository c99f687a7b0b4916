//! Checks that an untrusted image is safe to use: first its header is parsed here, then `qemu-img` checks it under resource
//! limits. The format is the declared one and is never probed.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use hypervisor::DiskFormat;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Maximum length of a qcow2's header and header extensions, in bytes.
const HEADER_BYTES: usize = 64 * 1024;
/// Time limit of one run of `qemu-img`.
const QEMU_IMG_TIMEOUT: Duration = Duration::from_secs(30);
/// Resource limits of `qemu-img`: address space, processor seconds, no file output, no core dump, open files.
const LIMITS: [&str; 5] = ["--as=2147483648", "--cpu=20", "--fsize=0", "--core=0", "--nofile=64"];

const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

/// Why an image was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeImage {
    /// The bytes are not of the declared format.
    #[error("it is not a {0}")]
    NotOfFormat(&'static str),
    /// It would make the host read another of its files.
    #[error("it has a backing file")]
    BackingFile,
    /// It would make the host read or write another of its files.
    #[error("it has an external data file")]
    DataFile,
    /// It is encrypted, and hosts have no key.
    #[error("it is encrypted")]
    Encrypted,
    /// Its header marks it as damaged.
    #[error("it is marked as corrupt")]
    Corrupt,
    /// Its disk is too large.
    #[error("its virtual size of {found} bytes is over the limit of {limit}")]
    TooLarge {
        /// The disk's size in bytes.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Its disk is empty or its size is not a multiple of 512 bytes.
    #[error("its virtual size is not a number of whole sectors")]
    BadSize,
    /// `qemu-img` rejected it.
    #[error("qemu-img rejected it: {0}")]
    Rejected(String),
    /// The check failed: `qemu-img` is missing or timed out, or the file cannot be read.
    #[error("it cannot be checked: {0}")]
    CheckFailed(String),
}

/// Checks a file of the declared format and returns its virtual size in bytes.
pub(crate) async fn check_file(path: &Path, format: DiskFormat, limit: u64) -> Result<u64, UnsafeImage> {
    let virtual_bytes = match format {
        DiskFormat::Raw => {
            let found =
                tokio::fs::metadata(path).await.map_err(|e| UnsafeImage::CheckFailed(e.to_string()))?;
            found.len()
        }
        DiskFormat::Qcow2 => {
            let size = parse_header(&read_header(path).await?)?;
            check_info(size, &qemu_info(path).await?)?;
            size
        }
    };
    check_size(virtual_bytes, limit)
}

/// Returns `virtual_bytes` if it is within the limit and a positive multiple of 512.
pub(crate) fn check_size(virtual_bytes: u64, limit: u64) -> Result<u64, UnsafeImage> {
    if virtual_bytes > limit {
        return Err(UnsafeImage::TooLarge { found: virtual_bytes, limit });
    }
    if virtual_bytes == 0 || !virtual_bytes.is_multiple_of(512) {
        return Err(UnsafeImage::BadSize);
    }
    Ok(virtual_bytes)
}

async fn read_header(path: &Path) -> Result<Vec<u8>, UnsafeImage> {
    let unreadable = |error: std::io::Error| UnsafeImage::CheckFailed(error.to_string());
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

/// Parses a qcow2's header (QEMU, docs/interop/qcow2.txt) and returns the virtual size in bytes.
pub(crate) fn parse_header(bytes: &[u8]) -> Result<u64, UnsafeImage> {
    const SHORT: UnsafeImage = UnsafeImage::NotOfFormat("qcow2");
    if bytes.get(..4) != Some(b"QFI\xfb") {
        return Err(SHORT);
    }
    let version = be32(bytes, 4).ok_or(SHORT)?;
    if !(2..=3).contains(&version) {
        return Err(SHORT);
    }
    if be64(bytes, 8).ok_or(SHORT)? != 0 || be32(bytes, 16).ok_or(SHORT)? != 0 {
        return Err(UnsafeImage::BackingFile);
    }
    if be32(bytes, 32).ok_or(SHORT)? != 0 {
        return Err(UnsafeImage::Encrypted);
    }
    let size = be64(bytes, 24).ok_or(SHORT)?;
    let mut at = 72;
    if version == 3 {
        let features = be64(bytes, 72).ok_or(SHORT)?;
        if features & EXTERNAL_DATA != 0 {
            return Err(UnsafeImage::DataFile);
        }
        if features & CORRUPT != 0 {
            return Err(UnsafeImage::Corrupt);
        }
        at = be32(bytes, 100).ok_or(SHORT)? as usize;
    }
    loop {
        // Reject an extension that reaches beyond the bytes read: no valid header is that long.
        let (kind, length) = (be32(bytes, at).ok_or(SHORT)?, be32(bytes, at + 4).ok_or(SHORT)?);
        match kind {
            0 => return Ok(size),
            EXTENSION_BACKING_FORMAT => return Err(UnsafeImage::BackingFile),
            EXTENSION_ENCRYPTION => return Err(UnsafeImage::Encrypted),
            EXTENSION_DATA_FILE => return Err(UnsafeImage::DataFile),
            _ => at += 8 + (length as usize).next_multiple_of(8),
        }
    }
}

/// Runs `qemu-img info`, then `qemu-img check` to find table entries that point outside the file. Returns the info.
async fn qemu_info(path: &Path) -> Result<Value, UnsafeImage> {
    let info = qemu_img("info", path).await?;
    if !info.status.success() {
        return Err(rejected(&info, path));
    }
    let described =
        serde_json::from_slice(&info.stdout).map_err(|e| UnsafeImage::CheckFailed(e.to_string()))?;
    let check = qemu_img("check", path).await?;
    // Exit status 3 means leaked clusters, which are harmless.
    if !matches!(check.status.code(), Some(0 | 3)) {
        return Err(rejected(&check, path));
    }
    Ok(described)
}

fn rejected(output: &Output, path: &Path) -> UnsafeImage {
    let message = String::from_utf8_lossy(&output.stderr);
    let line = message.lines().next().unwrap_or("its tables are damaged");
    // The tenant can read this message: do not disclose a path of this machine.
    UnsafeImage::Rejected(
        line.replace(&option_value(path), "the image").replace(&*path.to_string_lossy(), "the image"),
    )
}

/// Returns a path as the value of a `qemu-img` option, in which a comma is written twice.
fn option_value(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

async fn qemu_img(command: &str, path: &Path) -> Result<Output, UnsafeImage> {
    let mut limited = Command::new("prlimit");
    limited
        .args(LIMITS)
        .args(["qemu-img", command, "--output=json", "--image-opts"])
        .arg(format!("driver=qcow2,file.driver=file,file.filename={}", option_value(path)))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(QEMU_IMG_TIMEOUT, limited.output())
        .await
        .map_err(|_| UnsafeImage::CheckFailed("qemu-img timed out".into()))?
        .map_err(|error| UnsafeImage::CheckFailed(format!("prlimit: {error}: install util-linux")))?;
    if output.status.code() == Some(127) {
        return Err(UnsafeImage::CheckFailed("qemu-img is missing: install qemu-utils".into()));
    }
    Ok(output)
}

/// Checks that `qemu-img` found the same as [`parse_header`].
fn check_info(size: u64, info: &Value) -> Result<(), UnsafeImage> {
    if info.get("backing-filename").is_some() {
        return Err(UnsafeImage::BackingFile);
    }
    if info.get("encrypted").and_then(Value::as_bool) == Some(true) {
        return Err(UnsafeImage::Encrypted);
    }
    let specific = info.pointer("/format-specific/data");
    if specific.is_some_and(|data| data.get("data-file").is_some()) {
        return Err(UnsafeImage::DataFile);
    }
    if specific.and_then(|data| data.get("corrupt")).and_then(Value::as_bool) == Some(true) {
        return Err(UnsafeImage::Corrupt);
    }
    if info.get("virtual-size").and_then(Value::as_u64) != Some(size) {
        return Err(UnsafeImage::Rejected("its header and its content disagree".into()));
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

    fn with(at: usize, value: &[u8]) -> Result<u64, UnsafeImage> {
        let mut bytes = plain();
        bytes[at..at + value.len()].copy_from_slice(value);
        parse_header(&bytes)
    }

    #[test]
    fn every_unsafe_header_is_rejected_with_its_reason() {
        assert_eq!(parse_header(&plain()), Ok(1 << 30));
        assert_eq!(with(0, b"QFI\xfa"), Err(UnsafeImage::NotOfFormat("qcow2")));
        assert_eq!(with(7, &[4]), Err(UnsafeImage::NotOfFormat("qcow2")));
        assert_eq!(with(15, &[1]), Err(UnsafeImage::BackingFile));
        assert_eq!(with(19, &[1]), Err(UnsafeImage::BackingFile));
        assert_eq!(with(35, &[2]), Err(UnsafeImage::Encrypted));
        assert_eq!(with(79, &[4]), Err(UnsafeImage::DataFile));
        assert_eq!(with(79, &[2]), Err(UnsafeImage::Corrupt));
        assert_eq!(with(104, &EXTENSION_DATA_FILE.to_be_bytes()), Err(UnsafeImage::DataFile));
        assert_eq!(with(104, &EXTENSION_BACKING_FORMAT.to_be_bytes()), Err(UnsafeImage::BackingFile));
        // An extension that reaches beyond the header.
        assert_eq!(with(104, &[9, 9, 9, 9, 255, 255, 255, 0]), Err(UnsafeImage::NotOfFormat("qcow2")));
        assert_eq!(parse_header(&plain()[..60]), Err(UnsafeImage::NotOfFormat("qcow2")));
    }
}
