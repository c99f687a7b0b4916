//! The listener: takes connections, gives each request its id, logs and counts it, and drains on stop.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::{HeaderValue, header};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::ServiceExt;
use work::Clock;

use crate::metrics;
use crate::patience::Patient;
use crate::tls::Tls;
use crate::transaction::TransactionId;
use crate::wire::{Answered, Refuse, Signs, Wire};

/// A client has this long to send a request's head; an idle connection closes after it (guide, Persistent
/// Connections: 20 seconds).
const HEAD_WITHIN: Duration = Duration::from_secs(20);
/// All headers of a request together, in bytes.
const HEAD_BYTES_MAX: usize = 128 * 1024;
/// Headers of a request: Swift's 90 metadata items and what else a request carries.
const HEADERS_MAX: usize = 200;
/// Requests under way when the program is told to stop have this long.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// Which service answered, for the log and the metrics: a dialect puts it into its responses' extensions.
#[derive(Clone, Copy, Debug)]
pub struct ServiceName(pub &'static str);

/// Where a request's connection comes from: an extension of every request that the listener takes.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub std::net::SocketAddr);

/// Serves `router` on `listener`, over TLS if it is given, until `stop` resolves, then lets requests under way end.
/// What is answered to a head that cannot be read, `refuse` says.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    clock: Clock,
    refuse: Refuse,
    stop: impl Future<Output = ()>,
) {
    let connections =
        Connections { builder: builder(), graceful: GracefulShutdown::new(), router, clock, refuse };
    // Clients that shake hands, none of whom holds up another; nothing of theirs is under way yet at the end.
    let mut handshakes = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: those in use must get a chance to be given back.
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
            Some(shaken) = handshakes.join_next() => {
                match shaken {
                    Ok((Ok(stream), peer)) => connections.take(stream, Peer(peer), Scheme::Https),
                    Ok((Err(error), peer)) => tracing::debug!(%error, %peer, "no handshake"),
                    Err(error) => tracing::warn!(%error, "a handshake failed"),
                }
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        match &tls {
            None => connections.take(stream, Peer(peer), Scheme::Http),
            Some(tls) => {
                let tls = Arc::clone(tls);
                handshakes.spawn(async move { (tls.accept(stream).await, peer) });
            }
        }
    }
    drop((listener, handshakes));
    if tokio::time::timeout(DRAIN_WITHIN, connections.graceful.shutdown()).await.is_err() {
        tracing::warn!("requests still under way were cut off");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        // The seeds' spelling, which some clients of their time compare letter by letter.
        .title_case_headers(true)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_WITHIN)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX));
    builder
}

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// The open connections and what answers them.
struct Connections {
    builder: auto::Builder<TokioExecutor>,
    graceful: GracefulShutdown,
    router: Router,
    clock: Clock,
    refuse: Refuse,
}

impl Connections {
    fn take<S>(&self, stream: S, peer: Peer, scheme: Scheme)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (router, clock) = (self.router.clone(), self.clock.clone());
        let signs = Signs::new(clock.clone(), self.refuse);
        let stream = TokioIo::new(Wire::new(Patient::new(stream), Arc::clone(&signs)));
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            signs.begin();
            let (signs, version) = (Arc::clone(&signs), request.version());
            let answer = answer(router.clone(), clock.clone(), peer, scheme, request);
            async move { Ok::<http::Response<Answered>, Infallible>(signs.finish(version, answer.await)) }
        });
        let connection = self.builder.serve_connection_with_upgrades(stream, service);
        let connection = self.graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

/// Says to dialects, which read headers, what HTTP/2 and the connection say in other places.
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

/// A path as the log may show it: v1.1 and v2.0 of identity name tokens in theirs.
fn without_token(path: &str) -> String {
    for segment in ["/tokens/", "/token/"] {
        if let Some((before, after)) = path.split_once(segment) {
            let rest = after.split_once('/').map_or("", |(_, rest)| rest);
            let slash = if rest.is_empty() { "" } else { "/" };
            return format!("{before}{segment}…{slash}{rest}");
        }
    }
    path.to_owned()
}

async fn answer(
    router: Router,
    clock: Clock,
    peer: Peer,
    scheme: Scheme,
    request: http::Request<hyper::body::Incoming>,
) -> http::Response<Body> {
    let started = Instant::now();
    let id = TransactionId::new(clock.now().seconds());
    let (method, path) = (request.method().clone(), without_token(request.uri().path()));
    let mut request = request.map(Body::new);
    let uri = request.uri().clone();
    complete(request.headers_mut(), &uri, scheme);
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(peer);
    let mut response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
    let took = started.elapsed();
    let service = response.extensions().get::<ServiceName>().map_or("other", |name| name.0);
    let status = response.status();
    metrics::request(service, &method, status, took);
    // The query is left out: it may carry signatures.
    tracing::info!(target: "request", %id, service, %method, path, status = status.as_u16(),
        micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert("x-trans-id", value.clone());
        response.headers_mut().insert("x-openstack-request-id", value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_reaches_the_log() {
        assert_eq!(without_token("/v2.0/tokens/abc"), "/v2.0/tokens/…");
        assert_eq!(without_token("/identity/v2.0/tokens/abc/endpoints"), "/identity/v2.0/tokens/…/endpoints");
        assert_eq!(without_token("/v1.1/token/abc"), "/v1.1/token/…");
        assert_eq!(without_token("/v1/AUTH_1/c/o"), "/v1/AUTH_1/c/o");
    }
}
