//! Decompresses bodies off the async runtime, with limits against decompression bombs.

use std::io::{self, BufRead, Read};
use std::sync::LazyLock;

use axum::body::Body;
use bytes::{Buf, Bytes};
use bzip2::bufread::BzDecoder;
use flate2::bufread::MultiGzDecoder;
use tokio::sync::Semaphore;
use web::body::Pace;

/// Maximum output of one step, in bytes.
const STEP_BYTES: usize = 64 << 10;
/// Decompressed size that is allowed for any body, in bytes.
const FREE_BYTES: u64 = 64 << 20;
/// Beyond `FREE_BYTES`, the maximum ratio of decompressed to compressed size.
const RATIO_MAX: u64 = 200;

/// Limits the steps running at once to one per core, less one core for other work.
static STEPS: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Semaphore::new(cores.saturating_sub(1).max(1))
});

/// Why a body cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The body was not received.
    #[error("{0}")]
    Body(#[from] web::body::Error),
    /// The body is not in the declared format.
    #[error("{0}")]
    Format(#[from] io::Error),
    /// It is a decompression bomb.
    #[error("its decompressed size is more than {RATIO_MAX} times its length")]
    Bomb,
    /// The process is shutting down.
    #[error("decompression was interrupted by a shutdown")]
    Stopped,
}

/// The compression of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Plain,
    /// One or more concatenated gzip streams.
    Gzip,
    Bzip2,
}

impl Coding {
    /// Returns the compression of an archive format (`tar`, `tar.gz`, `tar.bz2`).
    pub(super) fn of_archive(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().trim_matches('.') {
            "tar" => Some(Self::Plain),
            "tar.gz" => Some(Self::Gzip),
            "tar.bz2" => Some(Self::Bzip2),
            _ => None,
        }
    }
}

/// A compressed body that is read decompressed.
pub(super) struct Unpacked {
    body: Body,
    pace: Pace,
    decoder: Option<Decoder>,
    /// Bytes of the body read so far.
    packed: u64,
    /// Bytes of output so far.
    unpacked: u64,
    /// Whether the decoder may have more output without more input.
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
        Self { body, pace: Pace::default(), decoder, packed: 0, unpacked: 0, is_fed: false, is_over: false }
    }

    /// Returns the next piece, at most `STEP_BYTES` of a compressed body; `None` at the end.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.is_over {
                return Ok(None);
            }
            let Some(mut decoder) = self.decoder.take() else {
                return Ok(self.pace.next(&mut self.body).await?);
            };
            if !self.is_fed {
                match self.pace.next(&mut self.body).await? {
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
    /// The output buffer is full; there may be more.
    Full,
    /// More input is needed.
    Starved,
    /// The compressed stream ended.
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

/// The input available to a decoder.
#[derive(Default)]
struct Feed {
    piece: Bytes,
    /// Whether the input is complete.
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

    /// Decompresses a body that arrives in pieces of `length` bytes; returns the output and the length of its largest piece.
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
    async fn bodies_are_decompressed_whatever_the_piece_length() {
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
    async fn decompression_bombs_are_stopped_at_the_limit() {
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
