//! Encryption of secrets at rest: AES-256-GCM, with the owner as associated data.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;

use super::Error;

const NONCE_BYTES: usize = 12;
/// Letters and digits without those that look alike.
const LETTERS: &[u8; 56] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789";
/// Length of generated passwords. The guide's sample has eight letters.
const PASSWORD_LETTERS: usize = 12;

/// Encrypts and decrypts with one key.
pub(super) struct Seal([u8; 32]);

impl Seal {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self(*secret)
    }

    fn key(&self) -> Result<RandomizedNonceKey, Error> {
        RandomizedNonceKey::new(&AES_256_GCM, &self.0)
            .map_err(|_| Error::Internal("the encryption key is invalid".into()))
    }

    /// Encrypts `plain`. Only [`Seal::open`] with the same `owner` decrypts it.
    pub(super) fn seal(&self, owner: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut bytes = plain.to_vec();
        let nonce = self
            .key()?
            .seal_in_place_append_tag(Aad::from(owner.as_bytes()), &mut bytes)
            .map_err(|_| Error::Internal("cannot encrypt a secret".into()))?;
        Ok([nonce.as_ref().as_slice(), &bytes].concat())
    }

    /// Decrypts the output of [`Seal::seal`].
    ///
    /// # Errors
    /// [`Error::Internal`] for another owner, another key or changed bytes.
    pub(super) fn open(&self, owner: &str, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let unreadable = || Error::Internal("cannot decrypt a secret: was the master key changed?".into());
        let (nonce, rest) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(unreadable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| unreadable())?;
        let mut bytes = rest.to_vec();
        let plain = self
            .key()?
            .open_in_place(nonce, Aad::from(owner.as_bytes()), &mut bytes)
            .map_err(|_| unreadable())?;
        Ok(plain.to_vec())
    }
}

/// Returns a random password that is easy to type.
pub(super) fn password() -> Result<String, Error> {
    let mut out = String::with_capacity(PASSWORD_LETTERS);
    while out.len() < PASSWORD_LETTERS {
        let mut byte = [0];
        rand::fill(&mut byte).map_err(|_| Error::Internal("the random number generator failed".into()))?;
        // Reject bytes above the last whole multiple: they would make the first letters more likely.
        if usize::from(byte[0]) < 256 / LETTERS.len() * LETTERS.len() {
            out.push(char::from(LETTERS[usize::from(byte[0]) % LETTERS.len()]));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_can_decrypt_a_secret() {
        let seal = Seal::new(&[7; 32]);
        let sealed = seal.seal("a", b"GFf1j9aP").unwrap();
        assert_eq!(seal.open("a", &sealed).unwrap(), b"GFf1j9aP");
        assert!(seal.open("b", &sealed).is_err());
        assert!(Seal::new(&[8; 32]).open("a", &sealed).is_err());
        assert!(seal.open("a", &sealed[..5]).is_err());
        assert!(!sealed.windows(4).any(|part| part == b"GFf1"));
    }

    #[test]
    fn passwords_differ_and_are_easy_to_type() {
        let (one, two) = (password().unwrap(), password().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), 12);
        assert!(one.bytes().all(|letter| LETTERS.contains(&letter)));
    }
}
