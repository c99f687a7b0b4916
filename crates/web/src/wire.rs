//! Rewrites two kinds of output that hyper produces itself, in HTTP/1:
//!
//! - Its answers to heads that it cannot read, which are a bare status. Whoever serves says how such an answer looks
//!   ([`Refuse`]); it gets a transaction id and a line in the log as every other.
//! - The missing `Content-Length: 0` of a 204 (RFC 9110, 8.6), which Swift sends and clients of its time look for. An
//!   answer with [`WithLength`] in its extensions has it.
//!
//! Body bytes are never looked at. The connection's service notes each answer before hyper writes it, and the stream
//! follows where messages end ([`crate::framing`]): a head that begins where no noted answer is left to be written is one
//! of hyper's own, and nothing else is.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::{io, mem};

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use work::Clock;

use crate::connections::Seat;
use crate::counted::SHORTAGE_PAUSE;
use crate::framing::{Framing, Messages, declared, head_length};
use crate::transaction::TransactionId;
use crate::{Format, Response, head};

/// What is kept of a head that was not answered yet, to say what is wrong with it.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Says of a 204 that it goes out with `Content-Length: 0`.
#[derive(Clone, Copy, Debug)]
pub struct WithLength;

/// A request that is refused before any dialect sees it, since its head cannot be read or must not be.
#[derive(Clone, Debug)]
pub struct Refused {
    /// 400, 414 or 431.
    pub status: StatusCode,
    /// What was asked for, if that much could be read; perhaps not UTF-8.
    pub target: Option<Vec<u8>>,
    /// What is wrong, a sentence without a stop.
    pub reason: String,
    /// The format that the sender accepts, as far as that could be read.
    pub format: Format,
}

impl Refused {
    /// The path that was asked for, if it is UTF-8; empty if it could not be read.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        let target = std::str::from_utf8(self.target.as_deref().unwrap_or_default()).ok()?;
        let path = target.split_once("://").map_or(target, |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
        Some(path.split('?').next().unwrap_or_default())
    }
}

/// Decides what is answered to a request that is refused before any dialect sees it; with a body that is at hand.
pub type Refuse = fn(&Refused) -> Response;

/// What a connection's service and its stream know together.
pub(crate) struct Exchange {
    clock: Clock,
    refuse: Refuse,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Answers that the service gave and hyper has not written the head of yet, in order.
    answers: VecDeque<Answer>,
    /// Heads that came in and that the service was not called with yet, in order; the last one may be incomplete.
    heads: VecDeque<Vec<u8>>,
}

/// What must be known of an answer to follow it on the wire.
#[derive(Clone, Copy)]
struct Answer {
    /// Its request's method is HEAD.
    is_head: bool,
    with_length: bool,
}

impl Exchange {
    pub(crate) fn new(clock: Clock, refuse: Refuse) -> Arc<Self> {
        Arc::new(Self { clock, refuse, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The service is called with the next request. Returns what is wrong with its target, if the parser dropped a part of it.
    pub(crate) fn begin(&self) -> Option<String> {
        let head = self.state().heads.pop_front()?;
        head::cut_target(&head)
    }

    /// An answer, ready to be written on this connection.
    pub(crate) fn finish(&self, method: &http::Method, version: http::Version, response: &Response) {
        if version < http::Version::HTTP_2 {
            let with_length = response.status() == StatusCode::NO_CONTENT
                && response.extensions().get::<WithLength>().is_some();
            self.state().answers.push_back(Answer { is_head: *method == http::Method::HEAD, with_length });
        }
    }

    /// What is written in place of hyper's own answer to a head.
    fn refusal(&self, status: StatusCode) -> Vec<u8> {
        let head = self.state().heads.pop_front().unwrap_or_default();
        let refused = Refused {
            status,
            target: head::target(&head).map(<[u8]>::to_vec),
            reason: head::fault(&head, status),
            format: Format::default(),
        };
        let (mut parts, body) = (self.refuse)(&refused).into_parts();
        let body = at_hand(body);
        let id = TransactionId::new(self.clock.now().seconds());
        tracing::info!(target: "request", %id, service = "other", status = parts.status.as_u16(), "unreadable head");
        id.show(&mut parts.headers);
        parts.headers.insert(CONTENT_LENGTH, body.len().into());
        parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let now = httpdate::fmt_http_date(std::time::SystemTime::now());
        parts.headers.insert(DATE, HeaderValue::from_str(&now).unwrap_or(HeaderValue::from_static("")));
        let reason = parts.status.canonical_reason().unwrap_or("Refused");
        let mut answer = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_u16()).into_bytes();
        for (name, value) in &parts.headers {
            answer.extend_from_slice(titled(name.as_str()).as_bytes());
            answer.extend_from_slice(b": ");
            answer.extend_from_slice(value.as_bytes());
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(b"\r\n");
        if !head::is_head(&head) {
            answer.extend_from_slice(&body);
        }
        answer
    }
}

/// The bytes of a body that waits for nothing.
fn at_hand(body: Body) -> Bytes {
    let collected = std::pin::pin!(body.collect());
    match Future::poll(collected, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(whole)) => whole.to_bytes(),
        _ => Bytes::new(),
    }
}

/// A header's name as all are written.
fn titled(name: &str) -> String {
    let mut starts = true;
    let letter = |c: char| {
        let shown = if starts { c.to_ascii_uppercase() } else { c };
        starts = c == '-';
        shown
    };
    name.chars().map(letter).collect()
}

/// What a connection speaks, as its first bytes say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Unknown,
    Http1,
    /// HTTP/2, or what cannot be followed any more.
    Other,
}

/// Wraps a connection's stream.
pub(crate) struct Wire<S> {
    stream: S,
    exchange: Arc<Exchange>,
    seat: Seat,
    /// Nothing is read before this is over, since memory is short.
    pause: Option<Pin<Box<Sleep>>>,
    sends: (Protocol, Messages),
    receives: (Protocol, Messages),
    /// What is written in place of what hyper gave, and how much of it is.
    own: (Vec<u8>, usize),
}

/// What becomes of bytes that hyper wants written.
enum Next {
    /// So many go out as they are, at least one; how the connection is then, and how many answers have begun.
    Pass { length: usize, after: Messages, answers: usize },
    /// A head of this length becomes this; the body behind it stays.
    Replace { length: usize, head: Vec<u8>, body: Framing },
}

impl<S> Wire<S> {
    pub(crate) fn new(stream: S, exchange: Arc<Exchange>, seat: Seat) -> Self {
        let start = (Protocol::Unknown, Messages::new());
        Self { stream, exchange, seat, pause: None, sends: start, receives: start, own: (Vec::new(), 0) }
    }

