//! The listener: accepts connections, gives each request an id, logs and counts it, and drains requests on shutdown.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::{HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::ServiceExt;
use work::Clock;

pub use crate::connections::Limits;
use crate::connections::{Connections, Full, Slot};
use crate::counted::{ActiveRequest, MeteredBody};
use crate::early::{Asked, Rest};
use crate::head::{HEAD_BYTES_MAX, HEADERS_MAX};
use crate::linger::{Lingering, Stream};
use crate::metrics;
use crate::stall_timeout::StallTimeout;
use crate::tls::Tls;
use crate::transaction::TransactionId;
use crate::wire::{Exchange, Refuse, Refused, Wire};
use crate::{Format, Response};

/// Time limit for receiving a request's head. A connection without a request is closed after it (guide, Persistent
/// Connections: 20 seconds).
const HEAD_WITHIN: Duration = Duration::from_secs(20);
/// Time for a connection to close after it was asked to.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Time for requests in progress to finish after a shutdown began.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);
/// Interval of retries while no file descriptor is free.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);
/// Minimum interval between two log entries about a shortage.
const SHORTAGE_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Maximum number of concurrent requests on an HTTP/2 connection (RFC 9113, 6.5.2, recommends no fewer).
const STREAMS_MAX: u32 = 100;
/// Bytes of one HTTP/2 request's body that are buffered before its handler reads them.
const STREAM_WINDOW: u32 = 256 << 10;
/// Bytes of all request bodies of an HTTP/2 connection that are buffered.
const CONNECTION_WINDOW: u32 = 512 << 10;

/// The service that handled a request, for the log and the metrics. Dialects put it into their responses' extensions.
#[derive(Clone, Copy, Debug)]
pub struct ServiceName(pub &'static str);

/// The address that a request's connection comes from: an extension of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub std::net::SocketAddr);

/// Options of a listener.
pub struct Options {
    /// The certificate and key; `None` for plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// The clock for transaction ids.
    pub clock: Clock,
    /// Produces the response to a request that is rejected before any dialect sees it.
    pub refuse: Refuse,
    /// Limits on connections.
    pub limits: Limits,
}

/// Serves `router` on `listener` until `stop` resolves, then lets requests in progress finish.
pub async fn serve(listener: TcpListener, router: Router, options: Options, stop: impl Future<Output = ()>) {
    let limits = options.limits.clone();
    accept(listener, limits, stop, |is_stopping| {
        let shared = Arc::new(Shared { builder: builder(), router, options, is_stopping });
        move |stream, peer, slot| {
            tokio::spawn(Arc::clone(&shared).take(stream, peer, slot));
        }
    })
    .await;
}

/// Accepts connections until `stop` resolves, then lets requests under way end. `serving` is given what says when to stop
/// and returns what takes a connection, at once.
pub(crate) async fn accept<T: FnMut(TcpStream, Peer, Slot)>(
    listener: TcpListener,
    limits: Limits,
    stop: impl Future<Output = ()>,
    serving: impl FnOnce(watch::Receiver<bool>) -> T,
) {
    let (stopping, is_stopping) = watch::channel(false);
    let connections = Connections::new(limits);
    let mut take = serving(is_stopping);
    let mut shortage = Shortage::default();
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some(slot) = slot(&connections, peer.ip(), &mut shortage).await {
                        let _ = stream.set_nodelay(true);
                        take(stream, Peer(peer), slot);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    let evicted = connections.evict();
                    shortage.log(&format!("{error}; {evicted} idle connections were closed"));
                    tokio::select! {
                        () = connections.wait_for_any_to_end() => {}
                        () = tokio::time::sleep(SHORTAGE_PAUSE) => {}
                    }
                }
            }
        }
    };
    tokio::select! {
        () = stop => {}
        () = accepting => {}
    }
    drop(listener);
    stopping.send_replace(true);
    if tokio::time::timeout(DRAIN_WITHIN, connections.wait_for_all_to_end()).await.is_err() {
        tracing::warn!("shutdown: requests still in progress were aborted");
    }
}

/// Registers an accepted connection; returns `None` if its address has too many.
async fn slot(
    connections: &Arc<Connections>,
    address: std::net::IpAddr,
    shortage: &mut Shortage,
) -> Option<Slot> {
    loop {
        match connections.slot(address) {
            Ok(slot) => return Some(slot),
            Err(Full::ForAddress) => {
                shortage.log(&format!("{address} has too many connections with requests in progress"));
                return None;
            }
            Err(Full::Everywhere) => {
                shortage
                    .log("the connection limit is reached and every connection has a request in progress");
                connections.wait_for_any_to_end().await;
            }
        }
    }
}

/// Logs why connections cannot be accepted, at a limited rate.
#[derive(Default)]
struct Shortage {
    logged: Option<Instant>,
    unlogged: u64,
}

