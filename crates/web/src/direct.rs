//! A listener for one handler that sees hyper's requests as they are: no routes, no transaction ids, no log line for each
//! request. Its connections have the same limits as the dialects'.
//!
//! One port takes HTTP and HTTPS: the first byte of a connection tells which.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::connections::{Limits, Slot};
use crate::counted::{ActiveRequest, MeteredBody};
use crate::linger::{Lingering, Stream};
use crate::listener::{self, Peer};
use crate::stall_timeout::StallTimeout;
use crate::tls::Tls;

/// A client has this long to send its first byte.
const FIRST_BYTE_WITHIN: Duration = Duration::from_secs(20);
/// The first byte of a TLS handshake (RFC 8446, 5.1), which no HTTP request begins with.
const HANDSHAKE: u8 = 22;

/// A request as the connection brought it.
#[derive(Debug)]
pub struct Call {
    /// The request.
    pub request: http::Request<Incoming>,
    /// Where it comes from.
    pub peer: Peer,
    /// Whether it came over TLS.
    pub is_secure: bool,
}

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one.
    fn handle(self: Arc<Self>, call: Call) -> impl Future<Output = http::Response<Body>> + Send;
}

/// Serves `handler` on `listener` until `stop` resolves, then lets requests under way end. Without `tls`, connections that
/// begin with a handshake are closed.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    tls: Option<Arc<Tls>>,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    listener::accept(listener, limits, stop, |is_stopping| {
        let shared = Arc::new(Shared { builder: listener::builder(), handler, tls, is_stopping });
        move |stream, peer, slot| {
            tokio::spawn(Arc::clone(&shared).take(stream, peer, slot));
        }
    })
    .await;
}

struct Shared<H> {
    builder: auto::Builder<TokioExecutor>,
    handler: Arc<H>,
    tls: Option<Arc<Tls>>,
    is_stopping: watch::Receiver<bool>,
}

impl<H: Handler> Shared<H> {
    async fn take(self: Arc<Self>, stream: TcpStream, peer: Peer, slot: Slot) {
        let mut is_stopping = self.is_stopping.clone();
        let begun = async {
            if !begins_handshake(&stream).await? {
                return Ok(Begun::Plain(stream));
            }
            let tls = self.tls.as_ref().ok_or_else(|| io::Error::other("no certificate"))?;
            tls.accept(stream).await.map(Box::new).map(Begun::Secure)
        };
        let begun: io::Result<Begun> = tokio::select! {
            begun = begun => begun,
            () = slot.evicted() => return,
            _ = is_stopping.wait_for(|stops| *stops) => return,
        };
        match begun {
            Ok(Begun::Plain(stream)) => self.serve(stream, peer, false, slot).await,
            Ok(Begun::Secure(stream)) => self.serve(*stream, peer, true, slot).await,
            Err(error) => tracing::debug!(%error, peer = %peer.0, "a connection did not begin"),
        }
    }

    async fn serve<S: Stream>(self: Arc<Self>, stream: S, peer: Peer, is_secure: bool, slot: Slot) {
        let stream = TokioIo::new(StallTimeout::new(Lingering::new(stream, slot.clone())));
        let (asked_on, shared) = (slot.clone(), Arc::clone(&self));
        let service = service_fn(move |request: http::Request<Incoming>| {
            let busy = ActiveRequest::begin(&asked_on);
            let answer = Arc::clone(&shared.handler).handle(Call { request, peer, is_secure });
            async move { Ok::<_, Infallible>(answer.await.map(|body| MeteredBody::new(body, busy))) }
        });
        let connection = self.builder.serve_connection(stream, service);
        listener::attend(connection, peer, &slot, self.is_stopping.clone()).await;
    }
}

enum Begun {
    Plain(TcpStream),
    Secure(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

async fn begins_handshake(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let length = tokio::time::timeout(FIRST_BYTE_WITHIN, stream.peek(&mut first)).await??;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(first[0] == HANDSHAKE)
}
