//! Limits on the memory that clients can occupy with unread responses and with requests that do not end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use web::listener::{Limits, Options};
use web::wire::Refused;
use work::Clock;

const PIECE: usize = 256 << 10;
const PIECES: usize = 16;

fn refuse(refused: &Refused) -> web::Response {
    let mut response = Response::new(Body::from(refused.reason.clone()));
    *response.status_mut() = refused.status;
    response
}

/// Counts bytes of responses that are in memory.
#[derive(Clone, Default)]
struct Live(Arc<AtomicUsize>);

struct Counted(Vec<u8>, Live);

impl Live {
    fn bytes(&self) -> usize {
        self.0.load(SeqCst)
    }

    fn piece(&self) -> Bytes {
        self.0.fetch_add(PIECE, SeqCst);
        Bytes::from_owner(Counted(vec![b'x'; PIECE], self.clone()))
    }

    async fn falls_to(&self, most: usize) {
        while self.bytes() > most {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.0.fetch_sub(PIECE, SeqCst);
    }
}

/// Routes: `/large` sends many pieces, `/small` one, `/sign-in` reads a body, `/upload` reads one of a known sender.
async fn listen(live: &Live, limits: Limits) -> std::net::SocketAddr {
    let (large, small, held) = (live.clone(), live.clone(), live.clone());
    let router = Router::new()
        .route(
            "/large",
            any(move || {
                let live = large.clone();
                let pieces = futures_util::stream::iter(0..PIECES).map_ok_piece(live);
                async move { Response::new(Body::from_stream(pieces)) }
            }),
        )
        .route("/small", any(move || async move { Response::new(Body::from(small.piece())) }))
        .route(
            "/held",
            any(move || {
                let piece = held.piece();
                let stalls = futures_util::stream::poll_fn(move |_| {
                    let _ = &piece;
                    std::task::Poll::<Option<Result<Bytes, std::convert::Infallible>>>::Pending
                });
                async move { Response::new(Body::from_stream(stalls)) }
            }),
        )
        .route("/ok", any(|| async { "ok" }))
        .route(
            "/sign-in",
            any(|request: web::Request| async move {
                web::body::read(request.into_body(), 1000)
                    .await
                    .map_or(StatusCode::REQUEST_TIMEOUT, |_| StatusCode::OK)
            }),
        )
        .route(
            "/upload",
            any(|request: web::Request| async move {
                web::mark_authenticated();
                let mut body = request.into_body();
                while let Ok(Some(_)) = web::body::next(&mut body).await {}
                StatusCode::CREATED
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options { tls: None, clock: Clock::system(), refuse, limits };
    tokio::spawn(web::listener::serve(listener, router, options, std::future::pending()));
    address
}

trait Pieces {
    fn map_ok_piece(
        self,
        live: Live,
    ) -> impl futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static;
}

impl Pieces for futures_util::stream::Iter<std::ops::Range<usize>> {
    fn map_ok_piece(
        self,
        live: Live,
    ) -> impl futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static {
        futures_util::StreamExt::map(self, move |_| Ok(live.piece()))
    }
}

fn limits(all: usize, memory: usize) -> Limits {
    Limits { all, per_address: all, proxies: Vec::new(), memory: memory as u64 }
}

/// Opens an HTTP/2 connection whose streams each accept `window` bytes before the client reads.
async fn http2(address: std::net::SocketAddr, window: u32) -> http2::SendRequest<Body> {
    let stream = TcpStream::connect(address).await.unwrap();
    let builder = http2::Builder::new(TokioExecutor::new()).initial_stream_window_size(window).clone();
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Keeps paused time from advancing until dropped. Tokio would advance it whenever only sockets are awaited.
struct Held(tokio::task::JoinHandle<()>);

fn hold_time() -> Held {
    Held(tokio::spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    }))
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Requests responses, waits for their heads and leaves their bodies unread.
async fn unread(
    sender: &mut http2::SendRequest<Body>,
    path: &str,
    count: usize,
) -> Vec<Response<hyper::body::Incoming>> {
    let _held = hold_time();
    let mut answers = Vec::new();
    for _ in 0..count {
        let request = Request::get(format!("http://x{path}")).body(Body::empty()).unwrap();
        answers.push(sender.send_request(request).await.unwrap());
    }
    answers
}

#[tokio::test(start_paused = true)]
async fn unread_responses_are_dropped() {
    let live = Live::default();
    let address = listen(&live, limits(100, 64 << 20)).await;
    for (path, window) in [("/large", 1), ("/small", 1), ("/large", 0), ("/large", 60_000)] {
        let mut sender = http2(address, window).await;
        let answers = unread(&mut sender, path, 20).await;
        let began = Instant::now();
        while !sender.is_closed() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(began.elapsed() < Duration::from_secs(300), "{path} with a window of {window}");
        }
        assert!(began.elapsed() > Duration::from_secs(60), "{path}: {:?}", began.elapsed());
        live.falls_to(0).await;
        drop(answers);
    }
    // Over HTTP/1, a client that reads a few bytes now and then.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all("GET /large HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20).as_bytes()).await.unwrap();
    let (began, mut bytes) = (Instant::now(), [0; 100]);
    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
        tokio::time::sleep(Duration::from_secs(10)).await;
        if live.bytes() == 0 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(3600), "{} bytes are held", live.bytes());
    }
    live.falls_to(0).await;
}

#[tokio::test(start_paused = true)]
async fn one_connection_holds_only_a_fraction_of_the_memory() {
    let live = Live::default();
    let address = listen(&live, limits(100, 16 << 20)).await;
    let mut sender = http2(address, 1).await;
    let answers = unread(&mut sender, "/large", 90).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(live.bytes() <= (8 << 20) + PIECE, "{}", live.bytes());
    }
    // The response on another connection is not delayed.
    let mut other = http2(address, 1 << 20).await;
    let began = Instant::now();
    let answer = unread(&mut other, "/large", 1).await.remove(0);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), PIECE * PIECES);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop(answers);
}