impl Shortage {
    fn log(&mut self, reason: &str) {
        metrics::shortage();
        if self.logged.is_some_and(|logged| logged.elapsed() < SHORTAGE_LOG_INTERVAL) {
            self.unlogged += 1;
            return;
        }
        tracing::warn!(reason, earlier = self.unlogged, "cannot take a connection");
        *self = Self { logged: Some(Instant::now()), unlogged: 0 };
    }
}

pub(crate) fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        // Title case, as in the responses that the guide shows: some old clients compare header names case-sensitively.
        .title_case_headers(true)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_WITHIN)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_WINDOW as usize)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX));
    builder
}

/// The scheme of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// State shared by all connections of a listener.
struct Shared {
    builder: auto::Builder<TokioExecutor>,
    router: Router,
    options: Options,
    is_stopping: watch::Receiver<bool>,
}

impl Shared {
    async fn take(self: Arc<Self>, stream: TcpStream, peer: Peer, slot: Slot) {
        let Some(tls) = self.options.tls.clone() else {
            return self.serve(stream, peer, Scheme::Http, slot).await;
        };
        let mut is_stopping = self.is_stopping.clone();
        let stream = tokio::select! {
            shaken = tls.accept(stream) => shaken,
            () = slot.evicted() => return,
            // No request is in progress yet.
            _ = is_stopping.wait_for(|stops| *stops) => return,
        };
        match stream {
            Ok(stream) => self.serve(stream, peer, Scheme::Https, slot).await,
            Err(error) => tracing::debug!(%error, peer = %peer.0, "no handshake"),
        }
    }

    async fn serve<S: Stream>(self: Arc<Self>, stream: S, peer: Peer, scheme: Scheme, slot: Slot) {
        let exchange = Exchange::new(self.options.clock.clone(), self.options.refuse);
        let stream = StallTimeout::new(Lingering::new(stream, slot.clone()));
        let stream = TokioIo::new(Wire::new(stream, Arc::clone(&exchange), slot.clone()));
        let (asked_on, shared) = (slot.clone(), Arc::clone(&self));
        let service = service_fn(move |request: http::Request<Incoming>| {
            let cut = exchange.begin();
            let (busy, exchange) = (ActiveRequest::begin(&asked_on), Arc::clone(&exchange));
            let (method, version) = (request.method().clone(), request.version());
            let answer = answer(Arc::clone(&shared), peer, scheme, cut, request, Arc::clone(&busy));
            async move {
                let response = busy.handle(answer).await;
                exchange.finish(&method, version, &response);
                Ok::<_, Infallible>(response.map(|body| MeteredBody::new(body, busy)))
            }
        });
        attend(self.builder.serve_connection(stream, service), peer, &slot, self.is_stopping.clone()).await;
    }
}

/// Drives a connection to its end: it closes when it is idle, when its client does not read, when room is short, and when
/// the listener stops.
pub(crate) async fn attend<I, S, B>(
    connection: auto::Connection<'_, I, S, TokioExecutor>,
    peer: Peer,
    slot: &Slot,
    mut is_stopping: watch::Receiver<bool>,
) where
    S: hyper::service::Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let mut connection = pin!(connection);
    let mut is_closing = false;
    let mut check = tokio::time::Instant::now() + HEAD_WITHIN;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = slot.evicted() => return,
            _ = is_stopping.wait_for(|stops| *stops), if !is_closing => {
                connection.as_mut().graceful_shutdown();
                is_closing = true;
            }
            () = tokio::time::sleep_until(check) => {
                let now = tokio::time::Instant::now();
                if slot.close_if_unread() {
                    tracing::debug!(peer = %peer.0, "closing the connection: the client does not read its response");
                    return;
                }
                match slot.idle() {
                    Some(idle) if idle >= HEAD_WITHIN && is_closing => return,
                    Some(idle) if idle >= HEAD_WITHIN => {
                        connection.as_mut().graceful_shutdown();
                        is_closing = true;
                        check = now + CLOSE_WITHIN;
                    }
                    idle => check = now + HEAD_WITHIN.saturating_sub(idle.unwrap_or_default()),
                }
            }
        }
    }
}

/// Adds the headers that dialects rely on and that HTTP/2 or the connection express differently.
fn complete(head: &mut http::HeaderMap, uri: &http::Uri, scheme: Scheme) {
    if let (None, Some(authority)) = (head.get(header::HOST), uri.authority())
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.insert(header::HOST, host);
    }
    if scheme == Scheme::Https {
        head.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    }
}

/// Returns what is wrong with a request's `Host` header, which HTTP/1.1 requires (RFC 9112, 3.2).
fn wrong_host(request: &http::Request<Incoming>) -> Option<String> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        let is_missing = request.version() == http::Version::HTTP_11;
        return is_missing.then(|| "The request has no Host header".to_owned());
    };
    if hosts.next().is_some() {
        return Some("The request has more than one Host header".to_owned());
    }
    // Host may contain a container's name in UTF-8 (Swift, Domain remap).
    let is_host =
        host.as_bytes().iter().all(|byte| *byte > b' ' && *byte != 0x7f && !b"/\\?#@,".contains(byte));
    (!is_host).then(|| format!("The Host header {host:?} is not a host"))
}

