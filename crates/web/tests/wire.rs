//! What the listener writes where hyper would write its own: seen byte by byte.

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use web::wire::{Refusal, Refused, WithLength};
use work::Clock;

/// What hyper says to a head that it cannot read, as a tenant may store it.
const LOOKS_REFUSED: &str = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

fn refuse(refused: Refused<'_>) -> Refusal {
    let body = match refused.target {
        Some(target) => format!("target {}", String::from_utf8_lossy(target)),
        None => format!("unreadable {}", refused.status.as_u16()),
    };
    let status =
        if refused.target.is_some() { StatusCode::PRECONDITION_FAILED } else { StatusCode::BAD_REQUEST };
    Refusal { status, content_type: "text/plain", body }
}

fn empty(with_length: bool) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if with_length {
        response.extensions_mut().insert(WithLength);
    }
    response
}

/// A connection to a listener of its own; `bodies` are sent by `/body` one by one.
async fn connect(bodies: mpsc::Receiver<&'static str>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bodies = std::sync::Mutex::new(Some(bodies));
    let bodies = std::sync::Arc::new(bodies);
    let router = Router::new()
        .route("/with", any(|| async { empty(true) }))
        .route("/without", any(|| async { empty(false) }))
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
            "/body",
            any(move || {
                let bodies = bodies.lock().unwrap().take().unwrap();
                async move { Response::new(Body::new(Pieces(bodies))) }
            }),
        );
    let clock = Clock::system();
    tokio::spawn(web::listener::serve(listener, None, router, clock, refuse, std::future::pending()));
    TcpStream::connect(address).await.unwrap()
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

/// Lets the listener, which runs on this very thread, take in what was sent to it.
async fn taken_in() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

async fn quiet() -> TcpStream {
    connect(mpsc::channel(1).1).await
}

/// Reads until `end` has come.
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
async fn a_path_that_is_not_utf8_gets_the_dialects_refusal() {
    let mut stream = quiet().await;
    // A connection that was of use before.
    stream.write_all(b"GET /without HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_to(&mut stream, "\r\n\r\n").await;
    stream.write_all(b"PUT /v1/a/\x80\xe9 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 412 Precondition Failed\r\nContent-Type: text/plain\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\nX-Trans-Id: tx") && answer.contains("\r\nX-Openstack-Request-Id: tx"));
    assert!(answer.ends_with("\r\n\r\ntarget /v1/a/\u{fffd}\u{fffd}"), "{answer}");
}

#[tokio::test]
async fn a_line_that_comes_in_pieces_is_known_as_well() {
    let mut stream = quiet().await;
    stream.write_all(b"HEAD /v1/").await.unwrap();
    stream.flush().await.unwrap();
    taken_in().await;
    stream.write_all(b"\xff\xff HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 412 "), "{answer}");
    assert!(
        answer.contains("\r\nContent-Length: 17\r\n") && answer.ends_with("\r\n\r\n"),
        "no body to HEAD: {answer}"
    );
}

#[tokio::test]
async fn other_heads_that_cannot_be_read_are_refused_with_a_body() {
    for head in ["GET /a b HTTP/1.1\r\n\r\n", "G(T / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"]
    {
        let mut stream = quiet().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_all(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head:?}: {answer}");
        assert!(answer.ends_with("\r\n\r\nunreadable 400"), "{head:?}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_looks_like_a_refusal_is_left_alone() {
    let (bodies, taken) = mpsc::channel(1);
    let mut stream = connect(taken).await;
    stream.write_all(b"GET /body HTTP/1.0\r\nHost: x\r\n\r\n").await.unwrap();
    bodies.send("first").await.unwrap();
    read_to(&mut stream, "first").await;
    // Bytes that come in meanwhile make what follows no refusal.
    stream.write_all(b"GET ").await.unwrap();
    taken_in().await;
    bodies.send(LOOKS_REFUSED).await.unwrap();
    drop(bodies);
    assert_eq!(read_to(&mut stream, "\r\n\r\n").await, LOOKS_REFUSED);
}

#[tokio::test]
async fn a_204_has_its_length_where_the_dialect_says_so() {
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
    // Several in one go.
    let many = "GET /with HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20)
        + "GET /with HTTP/1.1\r\nConnection: close\r\n\r\n";
    stream.write_all(many.as_bytes()).await.unwrap();
    let answers = read_all(&mut stream).await;
    assert_eq!(answers.matches("HTTP/1.1 204 No Content\r\n").count(), 21);
    assert_eq!(answers.matches("\r\nContent-Length: 0\r\n").count(), 21, "{answers}");
    assert_eq!(answers.matches(": 0\r\n").count(), 21, "no stand-in is left: {answers}");
}

#[tokio::test]
async fn who_asks_whether_to_go_on_is_told_of_a_body_that_is_too_long() {
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
