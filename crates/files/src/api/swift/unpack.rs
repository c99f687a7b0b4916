//! Compressed bodies, unpacked with a bound on what they may become (decompression bombs) and off the async runtime.

use std::io::{self, BufRead, Read};
use std::sync::LazyLock;

use axum::body::Body;
use bytes::{Buf, Bytes};
use bzip2::bufread::BzDecoder;
use flate2::bufread::MultiGzDecoder;
use tokio::sync::Semaphore;

/// Bytes that one step unpacks to at most.
const STEP_BYTES: usize = 64 << 10;
/// A body may unpack to this many bytes whatever its own length.
const FREE_BYTES: u64 = 64 << 20;
/// Beyond `FREE_BYTES`, a body may unpack to this many times its own length.
const RATIO_MAX: u64 = 200;

/// Steps that run at once in this process. One core is left to everyone else.
static STEPS: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Semaphore::new(cores.saturating_sub(1).max(1))
});

/// Why a body cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The body did not arrive.
    #[error("{0}")]
    Body(#[from] web::body::Error),
    /// It is not in the format that it claims.
    #[error("{0}")]
    Format(#[from] io::Error),
    /// It is a decompression bomb.
    #[error("it unpacks to more than {RATIO_MAX} times its length")]
    Bomb,
    /// The process ends.
    #[error("unpacking was cut off")]
    Stopped,
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Plain,
    /// A gzip stream, or several in a row.
    Gzip,
    Bzip2,
}

impl Coding {
    /// The coding of an archive format (`tar`, `tar.gz`, `tar.bz2`).
    pub(super) fn of_archive(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().trim_matches('.') {
            "tar" => Some(Self::Plain),
            "tar.gz" => Some(Self::Gzip),
            "tar.bz2" => Some(Self::Bzip2),
            _ => None,
        }
    }
}

/// A body and what it unpacks to.
pub(super) struct Unpacked {
    body: Body,
    decoder: Option<Decoder>,
    /// Bytes of the body so far.
    packed: u64,
    /// Bytes that they unpacked to.
    unpacked: u64,
    /// Whether the decoder may have more to give without more of the body.
    is_fed: bool,
    is_over: bool,
}

impl Unpacked {
    pub(super) fn new(body: Body, coding: Coding) -> Self {
        let decoder = match coding {
            Coding::Plain => None,
            Coding::Gzip => Some(Decoder::Gzip(Box::new(MultiGzDecoder::new(Feed::default())))),
            Coding::Bzip2 => Some(Decoder::Bzip2(Box::new(BzDecoder::new(Feed::default())))),
        };
        Self { body, decoder, packed: 0, unpacked: 0, is_fed: false, is_over: false }
    }

    /// The next piece, at most `STEP_BYTES` of a compressed body; `None` at the end.
    ///
    /// # Errors
    /// [`Error`] of all kinds.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.is_over {
                return Ok(None);
            }
            let Some(mut decoder) = self.decoder.take() else {
                return Ok(web::body::next(&mut self.body).await?);
            };
            if !self.is_fed {
                match web::body::next(&mut self.body).await? {
                    Some(piece) => {
                        self.packed += piece.len() as u64;
                        decoder.feed().piece = piece;
                    }
                    None => decoder.feed().is_whole = true,
                }
                self.is_fed = true;
            }
            let permit = STEPS.acquire().await.map_err(|_| Error::Stopped)?;
            let step = tokio::task::spawn_blocking(move || {
                let mut out = Vec::new();
                let outcome = decoder.step(&mut out);
                drop(permit);
                (decoder, outcome, out)
            });
            let (decoder, outcome, out) = step.await.map_err(|_| Error::Stopped)?;
            self.decoder = Some(decoder);
            match outcome? {
                Step::Full => {}
                Step::Starved => self.is_fed = false,
                Step::Over => self.is_over = true,
            }
            self.unpacked += out.len() as u64;
            if self.unpacked > FREE_BYTES && self.unpacked > self.packed.saturating_mul(RATIO_MAX) {
                return Err(Error::Bomb);
            }
            if !out.is_empty() {
                return Ok(Some(out.into()));
            }
        }
    }
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<Feed>>),
    Bzip2(Box<BzDecoder<Feed>>),
}