#[tokio::test(start_paused = true)]
async fn all_connections_together_stay_below_the_memory_limit() {
    let live = Live::default();
    let address = listen(&live, limits(1000, 12 << 20)).await;
    let mut stalled = Vec::new();
    for _ in 0..40 {
        let mut sender = http2(address, 1).await;
        let answers = unread(&mut sender, "/large", 5).await;
        stalled.push((sender, answers));
        assert!(live.bytes() <= (12 << 20) + 4 * PIECE, "{}", live.bytes());
    }
    let mut reader = http2(address, 1 << 20).await;
    let began = Instant::now();
    let answer = unread(&mut reader, "/large", 1).await.remove(0);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), PIECE * PIECES);
    // Before it, up to 50 MiB of unread responses were produced, 8 MiB at a time.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(live.bytes() <= (12 << 20) + 4 * PIECE, "{}", live.bytes());
    let closed = stalled.iter().filter(|(sender, _)| sender.is_closed()).count();
    assert!((1..40).contains(&closed), "{closed} connections were closed");
    assert!(stalled[0].0.is_closed(), "the connection that stalled first is closed first");
}

/// Each request may hold a file, and one HTTP/2 connection has up to a hundred requests.
#[tokio::test(start_paused = true)]
async fn requests_on_few_connections_are_limited_as_connections_are() {
    let live = Live::default();
    let address = listen(&live, limits(32, 64 << 20)).await;
    let mut senders = Vec::new();
    for _ in 0..4 {
        let sender = http2(address, 1 << 20).await;
        for _ in 0..50 {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let request = Request::get("http://x/held").body(Body::empty()).unwrap();
                let Ok(answer) = sender.send_request(request).await else { return };
                let _ = answer.into_body().collect().await;
            });
        }
        senders.push(sender);
    }
    {
        let _held = hold_time();
        while live.bytes() < 28 * PIECE {
            tokio::task::yield_now().await;
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
            assert!(live.bytes() <= 32 * PIECE, "{} requests", live.bytes() / PIECE);
        }
    }
    let mut asks = TcpStream::connect(address).await.unwrap();
    asks.write_all(b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let (began, mut answer) = (Instant::now(), String::new());
    asks.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(live.bytes() <= 32 * PIECE, "{} requests", live.bytes() / PIECE);
}

/// Sends a request whose body does not end.
async fn endless(address: std::net::SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\nx");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(start_paused = true)]
async fn the_oldest_requests_of_unknown_senders_are_closed_to_make_room() {
    let address = listen(&Live::default(), limits(16, 64 << 20)).await;
    let mut known = endless(address, "/upload").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut strangers = Vec::new();
    for _ in 0..15 {
        strangers.push(endless(address, "/sign-in").await);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    for _ in 0..3 {
        let mut asks = TcpStream::connect(address).await.unwrap();
        asks.write_all(b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let began = Instant::now();
        let mut answer = String::new();
        asks.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    assert_eq!(strangers[0].read(&mut [0; 100]).await.unwrap_or(0), 0, "the first one was closed");
    known.write_all(&[b'x'; 899]).await.unwrap();
    let mut answer = [0; 12];
    known.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 201");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_into_an_open_route_times_out() {
    let address = listen(&Live::default(), limits(100, 64 << 20)).await;
    let (mut from, mut to) = endless(address, "/sign-in").await.into_split();
    let began = Instant::now();
    tokio::spawn(async move {
        while to.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    });
    let mut answer = [0; 12];
    from.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(began.elapsed() < Duration::from_secs(90), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_http2_request_with_too_many_headers_is_rejected() {
    let address = listen(&Live::default(), limits(100, 64 << 20)).await;
    let mut sender = http2(address, 1 << 20).await;
    for (count, status) in [(190, 200), (210, 400)] {
        let mut request = Request::get("http://x/ok");
        for number in 0..count {
            request = request.header(format!("x-{number}"), "y");
        }
        let answer = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{count} headers");
    }
}