    /// Notes the heads in what came in, for [`head::fault`].
    fn note(&mut self, mut bytes: &[u8]) {
        let (protocol, messages) = &mut self.receives;
        while *protocol != Protocol::Other && !bytes.is_empty() {
            bytes = &bytes[messages.pass(bytes)..];
            if bytes.is_empty() {
                return;
            }
            let mut state = self.exchange.state();
            if mem::replace(protocol, Protocol::Http1) == Protocol::Unknown || state.heads.is_empty() {
                state.heads.push_back(Vec::new());
            }
            let Some(head) = state.heads.back_mut() else { return };
            let before = head.len();
            head.extend_from_slice(&bytes[..bytes.len().min(KEPT_BYTES_MAX - before)]);
            let blank = head.iter().take_while(|byte| b"\r\n".contains(byte)).count();
            match head_length(&head[blank..]).map(|length| length + blank) {
                Some(length) => {
                    head.truncate(length);
                    messages.begin(0, declared(head).unwrap_or(Framing::Empty));
                    if head[blank..].starts_with(b"PRI ") {
                        *protocol = Protocol::Other;
                    }
                    bytes = &bytes[length - before..];
                    if *protocol == Protocol::Http1 {
                        // The next head gets a place of its own.
                        *protocol = Protocol::Unknown;
                    }
                }
                None if head.len() == KEPT_BYTES_MAX => *protocol = Protocol::Other,
                None => return,
            }
        }
    }

