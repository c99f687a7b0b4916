//! Passwords: Argon2id, off the threads that serve requests, in work buffers of a fixed number.
//!
//! A hash needs megabytes of memory for milliseconds. Allocated for each hash, allocators keep much of it for good: glibc
//! raises its threshold for direct mappings after the first large free, and then takes such blocks from heaps that
//! fragment. So the buffers are allocated once and reused.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tokio::sync::Semaphore;

use crate::service::OpenError;
use crate::service::error::Error;
use crate::service::secrets::same;

/// Bytes of a password at most.
pub(crate) const PASSWORD_MAX: usize = 4096;
/// Requests that wait for their turn at most; others are told to come back.
const WAITING_MAX: usize = 256;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_LEN: usize = 16;
const OUTPUT_LEN: usize = 32;

/// Hashes and checks passwords.
pub(crate) struct Passwords {
    params: Params,
    turns: Arc<Semaphore>,
    buffers: Arc<Buffers>,
    waiting: AtomicUsize,
    /// No password fits it, and finding that out takes as long as for a real one.
    decoy: String,
}

/// The work buffers that are not in use. No more are ever made than hashes run at once.
#[derive(Default)]
struct Buffers {
    free: Mutex<Vec<Vec<Block>>>,
    made: AtomicUsize,
}

impl Buffers {
    /// Lends a buffer of at least `blocks` KiB to `work`. Its content is whatever the last hash left there.
    fn lend<T>(&self, blocks: usize, work: impl FnOnce(&mut [Block]) -> T) -> T {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = free.unwrap_or_else(|| {
            self.made.fetch_add(1, Ordering::AcqRel);
            Vec::new()
        });
        if buffer.len() < blocks {
            // Exactly: a vector that grows by itself would double.
            buffer = vec![Block::new(); blocks];
        }
        let done = work(&mut buffer);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        done
    }
}

/// Counts a request that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Computes the hash of `password`; `None` for parameters that Argon2 does not take.
fn compute(
    buffers: &Buffers,
    (algorithm, version, params): (Algorithm, Version, Params),
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
) -> Option<()> {
    let blocks = params.block_count();
    let argon = Argon2::new(algorithm, version, params);
    buffers.lend(blocks, |memory| argon.hash_password_into_with_memory(password, salt, output, memory)).ok()
}

/// A new PHC string for `password`.
fn hash(buffers: &Buffers, params: &Params, password: &[u8]) -> Option<String> {
    let (mut salt, mut output) = ([0u8; SALT_LEN], [0u8; OUTPUT_LEN]);
    aws_lc_rs::rand::fill(&mut salt).ok()?;
    compute(buffers, (Algorithm::Argon2id, Version::V0x13, params.clone()), password, &salt, &mut output)?;
    let phc = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).ok()?,
        salt: Some(Salt::new(&salt).ok()?),
        hash: Some(Output::new(&output).ok()?),
    };
    Some(phc.to_string())
}

/// Whether `stored` is the hash of `password`, by the parameters that it was made with; `None` if it is none at all.
fn verify(buffers: &Buffers, stored: &str, password: &[u8]) -> Option<bool> {
    let stored = PasswordHash::new(stored).ok()?;
    let algorithm = Algorithm::try_from(stored.algorithm.as_str()).ok()?;
    let version = stored.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
    let params = Params::try_from(&stored).ok()?;
    let expected = stored.hash?;
    let mut output = vec![0u8; expected.len()];
    compute(buffers, (algorithm, version, params), password, stored.salt?.as_ref(), &mut output)?;
    Some(same(&output, expected.as_bytes()))
}

