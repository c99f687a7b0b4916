//! The two things that hyper writes its own way, mended on their way out.
//!
//! - A head that it cannot read it refuses by itself, with a bare status. Whoever serves says how a refusal looks
//!   ([`Refuse`]), and it gets a transaction id and a line in the log like every other answer.
//! - From a 204 it takes `Content-Length: 0` (RFC 9110, 8.6), which Swift sends and clients of its time look for.
//!   An answer with [`WithLength`] in its extensions keeps it: a name that no one can guess stands in for the header's
//!   until it is written.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::{io, mem};

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderName, HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use work::Clock;

use crate::transaction::TransactionId;

/// What is kept of a request line that is not UTF-8.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// hyper's own refusal is a status and three short headers.
const REFUSAL_BYTES_MAX: usize = 160;

/// Says of a 204 that it goes out with `Content-Length: 0`.
#[derive(Clone, Copy, Debug)]
pub struct WithLength;

/// A head that was not read.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'r> {
    /// 400, 414 or 431.
    pub status: StatusCode,
    /// What was asked for, where that is why: bytes that are not UTF-8.
    pub target: Option<&'r [u8]>,
}

/// What is answered to it.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The body's type.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// Decides what is answered to a head that was not read.
pub type Refuse = fn(Refused<'_>) -> Refusal;

/// The name that stands in for `content-length` on a 204; written with a capital, as all names are.
static STAND_IN: LazyLock<HeaderName> = LazyLock::new(|| {
    let mut random = [0u8; 16];
    // Were it guessed, a tenant could spoil an answer to itself.
    let _ = aws_lc_rs::rand::fill(&mut random);
    HeaderName::try_from(format!("x{}", hex::encode(random))).unwrap_or(CONTENT_LENGTH)
});
static STAND_IN_WRITTEN: LazyLock<String> =
    LazyLock::new(|| format!("\r\nX{}: 0\r\n", &STAND_IN.as_str()[1..]));

/// What a connection's service and its stream know together.
pub(crate) struct Signs {
    clock: Clock,
    refuse: Refuse,
    /// Bytes came in since the service was last called or gave a piece of a body: what is written next is no answer's.
    fresh: AtomicBool,
    /// Stand-ins not written yet.
    stand_ins: AtomicUsize,
}

impl Signs {
    pub(crate) fn new(clock: Clock, refuse: Refuse) -> Arc<Self> {
        Arc::new(Self { clock, refuse, fresh: AtomicBool::new(false), stand_ins: AtomicUsize::new(0) })
    }

    /// The service was called.
    pub(crate) fn begin(&self) {
        self.fresh.store(false, Relaxed);
    }

    /// An answer, ready to be written on this connection.
    pub(crate) fn finish(
        self: &Arc<Self>,
        version: http::Version,
        mut response: http::Response<Body>,
    ) -> http::Response<Answered> {
        if version < http::Version::HTTP_2
            && response.status() == StatusCode::NO_CONTENT
            && response.extensions().get::<WithLength>().is_some()
        {
            let headers = response.headers_mut();
            // Of an answer to HEAD, hyper keeps what it takes from others.
            headers.remove(CONTENT_LENGTH);
            headers.insert(STAND_IN.clone(), HeaderValue::from_static("0"));
            self.stand_ins.fetch_add(1, Relaxed);
        }
        response.map(|body| Answered { body, signs: Arc::clone(self) })
    }
}

/// An answer's body.
pub(crate) struct Answered {
    body: Body,
    signs: Arc<Signs>,
}

impl http_body::Body for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.signs.fresh.store(false, Relaxed);
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What is known of the request line that comes, or came last.
enum Line {
    /// The next bytes begin it.
    Awaited,
    /// Its beginning.
    Begun(Vec<u8>),
    /// It is not UTF-8.
    Foul(Vec<u8>),
    /// There is nothing to say of it.
    Fine,
}

impl Line {
    fn take(&mut self, bytes: &[u8]) {
        let (end, is_whole) = match bytes.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n') {
            Some(end) => (end, true),
            None => (bytes.len().min(LINE_BYTES_MAX), bytes.len() >= LINE_BYTES_MAX),
        };
        *self = match mem::replace(self, Self::Fine) {
            Self::Awaited if !is_whole => Self::Begun(bytes[..end].to_vec()),
            Self::Awaited if std::str::from_utf8(&bytes[..end]).is_err() => Self::Foul(bytes[..end].to_vec()),
            Self::Begun(mut line) => {
                line.extend_from_slice(&bytes[..end]);
                match (is_whole || line.len() >= LINE_BYTES_MAX, std::str::from_utf8(&line)) {
                    (false, _) => Self::Begun(line),
                    (true, Err(_)) => Self::Foul(line),
                    (true, Ok(_)) => Self::Fine,
                }
            }
            kept @ Self::Foul(_) => kept,
            Self::Awaited | Self::Fine => Self::Fine,
        };
    }

    /// What a foul line asks for.
    fn target(&self) -> Option<&[u8]> {
        let Self::Foul(line) = self else { return None };
        line.split(|byte| *byte == b' ').nth(1)
    }

    fn is_head(&self) -> bool {
        matches!(self, Self::Foul(line) if line.starts_with(b"HEAD "))
    }
}

