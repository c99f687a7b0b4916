//! Random secrets: API keys, tokens, and what else only a machine remembers.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::service::error::Error;

/// `N` random bytes as hexadecimal digits.
pub(crate) fn random_hex<const N: usize>() -> Result<String, Error> {
    let mut bytes = [0u8; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Busy)?;
    Ok(hex::encode(bytes))
}

/// A fresh id of 32 hexadecimal digits.
pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Compares in constant time; both are hashed first, so that not even the length is told.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    verify_slices_are_equal(digest(&SHA256, a).as_ref(), digest(&SHA256, b).as_ref()).is_ok()
}

/// How a random secret that need not be shown again is stored: guessing it is hopeless, so a plain hash will do.
pub(crate) fn hash_random(secret: &str) -> String {
    format!("sha256${}", hex::encode(digest(&SHA256, secret.as_bytes())))
}

/// Whether a secret stored by [`hash_random`] is `secret`; `None` when it was stored in another way.
pub(crate) fn fits_random(secret: &str, stored: &str) -> Option<bool> {
    stored.starts_with("sha256$").then(|| same(hash_random(secret).as_bytes(), stored.as_bytes()))
}
