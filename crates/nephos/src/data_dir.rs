//! The data directory: at most one server at a time uses it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, flock};

use crate::config::SettingError;

/// Replaces a file's content. Only its owner can read the file.
///
/// # Errors
/// The operating system's error.
pub fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let draft = path.with_extension("new");
    let _ = std::fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(draft, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// A locked data directory. Dropping it releases the lock.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is missing, and locks it. From then on all files that this process creates are accessible
    /// only to its owner. Files that an earlier version left open to others are closed.
    ///
    /// # Errors
    /// [`SettingError`] when the directory cannot be written or another process holds it.
    pub fn hold(path: &Path) -> Result<Self, SettingError> {
        let failed =
            |error: std::io::Error| SettingError::new("data_dir", format!("{}: {error}", path.display()));
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            let holder = holder.trim();
            return Err(SettingError::new(
                "data_dir",
                format!("{}: in use by process {holder}", path.display()),
            ));
        }
        restrict_to_owner(path, 0).map_err(failed)?;
        lock.set_len(0).and_then(|()| lock.rewind()).map_err(failed)?;
        writeln!(lock, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Returns a path in the directory.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Depth to which the permissions of each entry are closed. Deeper levels hold many files, such as blobs, and cannot be
/// reached through closed directories.
pub const LEVELS: u32 = 2;

/// Removes all permissions on a file or directory, and on what it contains, from everyone but its owner.
///
/// # Errors
/// The operating system's error.
pub fn restrict_to_owner(path: &Path, level: u32) -> std::io::Result<()> {
    let metadata = std::fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7700))?;
    }
    if !metadata.is_dir() || level >= LEVELS || path.file_name().is_some_and(|name| name == "blobs") {
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        match restrict_to_owner(&entry?.path(), level + 1) {
            // The server's socket and temporary files come and go.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_open_to_others_are_closed_at_start() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("data");
        let (db, volume) = (dir.join("db/files.db"), dir.join("blobs/volumes/1"));
        for file in [&db, &volume, &dir.join("openrc"), &scratch.path().join("outside")] {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "x").unwrap();
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        for open in [&dir, &dir.join("db"), &dir.join("blobs"), &dir.join("blobs/volumes")] {
            std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::symlink(scratch.path().join("outside"), dir.join("link")).unwrap();
        let held = DataDir::hold(&dir).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (path, expected) in [
            (dir.clone(), 0o700),
            (dir.join("db"), 0o700),
            (db, 0o600),
            (dir.join("blobs"), 0o700),
            (dir.join("openrc"), 0o600),
            (dir.join("lock"), 0o600),
            (scratch.path().join("outside"), 0o644),
        ] {
            assert_eq!(mode(&path), expected, "{}", path.display());
        }
        std::fs::write(held.join("new"), "x").unwrap();
        std::fs::create_dir(held.join("made")).unwrap();
        assert_eq!((mode(&dir.join("new")), mode(&dir.join("made"))), (0o600, 0o700));
    }
}
