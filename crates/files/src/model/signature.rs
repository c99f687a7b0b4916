//! Signatures of temporary URLs and forms: HMACs in hex, or in base64 after the digest's name.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// The supported digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// For old clients.
    Sha1,
    /// The default.
    Sha256,
    /// The longest.
    Sha512,
}

impl Digest {
    fn algorithm(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

/// Parses a signature: 40, 64 or 128 hex digits, or `sha256:` and base64. `None` for anything else.
#[must_use]
pub fn parse(text: &str) -> Option<(Digest, Vec<u8>)> {
    let Some((name, encoded)) = text.split_once(':') else {
        let digest = match text.len() {
            40 => Digest::Sha1,
            64 => Digest::Sha256,
            128 => Digest::Sha512,
            _ => return None,
        };
        return Some((digest, hex::decode(text).ok()?));
    };
    let digest = match name {
        "sha1" => Digest::Sha1,
        "sha256" => Digest::Sha256,
        "sha512" => Digest::Sha512,
        _ => return None,
    };
    let padded = format!("{encoded}{}", "=".repeat((4 - encoded.len() % 4) % 4));
    let bytes = STANDARD.decode(&padded).or_else(|_| URL_SAFE.decode(&padded)).ok()?;
    Some((digest, bytes))
}

/// Returns whether `signature` is that of `text` by `key`. Compares in constant time.
#[must_use]
pub fn is_signed(digest: Digest, key: &str, text: &str, signature: &[u8]) -> bool {
    let key = hmac::Key::new(digest.algorithm(), &crate::model::metadata::bytes_of(key));
    hmac::verify(&key, text.as_bytes(), signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_of_each_form_are_verified() {
        let text = "GET\n1\n/v1/AUTH_1/c/o";
        for (digest, name) in [(Digest::Sha1, "sha1"), (Digest::Sha256, "sha256"), (Digest::Sha512, "sha512")]
        {
            let key = hmac::Key::new(digest.algorithm(), b"key");
            let tag = hmac::sign(&key, text.as_bytes());
            for form in [
                hex::encode(tag.as_ref()),
                format!("{name}:{}", STANDARD.encode(tag.as_ref())),
                format!("{name}:{}", URL_SAFE.encode(tag.as_ref()).trim_end_matches('=')),
            ] {
                let (found, bytes) = parse(&form).unwrap();
                assert_eq!(found, digest);
                assert!(is_signed(found, "key", text, &bytes));
                assert!(!is_signed(found, "other", text, &bytes));
                let mut off = bytes.clone();
                off[0] ^= 1;
                assert!(!is_signed(found, "key", text, &off));
            }
        }
        for bad in ["", "abc", "md5:YQ==", "sha256:%", &"x".repeat(40)] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
