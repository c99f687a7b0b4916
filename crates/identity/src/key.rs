//! The master key. All secrets at rest are encrypted with keys derived from it, and it is never stored in the database.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, rand};

/// Layout of sealed data: this byte, four bytes that identify the key, the nonce, and the ciphertext with its tag.
const LAYOUT: u8 = 1;
const KEY_NAME_LEN: usize = 4;
const HEAD_LEN: usize = 1 + KEY_NAME_LEN + NONCE_LEN;
const KEY_LEN: usize = 32;

/// Why the master key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file is missing and must not be created: another process of this cloud has it, or it was lost.
    #[error("master key {}: missing; copy it from where this cloud was created, or set NEPHOS_MASTER_KEY", path.display())]
    Missing {
        /// The path that was checked.
        path: PathBuf,
    },
    /// Users other than its owner can read the file.
    #[error("master key {}: readable by others (mode {mode:o}); run chmod 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not 32 bytes, raw or as 64 hexadecimal digits.
    #[error("the master key is not 32 bytes, raw or as 64 hexadecimal digits")]
    Malformed,
    /// The file cannot be read or written.
    #[error("master key {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The operating system provides no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// Sealed data cannot be opened: wrong key, wrong context, or damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed secret cannot be opened with this master key")]
pub struct UnsealError;