/// Returns the bytes of a request's target and headers.
fn head_bytes<B>(request: &http::Request<B>) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    target + headers.sum::<usize>()
}

/// Returns the reason for rejecting a request with too many headers. Over HTTP/1 it was rejected earlier.
fn too_many_headers<B>(request: &http::Request<B>) -> Option<String> {
    // The listener itself adds up to two.
    (request.headers().len() > HEADERS_MAX + 2)
        .then(|| format!("The request has more than {HEADERS_MAX} headers"))
}

/// Returns a path that is safe to log. The paths of identity v1.1 and v2.0 contain tokens: whatever the spelling, the
/// segment after `token` or `tokens` is left out.
fn without_token(path: &str) -> String {
    const WORD: &str = "token";
    let mut plain = path.to_owned();
    for _ in 0..4 {
        let decoded = percent_encoding::percent_decode_str(&plain).decode_utf8_lossy().into_owned();
        if decoded == plain {
            break;
        }
        plain = decoded;
    }
    if !plain.to_ascii_lowercase().contains(WORD) {
        return path.to_owned();
    }
    let mut shown = Vec::new();
    let mut is_next_hidden = false;
    for segment in plain.split('/') {
        if segment.is_empty() {
            shown.push(String::new());
        } else if let Some(at) = segment.to_ascii_lowercase().find(WORD) {
            let end = at + WORD.len();
            let end = end + usize::from(segment[end..].starts_with(['s', 'S']));
            shown.push(format!("{}{}", &segment[..end], if end < segment.len() { "…" } else { "" }));
            is_next_hidden = true;
        } else {
            shown.push(if is_next_hidden { "…".to_owned() } else { segment.to_owned() });
            is_next_hidden = false;
        }
    }
    shown.join("/")
}

async fn answer(
    shared: Arc<Shared>,
    peer: Peer,
    scheme: Scheme,
    cut: Option<String>,
    mut request: http::Request<Incoming>,
    busy: Arc<ActiveRequest>,
) -> Response {
    let started = Instant::now();
    let id = TransactionId::new(shared.options.clock.now().seconds());
    let (method, path) = (request.method().clone(), without_token(request.uri().path()));
    let uri = request.uri().clone();
    complete(request.headers_mut(), &uri, scheme);
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(peer);
    let (asked, rest) = (Asked::of(&request), Rest::default());
    busy.head(head_bytes(&request));
    let wrong = cut.or_else(|| wrong_host(&request)).or_else(|| too_many_headers(&request));
    let request = request.map(|incoming| rest.watch(incoming, busy));
    let mut response = match wrong {
        Some(reason) => refuse(shared.options.refuse, &uri, reason, request),
        None => shared.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {}),
    };
    rest.settle(&asked, response.headers_mut()).await;
    let took = started.elapsed();
    let service = response.extensions().get::<ServiceName>().map_or("other", |name| name.0);
    let status = response.status();
    metrics::request(service, &method, status, took);
    // The query is not logged: it may contain signatures.
    tracing::info!(target: "request", %id, service, %method, path, status = status.as_u16(),
        micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    id.show(response.headers_mut());
    response
}

/// Builds the response to a request that is rejected before any dialect sees it.
fn refuse(refuse: Refuse, uri: &http::Uri, reason: String, request: http::Request<Body>) -> Response {
    let request = crate::format::negotiate(request);
    let format = request.extensions().get::<Format>().copied().unwrap_or_default();
    let target = Some(uri.path().as_bytes().to_vec());
    refuse(&Refused { status: StatusCode::BAD_REQUEST, target, reason, format })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_removed_from_logged_paths() {
        assert_eq!(without_token("/v2.0/tokens/abc"), "/v2.0/tokens/…");
        assert_eq!(without_token("/identity/v2.0/tokens/abc/endpoints"), "/identity/v2.0/tokens/…/endpoints");
        assert_eq!(without_token("/v1.1/token/abc"), "/v1.1/token/…");
        assert_eq!(without_token("/v1/AUTH_1/c/o%20x"), "/v1/AUTH_1/c/o%20x");
        for path in [
            "/v2.0/token%73/TOK",
            "/v2.0/%74oken%73/TOK",
            "/v2.0/%2574oken%2573/TOK",
            "/v2.0/TOKENS/TOK",
            "/v2.0/tokens//TOK",
            "/v2.0/tokens%2FTOK/endpoints",
            "/v2.0/tokens%252FTOK",
            "//v2.0//tokens///TOK/",
            "/v2.0/tokens;x=TOK",
            "/v2.0/tokens/tokens/TOK",
            "/identity/v1.1/token/TOK",
            "/v2.0/xtokens/TOK",
        ] {
            let shown = without_token(path);
            assert!(
                !shown.contains("TOK\"") && !shown.replace("TOKENS", "").contains("TOK"),
                "{path}: {shown}"
            );
        }
    }
}
