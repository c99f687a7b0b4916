//! Passwords: Argon2id, on separate threads, with a fixed number of work buffers.
//!
//! A hash needs megabytes of memory for a few milliseconds. If it were allocated per hash, allocators would keep much of it
//! for good: glibc raises its threshold for direct mappings after the first large free, and then takes such blocks from
//! heaps that fragment. So the buffers are allocated once and reused.

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

/// Maximum length of a password, in bytes.
pub(crate) const PASSWORD_MAX: usize = 4096;
/// Maximum number of requests of one rank that wait for their turn. Further ones are told to retry later.
const WAITING_MAX: usize = 256;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_LEN: usize = 16;
const OUTPUT_LEN: usize = 32;

/// Hashes and verifies passwords.
pub(crate) struct Passwords {
    params: Params,
    turns: Arc<Semaphore>,
    /// One of those of unknown rank waits for a turn at a time, so that those of known rank wait for one of them at most.
    unknown: Semaphore,
    buffers: Arc<Buffers>,
    /// Requests that wait, by rank.
    waiting: [AtomicUsize; 2],
    /// A hash that no password matches. Verifying against it takes as long as against a real one.
    decoy: String,
}

/// How soon a request gets its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// Its user signed in from its address lately, or it comes with a token.
    Known,
    /// Any other: after those that are known, but for one at a time.
    Unknown,
}

/// The unused work buffers. No more exist than hashes run at once.
#[derive(Default)]
struct Buffers {
    free: Mutex<Vec<Vec<Block>>>,
    made: AtomicUsize,
}

impl Buffers {
    /// Lends a buffer of at least `blocks` KiB to `work`. It still contains the last hash's data.
    fn lend<T>(&self, blocks: usize, work: impl FnOnce(&mut [Block]) -> T) -> T {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = free.unwrap_or_else(|| {
            self.made.fetch_add(1, Ordering::AcqRel);
            Vec::new()
        });
        if buffer.len() < blocks {
            // Allocate the exact size, since a growing vector would double.
            buffer = vec![Block::new(); blocks];
        }
        let done = work(&mut buffer);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        done
    }
}

/// Counts a waiting request until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Computes the hash of `password`; `None` for parameters that Argon2 rejects.
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

/// Creates a PHC string for `password`.
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