/// How a step ended.
enum Step {
    /// Its output is full; there may be more.
    Full,
    /// It needs more of the body.
    Starved,
    /// The compressed stream has ended.
    Over,
}

impl Decoder {
    fn feed(&mut self) -> &mut Feed {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Bzip2(decoder) => decoder.get_mut(),
        }
    }

    fn step(&mut self, out: &mut Vec<u8>) -> io::Result<Step> {
        let mut length = 0;
        out.resize(STEP_BYTES, 0);
        let ended = loop {
            let free = &mut out[length..];
            if free.is_empty() {
                break Ok(Step::Full);
            }
            let read = match self {
                Self::Gzip(decoder) => decoder.read(free),
                Self::Bzip2(decoder) => decoder.read(free),
            };
            match read {
                Ok(0) => break Ok(Step::Over),
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(Step::Starved),
                Err(error) => break Err(error),
            }
        };
        out.truncate(length);
        ended
    }
}

/// The bytes that a decoder has for now.
#[derive(Default)]
struct Feed {
    piece: Bytes,
    /// Nothing follows.
    is_whole: bool,
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.is_empty() && !self.is_whole {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, length: usize) {
        self.piece.advance(length);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// What a body in pieces of `length` bytes unpacks to, and the largest piece that came out.
    async fn unpacked(packed: &[u8], coding: Coding, length: usize) -> Result<(Vec<u8>, usize), Error> {
        let pieces: Vec<_> =
            packed.chunks(length).map(|piece| Ok::<_, io::Error>(Bytes::copy_from_slice(piece))).collect();
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let (mut unpacked, mut all, mut largest) = (Unpacked::new(body, coding), Vec::new(), 0);
        while let Some(piece) = unpacked.next().await? {
            largest = largest.max(piece.len());
            all.extend_from_slice(&piece);
        }
        Ok((all, largest))
    }

    #[tokio::test]
    async fn bodies_unpack_in_pieces_of_any_length() {
        let text: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        for length in [1000, 1 << 20] {
            for (packed, coding) in [
                (text.clone(), Coding::Plain),
                (gzip(&text), Coding::Gzip),
                ([gzip(&text[..7]), gzip(&text[7..])].concat(), Coding::Gzip),
                (bzip2(&text), Coding::Bzip2),
            ] {
                let (all, largest) = unpacked(&packed, coding, length).await.unwrap();
                assert!(all == text, "{coding:?} in pieces of {length}");
                assert!(coding == Coding::Plain || largest <= STEP_BYTES, "{largest}");
            }
        }
        assert_eq!(unpacked(&gzip(b"x"), Coding::Gzip, 1).await.unwrap().0, b"x");
        for coding in [Coding::Gzip, Coding::Bzip2] {
            assert!(matches!(unpacked(b"neither", coding, 2).await, Err(Error::Format(_))), "{coding:?}");
            let cut = if coding == Coding::Gzip { gzip(&text) } else { bzip2(&text) };
            let cut = unpacked(&cut[..cut.len() / 2], coding, 4096).await;
            assert!(matches!(cut, Err(Error::Format(_))), "{coding:?}");
        }
    }

    #[tokio::test]
    async fn bombs_are_stopped_at_their_bound() {
        let zeros = vec![0; 80 << 20];
        for (packed, coding) in [(gzip(&zeros), Coding::Gzip), (bzip2(&zeros), Coding::Bzip2)] {
            let body = Body::from(packed);
            let mut bomb = Unpacked::new(body, coding);
            let stopped = loop {
                match bomb.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{coding:?} was unpacked"),
                    Err(error) => break error,
                }
            };
            assert!(matches!(stopped, Error::Bomb), "{stopped}");
            assert!(bomb.unpacked <= FREE_BYTES + STEP_BYTES as u64, "{}", bomb.unpacked);
        }
    }
}
