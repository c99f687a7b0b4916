//! Rewrites two kinds of output that hyper produces itself, in HTTP/1:
//!
//! - Its responses to heads that it cannot parse, which are a bare status. [`Refuse`] produces the response that is sent
//!   instead; it has a transaction id and is logged like any other.
//! - The missing `Content-Length: 0` of a 204 (RFC 9110, 8.6 forbids it), which Swift sends and old clients require. A
//!   response with [`WithLength`] in its extensions has it.
//!
//! Body bytes are never parsed. The connection's service records each response before hyper writes it, and the stream
//! tracks where messages end ([`crate::framing`]). A head that begins when no recorded response is left to be written was
//! therefore produced by hyper, and no other was.

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

use crate::connections::Slot;
use crate::counted::SHORTAGE_PAUSE;
use crate::framing::{Framing, Messages, declared, head_length};
use crate::transaction::TransactionId;
use crate::{Format, Response, head};

/// Bytes kept of an unanswered request's head, to explain what is wrong with it.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Marks a 204 that is sent with `Content-Length: 0`.
#[derive(Clone, Copy, Debug)]
pub struct WithLength;

/// A request that is rejected before any dialect sees it, because its head is malformed or not allowed.
#[derive(Clone, Debug)]
pub struct Refused {
    /// 400, 414 or 431.
    pub status: StatusCode,
    /// The request target, if it could be read; not necessarily UTF-8.
    pub target: Option<Vec<u8>>,
    /// What is wrong: a sentence without a full stop.
    pub reason: String,
    /// The format that the sender accepts, if that could be read.
    pub format: Format,
}

impl Refused {
    /// Returns the path if it is UTF-8; empty if it could not be read.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        let target = std::str::from_utf8(self.target.as_deref().unwrap_or_default()).ok()?;
        let path = target.split_once("://").map_or(target, |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
        Some(path.split('?').next().unwrap_or_default())
    }
}

/// Produces the response to a request that is rejected before any dialect sees it. Its body must be available at once.
pub type Refuse = fn(&Refused) -> Response;

/// State shared by a connection's service and its stream.
pub(crate) struct Exchange {
    clock: Clock,
    refuse: Refuse,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Responses of the service whose heads hyper has not written yet, in order.
    answers: VecDeque<Answer>,
    /// Heads that were received and not yet passed to the service, in order; the last one may be incomplete.
    heads: VecDeque<Vec<u8>>,
}

/// What must be known of a response to follow it on the wire.
#[derive(Clone, Copy)]
struct Answer {
    /// Whether its request's method is HEAD.
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

    /// Called when the service gets the next request. Returns what is wrong with its target if hyper's parser truncated it.
    pub(crate) fn begin(&self) -> Option<String> {
        let head = self.state().heads.pop_front()?;
        head::cut_target(&head)
    }

    /// Records a response that is about to be written on this connection.
    pub(crate) fn finish(&self, method: &http::Method, version: http::Version, response: &Response) {
        if version < http::Version::HTTP_2 {
            let with_length = response.status() == StatusCode::NO_CONTENT
                && response.extensions().get::<WithLength>().is_some();
            self.state().answers.push_back(Answer { is_head: *method == http::Method::HEAD, with_length });
        }
    }

    /// Builds the bytes that replace hyper's own response to a head.
    fn refusal(&self, status: StatusCode) -> Vec<u8> {
        let head = self.state().heads.pop_front().unwrap_or_default();
        let refused = Refused {
            status,
            target: head::target(&head).map(<[u8]>::to_vec),
            reason: head::fault(&head, status),
            format: Format::default(),
        };
        let (mut parts, body) = (self.refuse)(&refused).into_parts();
        let body = available_bytes(body);
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

/// Returns the bytes of a body that is available at once.
fn available_bytes(body: Body) -> Bytes {
    let collected = std::pin::pin!(body.collect());
    match Future::poll(collected, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(whole)) => whole.to_bytes(),
        _ => Bytes::new(),
    }
}

/// Formats a header's name in title case, as all are sent.
fn titled(name: &str) -> String {
    let mut starts = true;
    let letter = |c: char| {
        let shown = if starts { c.to_ascii_uppercase() } else { c };
        starts = c == '-';
        shown
    };
    name.chars().map(letter).collect()
}

/// The protocol of a connection, judged by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Unknown,
    Http1,
    /// HTTP/2, or a connection that can no longer be followed.
    Other,
}

/// Wraps a connection's stream.
pub(crate) struct Wire<S> {
    stream: S,
    exchange: Arc<Exchange>,
    slot: Slot,
    /// While memory is short, nothing is read until this ends.
    pause: Option<Pin<Box<Sleep>>>,
    sends: (Protocol, Messages),
    receives: (Protocol, Messages),
    /// Bytes that replace output of hyper, and how many of them were written.
    own: (Vec<u8>, usize),
}

/// What to do with bytes that hyper writes.
enum Next {
    /// Write `length` bytes unchanged, at least one; then the connection's state and how many responses have begun.
    Pass { length: usize, after: Messages, answers: usize },
    /// Replace the head of this length by `head`; the body after it is unchanged.
    Replace { length: usize, head: Vec<u8>, body: Framing },
}

impl<S> Wire<S> {
    pub(crate) fn new(stream: S, exchange: Arc<Exchange>, slot: Slot) -> Self {
        let start = (Protocol::Unknown, Messages::new());
        Self { stream, exchange, slot, pause: None, sends: start, receives: start, own: (Vec::new(), 0) }
    }

    /// Records the heads in received bytes, for [`head::fault`].
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
                        // Record the next head separately.
                        *protocol = Protocol::Unknown;
                    }
                }
                None if head.len() == KEPT_BYTES_MAX => *protocol = Protocol::Other,
                None => return,
            }
        }
    }

    /// Waits while memory is short and this connection uses much of it. HTTP/2 is still read, since its frames control what may
    /// be sent; its flow-control windows limit what is buffered.
    fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            if self.receives.0 == Protocol::Other || !self.slot.is_full() {
                return Poll::Ready(());
            }
            self.pause = Some(Box::pin(tokio::time::sleep(SHORTAGE_PAUSE)));
        }
    }

    /// Decides what to do with these bytes, up to the first head that is replaced.
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
                // hyper writes heads whole. If that ever changes, stop rewriting.
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

    /// Records that only the first `written` of `bytes` were written, fewer than [`Wire::next`] passed.
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

    /// Records that everything that [`Wire::next`] passed was written.
    fn pass_all(&mut self, after: Messages, answers: usize) {
        self.sends.1 = after;
        if answers > 0 {
            self.exchange.state().answers.drain(..answers);
        }
    }
}

/// Returns how the body after a head written by hyper is delimited; `answer` is the service's next response.
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

/// Returns the head of a 204 with `Content-Length: 0` added.
fn with_length(head: &[u8]) -> Vec<u8> {
    const LINE: &[u8] = b"Content-Length: 0\r\n";
    if declared(head).is_some() {
        return head.to_vec();
    }
    [&head[..head.len() - 2], LINE, b"\r\n"].concat()
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Writes the rest of the replacement bytes.
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

    /// Consumes a head and begins to write its replacement.
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
            // The replacement is written before anything else.
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
        this.slot.received(buffer.filled().len() - before);
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
                // hyper writes heads in the first slice only.
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
