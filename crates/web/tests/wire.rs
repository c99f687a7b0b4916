//! What the listener writes in place of hyper's own output, compared byte by byte.

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use web::listener::{Limits, Options};
use web::wire::{Refused, WithLength};
use work::Clock;

/// hyper's response to a head that it cannot parse, here stored as a tenant's object.
const LOOKS_REFUSED: &str = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

fn refuse(refused: &Refused) -> web::Response {
    let is_text = refused.path().is_some();
    let status = if is_text { refused.status } else { StatusCode::PRECONDITION_FAILED };
    let mut response = Response::new(Body::from(refused.reason.clone()));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    response
}

fn empty(with_length: bool) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if with_length {
        response.extensions_mut().insert(WithLength);
    }
    response
}

/// Serves objects whose bytes look like hyper's own responses, and a 204 with `Content-Length`.
async fn object(path: &str) -> Response<Body> {
    let bytes = if path.ends_with("refusal") { LOOKS_REFUSED } else { "HTTP/1.1 204 No Content\r\n\r\n" };
    if path.contains("chunked") {
        let pieces = (0..3).map(move |_| Ok::<_, std::io::Error>(bytes));
        return Response::new(Body::from_stream(futures_util::stream::iter(pieces)));
    }
    Response::new(Body::from(bytes))
}

fn router(bodies: mpsc::Receiver<&'static str>) -> Router {
    let bodies = std::sync::Arc::new(std::sync::Mutex::new(Some(bodies)));
    Router::new()
        .route("/with", any(|| async { empty(true) }))
        .route("/without", any(|| async { empty(false) }))
        .route("/refused", any(|| async { (StatusCode::UNAUTHORIZED, "no") }))
        .route(
            "/object/{*path}",
            any(|request: web::Request| async move { object(request.uri().path()).await }),
        )
        .route(
            "/limited",
            any(|request: web::Request| async move {
                if web::body::announced(request.headers(), 5).is_err() {
                    return StatusCode::PAYLOAD_TOO_LARGE;
                }
                let _ = web::body::read(request.into_body(), 5).await;
                StatusCode::OK
            }),
        )
        .route(
            "/length",
            any(|request: web::Request| async move {
                request.into_body().collect().await.unwrap().to_bytes().len().to_string()
            }),
        )
        .route(
            "/body",
            any(move || {
                let bodies = bodies.lock().unwrap().take().unwrap();
                async move { Response::new(Body::new(Pieces(bodies))) }
            }),
        )
}

/// Starts a listener.
async fn listen(router: Router, limits: Limits) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options { tls: None, clock: Clock::system(), refuse, limits };
    tokio::spawn(web::listener::serve(listener, router, options, std::future::pending()));
    address
}

fn many() -> Limits {
    Limits { all: 1000, per_address: 1000, proxies: Vec::new(), memory: 128 << 20 }
}

/// Starts a listener and connects to it; `/body` sends `bodies` one by one.
async fn connect(bodies: mpsc::Receiver<&'static str>) -> TcpStream {
    TcpStream::connect(listen(router(bodies), many()).await).await.unwrap()
}

struct Pieces(mpsc::Receiver<&'static str>);

impl http_body::Body for Pieces {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(http_body::Frame::data(piece.into()))))
    }
}

/// Lets the listener, which runs on the same thread, read what was sent to it.
async fn taken_in() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

async fn quiet() -> TcpStream {
    connect(mpsc::channel(1).1).await
}

/// Reads until `end` was received.
async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    while !all.ends_with(end.as_bytes()) {
        let byte = stream.read_u8().await;
        all.push(byte.unwrap_or_else(|e| panic!("{e} after {}", String::from_utf8_lossy(&all))));
    }
    String::from_utf8_lossy(&all).into_owned()
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn a_path_that_is_not_utf8_gets_the_dialects_response() {
    let mut stream = quiet().await;
    // On a connection that has served a request before.
    stream.write_all(b"GET /without HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_to(&mut stream, "\r\n\r\n").await;
    stream.write_all(b"PUT /v1/a/\x80\xe9 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 412 Precondition Failed\r\nContent-Type: text/plain\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\nX-Trans-Id: tx") && answer.contains("\r\nX-Openstack-Request-Id: tx"));
    assert!(answer.ends_with("The request target \"/v1/a/\u{fffd}\u{fffd}\" is not UTF-8"), "{answer}");
}

