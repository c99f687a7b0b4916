//! Closes a connection in stages (RFC 9112, 9.6): first the sending half, and the rest once the peer has closed its half or a
//! time limit has passed. Closing at once while the peer still sends would reset the connection, and the peer would lose a
//! response that it has not read yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::connections::Slot;
use crate::early::{DRAIN_BYTES_MAX, DRAIN_PAUSE_MAX, DRAIN_WITHIN};

/// A stream over a TCP connection.
pub(crate) trait OverTcp {
    /// Returns the TCP connection.
    fn into_tcp(self) -> TcpStream;
}

impl OverTcp for TcpStream {
    fn into_tcp(self) -> TcpStream {
        self
    }
}

impl OverTcp for TlsStream<TcpStream> {
    fn into_tcp(self) -> TcpStream {
        self.into_inner().0
    }
}

/// Closes its stream in stages when dropped, unless the peer closed it already or it was evicted.
pub(crate) struct Lingering<S: Stream> {
    stream: Option<S>,
    slot: Slot,
    /// Whether the peer closed its half or the connection is broken.
    is_over: bool,
}

/// A stream that [`Lingering`] can wrap.
pub(crate) trait Stream: AsyncRead + AsyncWrite + OverTcp + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + OverTcp + Unpin + Send + 'static> Stream for S {}

impl<S: Stream> Lingering<S> {
    pub(crate) fn new(stream: S, slot: Slot) -> Self {
        Self { stream: Some(stream), slot, is_over: false }
    }

    fn with<T>(&mut self, act: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let poll = act(Pin::new(stream));
        self.is_over |= matches!(poll, Poll::Ready(Err(_)));
        poll
    }
}

impl<S: Stream> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.with(|stream| stream.poll_read(context, buffer)))?;
        self.is_over |= buffer.filled().len() == before && buffer.remaining() > 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_shutdown(context))
    }
}

impl<S: Stream> Drop for Lingering<S> {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        if self.is_over || self.slot.is_evicted() {
            return;
        }
        let slot = self.slot.clone();
        slot.linger();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::select! {
                    () = drain(stream) => {}
                    () = slot.evicted() => {}
                    () = tokio::time::sleep(DRAIN_WITHIN) => {}
                }
            });
        }
    }
}

async fn drain<S: Stream>(mut stream: S) {
    if !matches!(tokio::time::timeout(DRAIN_PAUSE_MAX, stream.shutdown()).await, Ok(Ok(()))) {
        return;
    }
    // Incoming bytes are no longer decrypted.
    let mut stream = stream.into_tcp();
    let (mut left, mut buffer) = (DRAIN_BYTES_MAX, vec![0; 16 * 1024]);
    loop {
        let read = tokio::time::timeout(DRAIN_PAUSE_MAX, stream.read(&mut buffer)).await;
        let Ok(Ok(read @ 1..)) = read else { return };
        let Some(rest) = left.checked_sub(read as u64) else { return };
        left = rest;
    }
}
