//! Random secrets: API keys, tokens, and others that no person has to remember.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::service::error::Error;

/// Returns `N` random bytes as hexadecimal digits.
pub(crate) fn random_hex<const N: usize>() -> Result<String, Error> {
    let mut bytes = [0u8; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Busy)?;
    Ok(hex::encode(bytes))
}

/// Returns a new id of 32 hexadecimal digits.
pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Compares in constant time. Both are hashed first, so that not even the length leaks.
/// Whether a secret is of a form that nobody guesses: as long as the ones that are made here, of letters and digits, and not
/// a few of them over and over.
pub(crate) fn is_strong(secret: &str) -> bool {
    let bytes = secret.as_bytes();
    let distinct = (0..=u8::MAX).filter(|byte| bytes.contains(byte)).count();
    let has = |test: fn(&u8) -> bool| bytes.iter().filter(|byte| test(byte)).count() >= 4;
    bytes.len() >= 32 && distinct >= 8 && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
}

pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    verify_slices_are_equal(digest(&SHA256, a).as_ref(), digest(&SHA256, b).as_ref()).is_ok()
}

/// Returns the stored form of a random secret that need not be shown again. Guessing such a secret is infeasible, so a plain
/// hash suffices.
pub(crate) fn hash_random(secret: &str) -> String {
    format!("sha256${}", hex::encode(digest(&SHA256, secret.as_bytes())))
}

/// Whether a secret stored by [`hash_random`] is `secret`; `None` if it was stored in another form.
pub(crate) fn matches_random_hash(secret: &str, stored: &str) -> Option<bool> {
    stored.starts_with("sha256$").then(|| same(hash_random(secret).as_bytes(), stored.as_bytes()))
}