/// 32 bytes from which every other key of this cloud is derived.
pub struct MasterKey {
    bytes: [u8; KEY_LEN],
    name: [u8; KEY_NAME_LEN],
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// The length of a derived key.
struct DerivedLen;

impl hkdf::KeyType for DerivedLen {
    fn len(&self) -> usize {
        KEY_LEN
    }
}

impl MasterKey {
    /// Reads the key at `path`. If there is none and `allow_create` is set, creates one (mode 0600, synced with its
    /// directory).
    ///
    /// # Errors
    /// [`MasterKeyError`], all variants.
    pub fn load_or_create(path: &Path, allow_create: bool) -> Result<Self, MasterKeyError> {
        let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
        match File::open(path) {
            Ok(mut file) => {
                let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
                if mode & 0o077 != 0 {
                    return Err(MasterKeyError::Exposed { path: path.to_owned(), mode });
                }
                let mut bytes = Vec::new();
                Read::by_ref(&mut file).take(1024).read_to_end(&mut bytes).map_err(failed)?;
                Self::from_bytes(&bytes)
            }
            Err(error) if error.kind() == ErrorKind::NotFound && allow_create => Self::create(path),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(MasterKeyError::Missing { path: path.to_owned() })
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn create(path: &Path) -> Result<Self, MasterKeyError> {
        let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
        let mut bytes = [0u8; KEY_LEN];
        rand::fill(&mut bytes).map_err(|_| MasterKeyError::Random)?;
        // Write to a temporary name first, so that a crash cannot leave half a key.
        let draft = path.with_extension("key.new");
        let _ = std::fs::remove_file(&draft);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
        file.write_all(hex::encode(bytes).as_bytes()).map_err(failed)?;
        file.write_all(b"\n").map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::hard_link(&draft, path).map_err(failed)?;
        std::fs::remove_file(&draft).map_err(failed)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        Ok(Self::of(bytes))
    }

    /// Parses the key from text as in `NEPHOS_MASTER_KEY`: 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`MasterKeyError::Malformed`].
    pub fn from_text(text: &str) -> Result<Self, MasterKeyError> {
        Self::from_bytes(text.as_bytes())
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, MasterKeyError> {
        if let Ok(raw) = <[u8; KEY_LEN]>::try_from(bytes) {
            return Ok(Self::of(raw));
        }
        let mut decoded = [0u8; KEY_LEN];
        hex::decode_to_slice(bytes.trim_ascii(), &mut decoded).map_err(|_| MasterKeyError::Malformed)?;
        Ok(Self::of(decoded))
    }

    fn of(bytes: [u8; KEY_LEN]) -> Self {
        let mut key = Self { bytes, name: [0; KEY_NAME_LEN] };
        let derived = key.derive("name of the key");
        key.name.copy_from_slice(&derived[..KEY_NAME_LEN]);
        key
    }

    /// Derives a separate key for `purpose` (HKDF-SHA256).
    ///
    /// # Panics
    /// Never: HKDF supports this constant length.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut derived = [0u8; KEY_LEN];
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"nephos");
        let prk = salt.extract(&self.bytes);
        prk.expand(&[purpose.as_bytes()], DerivedLen)
            .and_then(|okm| okm.fill(&mut derived))
            .expect("32 bytes are within what HKDF gives");
        derived
    }

    /// Encrypts `plaintext` for `purpose` (AES-256-GCM) and binds it to `context`. Opening it needs the same key, purpose
    /// and context.
    ///
    /// # Errors
    /// [`MasterKeyError::Random`].
    pub fn seal(&self, purpose: &str, context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, MasterKeyError> {
        let mut nonce = [0u8; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| MasterKeyError::Random)?;
        let mut text = plaintext.to_vec();
        self.cipher(purpose)
            .and_then(|key| {
                key.seal_in_place_append_tag(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(context),
                    &mut text,
                )
            })
            .map_err(|_| MasterKeyError::Random)?;
        let mut sealed = Vec::with_capacity(HEAD_LEN + text.len());
        sealed.push(LAYOUT);
        sealed.extend_from_slice(&self.name);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// Decrypts the result of [`MasterKey::seal`].
    ///
    /// # Errors
    /// [`UnsealError`].
    pub fn open(&self, purpose: &str, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, UnsealError> {
        let (head, text) = sealed.split_at_checked(HEAD_LEN).ok_or(UnsealError)?;
        if head[0] != LAYOUT || head[1..=KEY_NAME_LEN] != self.name {
            return Err(UnsealError);
        }
        let nonce = Nonce::try_assume_unique_for_key(&head[1 + KEY_NAME_LEN..]).map_err(|_| UnsealError)?;
        let mut text = text.to_vec();
        let key = self.cipher(purpose).map_err(|_| UnsealError)?;
        let opened = key.open_in_place(nonce, Aad::from(context), &mut text).map_err(|_| UnsealError)?.len();
        text.truncate(opened);
        Ok(text)
    }

    fn cipher(&self, purpose: &str) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
        UnboundKey::new(&AES_256_GCM, &self.derive(purpose)).map(LessSafeKey::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn sealed_data_opens_only_for_the_same_purpose_and_context() {
        let key = MasterKey::from_text(TEXT).unwrap();
        let sealed = key.seal("api keys", b"user", b"secret").unwrap();
        assert_eq!(key.open("api keys", b"user", &sealed).unwrap(), b"secret");
        assert_eq!(key.open("api keys", b"other", &sealed), Err(UnsealError));
        assert_eq!(key.open("tokens", b"user", &sealed), Err(UnsealError));
        let other = MasterKey::from_text(&TEXT.replace("00", "01")).unwrap();
        assert_eq!(other.open("api keys", b"user", &sealed), Err(UnsealError));
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(key.open("api keys", b"user", &damaged), Err(UnsealError), "byte {at}");
        }
        for len in 0..sealed.len() {
            assert_eq!(key.open("api keys", b"user", &sealed[..len]), Err(UnsealError));
        }
        assert_ne!(sealed, key.seal("api keys", b"user", b"secret").unwrap());
    }

    #[test]
    fn keys_are_derived_by_purpose_and_stay_the_same() {
        let key = MasterKey::from_text(TEXT).unwrap();
        assert_eq!(key.derive("a"), MasterKey::from_text(&format!(" {TEXT}\n")).unwrap().derive("a"));
        assert_ne!(key.derive("a"), key.derive("b"));
    }

    #[test]
    fn the_file_is_created_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        assert!(matches!(MasterKey::load_or_create(&path, false), Err(MasterKeyError::Missing { .. })));
        let made = MasterKey::load_or_create(&path, true).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let read = MasterKey::load_or_create(&path, false).unwrap();
        assert_eq!(made.bytes, read.bytes);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            MasterKey::load_or_create(&path, true),
            Err(MasterKeyError::Exposed { mode: 0o640, .. })
        ));
    }

    #[test]
    fn raw_bytes_are_accepted_and_other_lengths_rejected() {
        assert_eq!(MasterKey::from_bytes(&[7; 32]).unwrap().bytes, [7; 32]);
        for bad in [&b""[..], &[7; 31], &[b'a'; 63], &[b'g'; 64]] {
            assert!(matches!(MasterKey::from_bytes(bad), Err(MasterKeyError::Malformed)));
        }
    }
}