    /// Waits while memory is short and this connection has much of it. HTTP/2 is read on, since its frames say what may be
    /// sent; its windows bound what it takes in.
    fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            if self.receives.0 == Protocol::Other || !self.seat.is_full() {
                return Poll::Ready(());
            }
            self.pause = Some(Box::pin(tokio::time::sleep(SHORTAGE_PAUSE)));
        }
    }

    /// What becomes of these bytes up to the first head that is replaced.
    fn next(&mut self, bytes: &[u8]) -> Next {
        let mut messages = self.sends.1;
        if self.sends.0 == Protocol::Unknown {
            let is_http1 = bytes.starts_with(b"HTTP/1.");
            self.sends.0 = if is_http1 { Protocol::Http1 } else { Protocol::Other };
        }
        if self.sends.0 == Protocol::Other {
            return Next::Pass { length: bytes.len(), after: messages, answers: 0 };
        }
        let mut state = self.exchange.state();
        let (mut at, mut answers) = (0, 0);
        loop {
            at += messages.pass(&bytes[at..]);
            if at == bytes.len() {
                return Next::Pass { length: at, after: messages, answers };
            }
            let Some(length) = head_length(&bytes[at..]) else {
                // hyper writes heads whole. If it ever does not, nothing is rewritten any more.
                self.sends.0 = Protocol::Other;
                return Next::Pass { length: bytes.len(), after: messages, answers };
            };
            let head = &bytes[at..at + length];
            let answer = state.answers.get(answers).copied();
            let body = framing(head, answer);
            let is_interim = (100..200).contains(&status(head));
            let is_own = answer.is_none() && !is_interim;
            let is_mended = !is_interim && answer.is_some_and(|answer| answer.with_length);
            if (is_own || is_mended) && at > 0 {
                return Next::Pass { length: at, after: messages, answers };
            }
            if is_own {
                drop(state);
                let status = StatusCode::from_u16(status(head)).unwrap_or(StatusCode::BAD_REQUEST);
                return Next::Replace { length, head: self.exchange.refusal(status), body: Framing::ToClose };
            }
            if is_mended {
                state.answers.pop_front();
                return Next::Replace { length, head: with_length(head), body };
            }
            answers += usize::from(!is_interim);
            messages.begin(length, body);
        }
    }

    /// Notes that the first `written` of `bytes` went out as they were, of which [`Wire::next`] passed more.
    fn pass_part(&mut self, bytes: &[u8], written: usize) {
        let messages = &mut self.sends.1;
        let mut state = self.exchange.state();
        let mut at = 0;
        loop {
            at += messages.pass(&bytes[at..written]);
            if at == written || self.sends.0 == Protocol::Other {
                return;
            }
            let Some(length) = head_length(&bytes[at..]) else { return };
            let head = &bytes[at..at + length];
            let body = framing(head, state.answers.front().copied());
            if !(100..200).contains(&status(head)) {
                state.answers.pop_front();
            }
            messages.begin(length, body);
        }
    }

    /// Notes that all that [`Wire::next`] passed went out.
    fn pass_all(&mut self, after: Messages, answers: usize) {
        self.sends.1 = after;
        if answers > 0 {
            self.exchange.state().answers.drain(..answers);
        }
    }
}

/// How the body behind a head that hyper wrote is delimited; `answer` is the next one that the service gave.
fn framing(head: &[u8], answer: Option<Answer>) -> Framing {
    let is_bodiless = matches!(status(head), 100..200 | 204 | 304);
    if is_bodiless || answer.is_some_and(|answer| answer.is_head) {
        return Framing::Empty;
    }
    declared(head).unwrap_or(Framing::ToClose)
}

fn status(head: &[u8]) -> u16 {
    head.get(9..12).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok()).unwrap_or(0)
}

/// The head of a 204 with its length.
fn with_length(head: &[u8]) -> Vec<u8> {
    const LINE: &[u8] = b"Content-Length: 0\r\n";
    if declared(head).is_some() {
        return head.to_vec();
    }
    [&head[..head.len() - 2], LINE, b"\r\n"].concat()
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

    /// Takes a head over and begins to write what it became.
    fn replace(
        &mut self,
        context: &mut Context<'_>,
        length: usize,
        head: Vec<u8>,
        body: Framing,
    ) -> Poll<io::Result<usize>> {
        self.sends.1.begin(0, body);
        self.own = (head, 0);
        match self.drain(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // The rest goes out before anything else does.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(length)),
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
        ready!(this.poll_pause(context));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        this.seat.received(buffer.filled().len() - before);
        this.note(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.drain(context))?;
        match this.next(bytes) {
            Next::Replace { length, head, body } => this.replace(context, length, head, body),
            Next::Pass { length, after, answers } => {
                let written = ready!(Pin::new(&mut this.stream).poll_write(context, &bytes[..length]))?;
                if written == length {
                    this.pass_all(after, answers);
                } else {
                    this.pass_part(bytes, written);
                }
                Poll::Ready(Ok(written))
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.drain(context))?;
        let index = slices.iter().position(|slice| !slice.is_empty()).unwrap_or(0);
        let Some((first, others)) = slices[index..].split_first() else { return Poll::Ready(Ok(0)) };
        match this.next(first) {
            Next::Replace { length, head, body } => this.replace(context, length, head, body),
            Next::Pass { length, after, answers } => {
                let mut followed = after;
                let is_body = |slice: &io::IoSlice<'_>| followed.pass(slice) == slice.len();
                // hyper writes heads in the first slice alone.
                let is_whole =
                    length == first.len() && (this.sends.0 == Protocol::Other || others.iter().all(is_body));
                let stream = Pin::new(&mut this.stream);
                let written = if is_whole {
                    ready!(stream.poll_write_vectored(context, &slices[index..]))?
                } else {
                    ready!(stream.poll_write(context, &first[..length]))?
                };
                if written < length {
                    this.pass_part(first, written);
                    return Poll::Ready(Ok(written));
                }
                this.pass_all(after, answers);
                let mut left = written - length;
                for slice in others {
                    let part = left.min(slice.len());
                    this.sends.1.pass(&slice[..part]);
                    left -= part;
                }
                Poll::Ready(Ok(written))
            }
        }
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
