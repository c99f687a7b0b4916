//! Passwords: Argon2id, off the threads that serve requests, with a bound on how many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tokio::sync::Semaphore;

use crate::service::OpenError;
use crate::service::error::Error;

/// Bytes of a password at most.
pub(crate) const PASSWORD_MAX: usize = 4096;
/// Requests that wait for their turn at most; others are told to come back.
const WAITING_MAX: usize = 256;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes and checks passwords.
pub(crate) struct Passwords {
    argon: Argon2<'static>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// No password fits it, and finding that out takes as long as for a real one.
    decoy: String,
}

/// Counts a request that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Passwords {
    pub(crate) fn new(memory_kib: u32, at_once: usize) -> Result<Self, OpenError> {
        let params =
            Params::new(memory_kib, PASSES, LANES, None).map_err(|_| OpenError::Passwords { memory_kib })?;
        let (mut salt, mut output) = ([0u8; 16], [0u8; 32]);
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| OpenError::Random)?;
        aws_lc_rs::rand::fill(&mut output).map_err(|_| OpenError::Random)?;
        let decoy = format!(
            "$argon2id$v=19$m={memory_kib},t={PASSES},p={LANES}${}${}",
            STANDARD_NO_PAD.encode(salt),
            STANDARD_NO_PAD.encode(output)
        );
        Ok(Self {
            argon: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            turns: Arc::new(Semaphore::new(at_once.max(1))),
            waiting: AtomicUsize::new(0),
            decoy,
        })
    }

    /// A password as it is stored: a PHC string.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, Error> {
        let (argon, password) = (self.argon.clone(), password.to_owned());
        let hashed =
            self.in_turn(move || argon.hash_password(password.as_bytes()).map(|phc| phc.to_string())).await?;
        hashed.map_err(|_| Error::Busy)
    }

    /// Whether `password` is the one that was stored. Without one stored (no such user, or it has none) it takes as
    /// long and is false.
    pub(crate) async fn fits(&self, password: &str, stored: Option<&str>) -> Result<bool, Error> {
        if password.len() > PASSWORD_MAX {
            return Ok(false);
        }
        let real = stored.is_some();
        let stored = stored.unwrap_or(&self.decoy).to_owned();
        let (argon, password) = (self.argon.clone(), password.to_owned());
        let fits = self
            .in_turn(move || {
                PasswordHash::new(&stored)
                    .is_ok_and(|stored| argon.verify_password(password.as_bytes(), &stored).is_ok())
            })
            .await?;
        Ok(fits && real)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = {
            let before = self.waiting.fetch_add(1, Ordering::AcqRel);
            let _waiting = Waiting(&self.waiting);
            if before >= WAITING_MAX {
                return Err(Error::Busy);
            }
            Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Error::Busy)?
        };
        tokio::task::spawn_blocking(move || {
            // Held by the thread, not by the request: a client that leaves must not make room for another.
            let _turn = turn;
            work()
        })
        .await
        .map_err(|_| Error::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_itself_alone() {
        let passwords = Passwords::new(64, 1).unwrap();
        let stored = passwords.hash("correct horse").await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=2,p=1$"));
        assert!(passwords.fits("correct horse", Some(&stored)).await.unwrap());
        assert!(!passwords.fits("correct horsf", Some(&stored)).await.unwrap());
        assert!(!passwords.fits("correct horse", None).await.unwrap());
        assert!(!passwords.fits("x", Some("damaged")).await.unwrap());
        assert_ne!(stored, passwords.hash("correct horse").await.unwrap());
    }

    #[tokio::test]
    async fn the_decoy_is_really_computed() {
        let passwords = Passwords::new(64, 1).unwrap();
        let decoy = PasswordHash::new(&passwords.decoy).unwrap();
        assert_eq!(decoy.params.get_decimal("m"), Some(64));
        assert!(decoy.salt.is_some() && decoy.hash.is_some());
    }
}