impl Passwords {
    pub(crate) fn new(memory_kib: u32, at_once: usize) -> Result<Self, OpenError> {
        let params =
            Params::new(memory_kib, PASSES, LANES, None).map_err(|_| OpenError::Passwords { memory_kib })?;
        let (mut salt, mut output) = ([0u8; SALT_LEN], [0u8; OUTPUT_LEN]);
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| OpenError::Random)?;
        aws_lc_rs::rand::fill(&mut output).map_err(|_| OpenError::Random)?;
        let decoy = format!(
            "$argon2id$v=19$m={memory_kib},t={PASSES},p={LANES}${}${}",
            STANDARD_NO_PAD.encode(salt),
            STANDARD_NO_PAD.encode(output)
        );
        Ok(Self {
            params,
            turns: Arc::new(Semaphore::new(at_once.max(1))),
            buffers: Arc::default(),
            waiting: AtomicUsize::new(0),
            decoy,
        })
    }

    /// Work buffers that were ever made.
    pub(crate) fn buffers_made(&self) -> usize {
        self.buffers.made.load(Ordering::Acquire)
    }

    /// A password as it is stored: a PHC string.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, Error> {
        let (params, password) = (self.params.clone(), password.to_owned());
        let hashed = self.in_turn(move |buffers| hash(buffers, &params, password.as_bytes())).await?;
        hashed.ok_or(Error::Busy)
    }

    /// Whether `password` is the one that was stored. Without one stored (no such user, or it has none) it takes as
    /// long and is false.
    pub(crate) async fn fits(&self, password: &str, stored: Option<&str>) -> Result<bool, Error> {
        if password.len() > PASSWORD_MAX {
            return Ok(false);
        }
        let real = stored.is_some();
        let (stored, password) = (stored.unwrap_or(&self.decoy).to_owned(), password.to_owned());
        let fits = self.in_turn(move |buffers| verify(buffers, &stored, password.as_bytes())).await?;
        Ok(fits == Some(true) && real)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Buffers) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = {
            let before = self.waiting.fetch_add(1, Ordering::AcqRel);
            let _waiting = Waiting(&self.waiting);
            if before >= WAITING_MAX {
                return Err(Error::Busy);
            }
            Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Error::Busy)?
        };
        let buffers = Arc::clone(&self.buffers);
        tokio::task::spawn_blocking(move || {
            // Held by the thread, not by the request: a client that leaves must not make room for another.
            let _turn = turn;
            work(&buffers)
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

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_buffers_are_made_than_hashes_run_at_once() {
        let passwords = Arc::new(Passwords::new(64, 3).unwrap());
        let stored = passwords.hash("correct horse").await.unwrap();
        for _ in 0..10 {
            let mut running = tokio::task::JoinSet::new();
            for n in 0..100 {
                let (passwords, stored) = (Arc::clone(&passwords), stored.clone());
                running.spawn(async move {
                    let (password, fits) =
                        if n % 2 == 0 { ("correct horse", true) } else { ("other", false) };
                    assert_eq!(passwords.fits(password, Some(&stored)).await.unwrap(), fits);
                });
            }
            while let Some(done) = running.join_next().await {
                done.unwrap();
            }
        }
        assert!((1..=3).contains(&passwords.buffers_made()), "{}", passwords.buffers_made());
    }

    #[tokio::test]
    async fn what_was_stored_with_other_parameters_fits_still() {
        let old = Passwords::new(256, 1).unwrap().hash("correct horse").await.unwrap();
        let passwords = Passwords::new(64, 1).unwrap();
        assert!(passwords.fits("correct horse", Some(&old)).await.unwrap());
        assert!(!passwords.fits("correct horsf", Some(&old)).await.unwrap());
        assert_eq!(passwords.buffers_made(), 1);
        // As the crate's own function wrote it before this one used buffers of its own.
        let known = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$";
        let mut output = [0u8; 32];
        let params = Params::new(64, 2, 1, None).unwrap();
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon.hash_password_into(b"x", b"somesaltsomesalt", &mut output).unwrap();
        let known = format!("{known}{}", STANDARD_NO_PAD.encode(output));
        assert!(passwords.fits("x", Some(&known)).await.unwrap());
    }

    #[tokio::test]
    async fn the_decoy_is_really_computed() {
        let passwords = Passwords::new(64, 1).unwrap();
        let decoy = PasswordHash::new(&passwords.decoy).unwrap();
        assert_eq!(decoy.params.get_decimal("m"), Some(64));
        assert!(decoy.salt.is_some() && decoy.hash.is_some());
    }
}
