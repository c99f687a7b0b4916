//! Encryption at rest: each blob may have its own key, stored with its location and sealed with the master key.
//!
//! AES-256 in counter mode: a blob keeps its length, ranges can be decrypted on their own, and a copy by reference shares
//! the key with the bytes. A key encrypts only one blob, so the counter starts at zero. The store's checksums cover the
//! encrypted bytes. Data in the database (names, metadata, ETags) is not encrypted.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use blobs::{BlobId, Reader};
use bytes::Bytes;
use identity::MasterKey;

use super::Files;
use crate::error::{Error, Result};
use crate::model::entry::{Blob, SealedKey};
use crate::store;

/// The purpose for which a key is derived from the master key.
const PURPOSE: &str = "files: keys of blobs";
const BLOCK: u64 = 16;
/// Keys resealed per transaction.
const RESEALED_AT_ONCE: usize = 256;

/// A blob's key, decrypted.
pub(super) struct Cipher(DecryptingKey);

impl Cipher {
    fn new(key: &[u8]) -> Result<Self> {
        let key = UnboundCipherKey::new(&AES_256, key).and_then(DecryptingKey::ctr);
        key.map(Self).map_err(|_| Error::Internal("a blob's key has the wrong length".into()))
    }

    /// Creates a key and returns it with its sealed form, which is stored with the blob.
    pub(super) fn fresh(master: &MasterKey, id: BlobId) -> Result<(Self, SealedKey)> {
        let mut key = [0u8; 32];
        let no_random = || Error::Unavailable("the system's random generator failed".into());
        aws_lc_rs::rand::fill(&mut key).map_err(|_| no_random())?;
        Ok((Self::new(&key)?, seal(master, id, &key)?))
    }

    fn open(master: &MasterKey, id: BlobId, sealed: SealedKey) -> Result<Self> {
        let key = master.open(PURPOSE, &id.0, &sealed.0);
        Self::new(&key.map_err(|e| Error::Internal(format!("blob {id}: {e}")))?)
    }

    /// Encrypts or decrypts bytes at `offset` in the blob; in counter mode these are the same.
    pub(super) fn apply(&self, offset: u64, bytes: &[u8]) -> Result<Bytes> {
        let ahead = usize::try_from(offset % BLOCK).unwrap_or(0);
        let mut text = Vec::with_capacity(ahead + bytes.len());
        text.resize(ahead, 0);
        text.extend_from_slice(bytes);
        let counter = FixedLength::from(u128::from(offset / BLOCK).to_be_bytes());
        let context = DecryptionContext::Iv128(counter);
        let failed = |_| Error::Internal("AES failed".into());
        self.0.decrypt(&mut text, context).map_err(failed)?;
        Ok(Bytes::from(text).slice(ahead..))
    }
}

fn seal(master: &MasterKey, id: BlobId, key: &[u8]) -> Result<SealedKey> {
    let sealed = master.seal(PURPOSE, &id.0, key).map_err(|e| Error::Unavailable(e.to_string()))?;
    sealed.try_into().map(SealedKey).map_err(|_| Error::Internal("a sealed key has another length".into()))
}

/// Decrypts the output of another reader.
struct Deciphering {
    inner: Box<dyn Reader>,
    cipher: Cipher,
    at: u64,
}

#[async_trait]
impl Reader for Deciphering {
    async fn next(&mut self) -> blobs::Result<Option<Bytes>> {
        let Some(piece) = self.inner.next().await? else { return Ok(None) };
        let clear = self.cipher.apply(self.at, &piece);
        self.at += piece.len() as u64;
        clear
            .map(Some)
            .map_err(|error| blobs::Error::Io { operation: "decrypting", reason: error.to_string() })
    }
}

impl Files {
    /// Returns the master key if new blobs of a policy are encrypted.
    pub(super) fn encrypts(&self, policy: i64) -> Result<Option<&Arc<MasterKey>>> {
        let settings = self.settings();
        if !settings.policies.encrypts(policy).unwrap_or(settings.encryption) {
            return Ok(None);
        }
        self.master().map(Some)
    }

    fn master(&self) -> Result<&Arc<MasterKey>> {
        let missing = || Error::Unavailable("there is no master key".into());
        self.settings().master.as_ref().ok_or_else(missing)
    }

    /// Returns whether a blob is stored as new blobs of a policy are: in its store, and encrypted if they are.
    pub(super) fn suits(&self, blob: &Blob, policy: i64) -> Result<bool> {
        let own = self.0.blobs.index(usize::try_from(policy).unwrap_or(0));
        let is_there = blobs::store_of(blob.location.volume) == own;
        Ok(is_there && (blob.key.is_some() || self.encrypts(policy)?.is_none()))
    }

    /// Opens a part of a blob, decrypted.
    pub(super) async fn open_blob(
        &self,
        blob: &Blob,
        range: std::ops::Range<u64>,
    ) -> Result<std::result::Result<Box<dyn Reader>, blobs::Error>> {
        let cipher = match blob.key {
            Some(sealed) => Some(Cipher::open(self.master()?, blob.id, sealed)?),
            None => None,
        };
        let at = range.start;
        let opened = self.0.blobs.read(blob.id, blob.location, range).await;
        Ok(opened.map(|inner| match cipher {
            Some(cipher) => Box::new(Deciphering { inner, cipher, at }),
            None => inner,
        }))
    }

    /// Reseals every blob's key that `old` sealed with the current master key, so that `old` is no longer needed. No blob is
    /// rewritten. Returns the number of keys. May be repeated after it was interrupted.
    ///
    /// # Errors
    /// [`Error::Internal`] for a key that neither master key opens; keys before it are resealed.
    pub async fn reseal(&self, old: &MasterKey) -> Result<u64> {
        let master = Arc::clone(self.master()?);
        let (mut after, mut count) = (BlobId([0; 16]), 0);
        loop {
            let found = store::blobs::sealed(&self.0.db, after, RESEALED_AT_ONCE).await?;
            let Some((last, _)) = found.last() else { return Ok(count) };
            after = *last;
            let mut anew = Vec::new();
            for (id, sealed) in found {
                if master.open(PURPOSE, &id.0, &sealed.0).is_ok() {
                    continue;
                }
                let key = old.open(PURPOSE, &id.0, &sealed.0);
                let key = key.map_err(|_| Error::Internal(format!("neither key opens that of blob {id}")))?;
                anew.push((id, seal(&master, id, &key)?));
            }
            count += anew.len() as u64;
            store::blobs::reseal(&self.0.db, anew).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn any_part_can_be_decrypted_on_its_own() {
        let master = MasterKey::from_text(KEY).unwrap();
        let id = BlobId::new();
        let (cipher, sealed) = Cipher::fresh(&master, id).unwrap();
        let text: Vec<u8> = (0..1000u32).map(|n| n.to_le_bytes()[0]).collect();
        let kept =
            [cipher.apply(0, &text[..333]).unwrap(), cipher.apply(333, &text[333..]).unwrap()].concat();
        assert_eq!(kept.len(), text.len());
        assert_ne!(kept, text);
        let cipher = Cipher::open(&master, id, sealed).unwrap();
        for part in [0..1000, 0..1, 15..17, 16..32, 333..334, 999..1000] {
            let clear = cipher.apply(part.start as u64, &kept[part.clone()]).unwrap();
            assert_eq!(clear, &text[part.clone()], "{part:?}");
        }
        assert!(Cipher::open(&master, BlobId::new(), sealed).is_err(), "a key opens its own blob alone");
    }
}