#[tokio::test]
async fn a_request_line_that_arrives_in_pieces_gets_it_as_well() {
    let mut stream = quiet().await;
    stream.write_all(b"HEAD /v1/").await.unwrap();
    stream.flush().await.unwrap();
    taken_in().await;
    stream.write_all(b"\xff\xff HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 412 "), "{answer}");
    assert!(
        answer.contains("\r\nContent-Length: ") && answer.ends_with("\r\n\r\n"),
        "no body to HEAD: {answer}"
    );
}

#[tokio::test]
async fn other_malformed_heads_are_rejected_with_the_reason() {
    for (head, reason) in [
        ("GET /a b HTTP/1.1\r\n\r\n", "The request line \"GET /a b HTTP/1.1\" must have three parts"),
        ("G(T / HTTP/1.1\r\n\r\n", "The method \"G(T\" contains the character '('"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", "The header line \"no colon\" has no colon"),
        ("GET / HTTP/1.1\r\nHost: x\r\nX-A: \u{1}\r\n\r\n", "The header \"X-A\" contains the byte 0x01"),
        ("GET / HTTP/1.1\r\n\r\n", "The request has no Host header"),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", "The request has more than one Host header"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "The Host header \"a b\" is not a host"),
        (
            "DELETE /v1/a/c/x#1 HTTP/1.1\r\nHost: x\r\n\r\n",
            "The request target \"/v1/a/c/x#1\" contains the character '#': send it as %23",
        ),
    ] {
        for before in [
            "",
            "GET /without HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nGET / x\r\n",
        ] {
            let mut stream = quiet().await;
            stream.write_all(format!("{before}{head}").as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let answer = read_all(&mut stream).await;
            let answer = &answer[answer.rfind("HTTP/1.1 ").unwrap()..];
            assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{before:?} {head:?}: {answer}");
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            assert!(body.starts_with(reason), "{before:?} {head:?}: {body}");
            assert_eq!(answer.matches("\r\nX-Trans-Id: ").count(), 1, "{answer}");
        }
    }
    let mut stream = quiet().await;
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(200));
    stream.write_all(many.as_bytes()).await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 431 ") && answer.ends_with("more than 200 headers"), "{answer}");
    let mut named = quiet().await;
    named.write_all("GET /without HTTP/1.1\r\nHost: gr\u{fc}n.example.com\r\n\r\n".as_bytes()).await.unwrap();
    assert!(read_to(&mut named, "\r\n\r\n").await.starts_with("HTTP/1.1 204 "), "a host that is UTF-8");
    let mut old = quiet().await;
    old.write_all(b"GET /length HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(read_all(&mut old).await.starts_with("HTTP/1.0 200 OK\r\n"), "HTTP/1.0 needs no Host");
}