/// Whether `stored` is the hash of `password`, with the parameters in `stored`; `None` if `stored` is not a valid hash.
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
            unknown: Semaphore::new(1),
            buffers: Arc::default(),
            waiting: Default::default(),
            decoy,
        })
    }

    /// Number of work buffers allocated so far.
    pub(crate) fn buffers_allocated(&self) -> usize {
        self.buffers.made.load(Ordering::Acquire)
    }

    /// Hashes a password for an authenticated request and returns the PHC string to store.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, Error> {
        let (params, password) = (self.params.clone(), password.to_owned());
        let hashed =
            self.in_turn(Rank::Known, move |buffers| hash(buffers, &params, password.as_bytes())).await?;
        hashed.ok_or(Error::Busy)
    }

    /// Whether `password` matches the stored hash. Without a stored hash (no such user, or it has no password) the check
    /// takes as long and returns false.
    pub(crate) async fn fits(&self, password: &str, stored: Option<&str>, rank: Rank) -> Result<bool, Error> {
        if password.len() > PASSWORD_MAX {
            return Ok(false);
        }
        let real = stored.is_some();
        let (stored, password) = (stored.unwrap_or(&self.decoy).to_owned(), password.to_owned());
        let fits = self.in_turn(rank, move |buffers| verify(buffers, &stored, password.as_bytes())).await?;
        Ok(fits == Some(true) && real)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        rank: Rank,
        work: impl FnOnce(&Buffers) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = {
            let waiting = &self.waiting[rank as usize];
            let before = waiting.fetch_add(1, Ordering::AcqRel);
            let _waiting = Waiting(waiting);
            if before >= WAITING_MAX {
                return Err(Error::Busy);
            }
            let _one = match rank {
                Rank::Known => None,
                Rank::Unknown => Some(self.unknown.acquire().await.map_err(|_| Error::Busy)?),
            };
            Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Error::Busy)?
        };
        let buffers = Arc::clone(&self.buffers);
        tokio::task::spawn_blocking(move || {
            // Held by the thread, not by the request: a client that disconnects must not make room for another hash.
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
    async fn a_password_matches_only_itself() {
        let passwords = Passwords::new(64, 1).unwrap();
        let stored = passwords.hash("correct horse").await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=2,p=1$"));
        assert!(passwords.fits("correct horse", Some(&stored), Rank::Unknown).await.unwrap());
        assert!(!passwords.fits("correct horsf", Some(&stored), Rank::Unknown).await.unwrap());
        assert!(!passwords.fits("correct horse", None, Rank::Unknown).await.unwrap());
        assert!(!passwords.fits("x", Some("damaged"), Rank::Unknown).await.unwrap());
        assert_ne!(stored, passwords.hash("correct horse").await.unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_buffers_are_allocated_than_hashes_run_at_once() {
        let passwords = Arc::new(Passwords::new(64, 3).unwrap());
        let stored = passwords.hash("correct horse").await.unwrap();
        for _ in 0..10 {
            let mut running = tokio::task::JoinSet::new();
            for n in 0..100 {
                let (passwords, stored) = (Arc::clone(&passwords), stored.clone());
                running.spawn(async move {
                    let (password, fits) =
                        if n % 2 == 0 { ("correct horse", true) } else { ("other", false) };
                    assert_eq!(passwords.fits(password, Some(&stored), Rank::Unknown).await.unwrap(), fits);
                });
            }
            while let Some(done) = running.join_next().await {
                done.unwrap();
            }
        }
        assert!((1..=3).contains(&passwords.buffers_allocated()), "{}", passwords.buffers_allocated());
    }

    /// Hundreds of strangers wait; who is known gets its turn after one of them at most.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn those_who_are_known_are_served_first() {
        let passwords = Arc::new(Passwords::new(2048, 1).unwrap());
        let stored = passwords.hash("correct horse").await.unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let (passwords, stored, served) = (Arc::clone(&passwords), stored.clone(), Arc::clone(&served));
            running.spawn(async move {
                let _ = passwords.fits("guess", Some(&stored), Rank::Unknown).await;
                served.fetch_add(1, Ordering::AcqRel);
            });
        }
        while passwords.waiting[Rank::Unknown as usize].load(Ordering::Acquire) < 100 {
            tokio::task::yield_now().await;
        }
        let before = served.load(Ordering::Acquire);
        assert!(passwords.fits("correct horse", Some(&stored), Rank::Known).await.unwrap());
        let between = served.load(Ordering::Acquire) - before;
        // One at work, one that had its turn next, and what ended while this was counted.
        assert!(between <= 4, "{between} were served before");
        running.shutdown().await;
    }

    #[tokio::test]
    async fn hashes_with_other_parameters_still_match() {
        let old = Passwords::new(256, 1).unwrap().hash("correct horse").await.unwrap();
        let passwords = Passwords::new(64, 1).unwrap();
        assert!(passwords.fits("correct horse", Some(&old), Rank::Unknown).await.unwrap());
        assert!(!passwords.fits("correct horsf", Some(&old), Rank::Unknown).await.unwrap());
        assert_eq!(passwords.buffers_allocated(), 1);
        // Written by the crate's own function, from before this code used its own buffers.
        let known = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$";
        let mut output = [0u8; 32];
        let params = Params::new(64, 2, 1, None).unwrap();
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon.hash_password_into(b"x", b"somesaltsomesalt", &mut output).unwrap();
        let known = format!("{known}{}", STANDARD_NO_PAD.encode(output));
        assert!(passwords.fits("x", Some(&known), Rank::Unknown).await.unwrap());
    }

    #[tokio::test]
    async fn the_decoy_is_computed_in_full() {
        let passwords = Passwords::new(64, 1).unwrap();
        let decoy = PasswordHash::new(&passwords.decoy).unwrap();
        assert_eq!(decoy.params.get_decimal("m"), Some(64));
        assert!(decoy.salt.is_some() && decoy.hash.is_some());
    }
}
