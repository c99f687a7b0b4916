//! Converts between asynchronous readers and libvirt's blocking streams.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::error::{LibvirtError, Outcome};
use super::sys::Stream;
use crate::{Progress, Reader};

/// Tells whether a call was cancelled. The thread of a call outlives the future that started it. Once the call is
/// cancelled, its result may already have been removed and must not be created again.
#[derive(Clone)]
pub struct Cancellation(Weak<()>);

impl Cancellation {
    /// Returns a guard, and the cancellation that takes effect when the guard is dropped.
    pub fn on_drop() -> (Arc<()>, Self) {
        let guard = Arc::new(());
        let cancellation = Self(Arc::downgrade(&guard));
        (guard, cancellation)
    }

    pub fn check(&self) -> Outcome<()> {
        if self.is_cancelled() { Err(LibvirtError::Failed(CANCELLED.to_owned())) } else { Ok(()) }
    }

    fn is_cancelled(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// Wraps a source so that it fails once the call is cancelled.
    pub fn reader(&self, source: Reader) -> Reader {
        Box::pin(CancellableReader { source, cancellation: self.clone() })
    }
}

const CANCELLED: &str = "the call was cancelled";

struct CancellableReader {
    source: Reader,
    cancellation: Cancellation,
}

impl AsyncRead for CancellableReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cancellation.is_cancelled() {
            return Poll::Ready(Err(io::Error::other(CANCELLED)));
        }
        self.source.as_mut().poll_read(context, buffer)
    }
}

const PIECE: usize = 1 << 20;
const PIECES_AHEAD: usize = 4;
/// A source that delivers nothing for this long counts as failed.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(300);

/// Writes exactly `length` bytes of a source to a volume.
pub fn send(
    source: &mut Reader,
    name: &str,
    length: u64,
    mut stream: Stream,
    runtime: &Handle,
    progress: &Progress,
) -> Outcome<()> {
    let mut buffer = vec![0; PIECE];
    let mut left = length;
    loop {
        let read = runtime.block_on(tokio::time::timeout(SOURCE_TIMEOUT, source.read(&mut buffer)));
        let count = match read {
            Ok(Ok(count)) => count,
            Ok(Err(error)) => return Err(LibvirtError::Failed(format!("{name}: {error}"))),
            Err(_) => {
                return Err(LibvirtError::Failed(format!("{name}: no data for {SOURCE_TIMEOUT:?}")));
            }
        };
        if count == 0 {
            break;
        }
        if count as u64 > left {
            return LibvirtError::refused(format!("{name} is longer than {length} bytes"));
        }
        left -= count as u64;
        stream.send(&buffer[..count])?;
        progress.advance(count as u64);
    }
    if left > 0 {
        return LibvirtError::refused(format!("{name} is shorter than {length} bytes"));
    }
    Ok(stream.finish()?)
}

/// Returns a reader of a stream. A thread reads a few pieces ahead. A failure is returned as an error, never as an early end.
pub fn reader(stream: Stream) -> Reader {
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || pump(stream, &sender));
    Box::pin(Pieces { pieces, current: Vec::new(), taken: 0, ended: false })
}

fn pump(mut stream: Stream, sender: &mpsc::Sender<io::Result<Vec<u8>>>) {
    let failed = |fault: super::sys::Fault| io::Error::other(fault.message);
    loop {
        let mut buffer = vec![0; PIECE / 4];
        match stream.receive(&mut buffer) {
            Ok(0) => {
                let end = stream.finish().map(|()| Vec::new()).map_err(failed);
                let _ = sender.blocking_send(end);
                return;
            }
            Ok(count) => {
                buffer.truncate(count);
                if sender.blocking_send(Ok(buffer)).is_err() {
                    return;
                }
            }
            Err(fault) => {
                let _ = sender.blocking_send(Err(failed(fault)));
                return;
            }
        }
    }
}

/// Reads a stream to its end, but at most `limit` bytes.
pub fn read_some(mut stream: Stream, limit: usize) -> Outcome<Vec<u8>> {
    let mut bytes = vec![0; limit];
    let mut filled = 0;
    while filled < limit {
        match stream.receive(&mut bytes[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

struct Pieces {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.taken == self.current.len() && !self.ended {
            match ready!(self.pieces.poll_recv(context)) {
                Some(Ok(piece)) if piece.is_empty() => self.ended = true,
                Some(Ok(piece)) => {
                    self.current = piece;
                    self.taken = 0;
                }
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
        let count = buffer.remaining().min(self.current.len() - self.taken);
        buffer.put_slice(&self.current[self.taken..self.taken + count]);
        self.taken += count;
        Poll::Ready(Ok(()))
    }
}