#[tokio::test]
async fn objects_that_look_like_responses_are_sent_unchanged() {
    let paths = ["plain/refusal", "plain/204", "chunked/refusal", "chunked/204"];
    let mut stream = quiet().await;
    let mut asked = String::new();
    for round in 0..20 {
        for path in paths {
            asked.push_str(&format!("GET /object/{path} HTTP/1.1\r\nHost: x\r\n\r\n"));
            if round % 3 == 0 {
                asked.push_str("DELETE /with HTTP/1.1\r\nHost: x\r\n\r\nHEAD /object/plain/refusal HTTP/1.1\r\nHost: x\r\n\r\n");
            }
        }
    }
    // The malformed head follows all of them, in the same packets.
    asked.push_str("GET / HTTP/1.1\r\nno colon\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let answers = read_all(&mut stream).await;
    assert_eq!(answers.matches(LOOKS_REFUSED).count(), 20 * 4, "one plain and three chunks each");
    assert_eq!(answers.matches("HTTP/1.1 204 No Content\r\n\r\n").count(), 20 * 4);
    let ours = answers.matches("HTTP/1.1 204 No Content\r\n").count() - 20 * 4;
    assert_eq!(ours, 7 * 4);
    assert_eq!(answers.matches("\r\nX-Trans-Id: ").count(), 20 * 4 + 7 * 4 * 2 + 1, "one for each answer");
    let (_, last) = answers.rsplit_once("HTTP/1.1 400 ").unwrap();
    assert!(last.ends_with("The header line \"no colon\" has no colon"), "{last}");
    assert_eq!(answers.matches("The header line").count(), 1);
}

#[tokio::test]
async fn a_body_that_looks_like_a_rejection_is_not_rewritten() {
    let (bodies, taken) = mpsc::channel(1);
    let mut stream = connect(taken).await;
    stream.write_all(b"GET /body HTTP/1.0\r\nHost: x\r\n\r\n").await.unwrap();
    bodies.send("first").await.unwrap();
    read_to(&mut stream, "first").await;
    // Bytes received meanwhile must not make the rest of the body look like a rejection.
    stream.write_all(b"GET ").await.unwrap();
    taken_in().await;
    bodies.send(LOOKS_REFUSED).await.unwrap();
    drop(bodies);
    assert_eq!(read_to(&mut stream, "\r\n\r\n").await, LOOKS_REFUSED);
}

#[tokio::test]
async fn a_204_has_content_length_if_the_dialect_asks_for_it() {
    let mut stream = quiet().await;
    for method in ["GET", "HEAD", "DELETE"] {
        for (path, lengths) in [("/with", 1), ("/without", 0)] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = read_to(&mut stream, "\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{answer}");
            if method != "HEAD" || lengths == 1 {
                assert_eq!(
                    answer.matches("\r\nContent-Length: 0\r\n").count(),
                    lengths,
                    "{method} {path}: {answer}"
                );
            }
            assert_eq!(answer.matches("\r\nX-Trans-Id: ").count(), 1, "{answer}");
        }
    }
    // Pipelined requests.
    let many = "GET /with HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20)
        + "GET /with HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(many.as_bytes()).await.unwrap();
    let answers = read_all(&mut stream).await;
    assert_eq!(answers.matches("HTTP/1.1 204 No Content\r\n").count(), 21);
    assert_eq!(answers.matches("\r\nContent-Length: 0\r\n").count(), 21, "{answers}");
}

#[tokio::test]
async fn expect_100_continue_is_refused_if_the_body_is_too_long() {
    for (length, said) in [(6, "HTTP/1.1 413 "), (5, "HTTP/1.1 100 ")] {
        let mut stream = quiet().await;
        let head = format!(
            "POST /limited HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_to(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with(said), "{answer}");
    }
}

/// Sends a request with a body of `length` bytes that is rejected early. Sends all of it before reading anything, as many
/// clients do, and returns the response.
async fn upload(address: std::net::SocketAddr, framing: &str, length: usize) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("PUT /refused HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n").as_bytes()).await?;
    let mut left = length;
    while left > 0 {
        let piece = left.min(64 << 10);
        stream.write_all(&vec![b'x'; piece]).await?;
        left -= piece;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_sent_before_the_body_was_read_is_not_lost() {
    let address = listen(router(mpsc::channel(1).1), many()).await;
    for round in 0..30 {
        let length = 20 << 20;
        let answer = upload(address, &format!("Content-Length: {length}"), length).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.ends_with("\r\n\r\nno"), "{round}: {answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
    let waits = format!("Content-Length: {}\r\nExpect: 100-continue", 1 << 30);
    let answer = upload(address, &waits, 0).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("\r\nConnection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a_connection_is_kept_if_the_rest_of_the_body_is_short() {
    let mut stream = quiet().await;
    for _ in 0..3 {
        stream.write_all(b"PUT /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n").await.unwrap();
        taken_in().await;
        stream.write_all(b"12345").await.unwrap();
        let answer = read_to(&mut stream, "\r\n\r\nno").await;
        assert!(answer.starts_with("HTTP/1.1 401 ") && !answer.contains("Connection: close"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_without_requests_are_closed() {
    let address = listen(router(mpsc::channel(1).1), many()).await;
    for (sent, answered) in [
        ("", ""),
        ("P", ""),
        ("PRI * HTTP/2.0\r\n\r\n", ""),
        ("GET / HTTP/1.1\r\nHost:", ""),
        ("GET /without HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 204 "),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let started = tokio::time::Instant::now();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        let answer = String::from_utf8_lossy(&all);
        assert!(answer.starts_with(answered), "{sent:?}: {answer:?}");
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "{sent:?}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn idle_connections_are_closed_to_make_room_for_busy_ones() {
    let address = listen(router(mpsc::channel(1).1), Limits { all: 32, ..many() }).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /without HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(read_to(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 204 "));
    // The idle ones were closed, the oldest first.
    let mut first = silent.swap_remove(0);
    assert_eq!(first.read(&mut [0]).await.unwrap_or(0), 0);
}