/// Wraps a connection's stream.
pub(crate) struct Wire<S> {
    stream: S,
    signs: Arc<Signs>,
    line: Line,
    /// What is written in place of what hyper gave, and how much of it is.
    own: (Vec<u8>, usize),
}

impl<S> Wire<S> {
    pub(crate) fn new(stream: S, signs: Arc<Signs>) -> Self {
        Self { stream, signs, line: Line::Awaited, own: (Vec::new(), 0) }
    }

    /// What is written in place of `bytes`, if they need mending.
    fn mended(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.signs.stand_ins.load(Relaxed) > 0
            && let Some(mended) = restored(bytes)
        {
            self.signs.stand_ins.fetch_sub(1, Relaxed);
            return Some(mended);
        }
        if self.signs.fresh.load(Relaxed)
            && let Some(status) = refusal(bytes)
        {
            return Some(self.refuse(status));
        }
        None
    }

    fn refuse(&self, status: StatusCode) -> Vec<u8> {
        let refusal = (self.signs.refuse)(Refused { status, target: self.line.target() });
        let id = TransactionId::new(self.signs.clock.now().seconds());
        tracing::info!(target: "request", %id, service = "other", status = refusal.status.as_u16(), "unreadable head");
        let mut answer = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nX-Trans-Id: {id}\r\n\
             X-Openstack-Request-Id: {id}\r\nConnection: close\r\nDate: {}\r\n\r\n",
            refusal.status.as_u16(),
            refusal.status.canonical_reason().unwrap_or("Refused"),
            refusal.content_type,
            refusal.body.len(),
            httpdate::fmt_http_date(std::time::SystemTime::now()),
        );
        if !self.line.is_head() {
            answer.push_str(&refusal.body);
        }
        answer.into_bytes()
    }
}

/// The bytes with `Content-Length` where its stand-in is.
fn restored(bytes: &[u8]) -> Option<Vec<u8>> {
    const NAME: &[u8] = b"\r\nContent-Length: 0\r\n";
    let stand_in = STAND_IN_WRITTEN.as_bytes();
    let place = bytes.windows(stand_in.len()).position(|window| window == stand_in)?;
    Some([&bytes[..place], NAME, &bytes[place + stand_in.len()..]].concat())
}

/// The status, if this is a refusal that hyper wrote by itself.
fn refusal(bytes: &[u8]) -> Option<StatusCode> {
    if bytes.len() > REFUSAL_BYTES_MAX || !bytes.starts_with(b"HTTP/1.") || !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let status = StatusCode::from_bytes(bytes.get(9..12)?).ok()?;
    matches!(status.as_u16(), 400 | 414 | 431).then_some(status)
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Writes what is left of our own.
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.own.1 < self.own.0.len() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.own.0[self.own.1..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.own.1 += written;
        }
        self.own = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Takes `bytes` over and begins to write what they became.
    fn replace(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
        mended: Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        self.own = (mended, 0);
        match self.drain(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // The rest goes out before anything else does.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let came = &buffer.filled()[before..];
        if !came.is_empty() {
            this.signs.fresh.store(true, Relaxed);
            if matches!(this.line, Line::Awaited | Line::Begun(_)) {
                this.line.take(came);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.drain(context))?;
        if let Some(mended) = this.mended(bytes) {
            return this.replace(context, bytes, mended);
        }
        this.line = Line::Awaited;
        Pin::new(&mut this.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.drain(context))?;
        let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
        if let Some(mended) = this.mended(first) {
            return this.replace(context, first, mended);
        }
        this.line = Line::Awaited;
        if this.signs.stand_ins.load(Relaxed) > 0 {
            // One at a time, so that each is looked at.
            return Pin::new(&mut this.stream).poll_write(context, first);
        }
        Pin::new(&mut this.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.drain(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.drain(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}
