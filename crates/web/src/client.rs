//! An HTTP client for requests between clouds: sends to a server that the operator configured and returns the response's head.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Time limit for connecting, including the TLS handshake.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The server to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether to use TLS.
    pub secure: bool,
    /// Its host name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server is unreachable or its certificate is not valid for it.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The server did not respond, or not in HTTP.
    #[error("no answer: {0}")]
    Answer(String),
    /// The time limit passed.
    #[error("no answer in time")]
    TooSlow,
}

/// Sends requests, each over a connection of its own. TLS trusts the machine's certificates, or those of `SSL_CERT_FILE`.
#[derive(Default)]
pub struct Client {
    trust: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Client {
    /// Sends a request whose URI is a path, and returns the response's head. Fails after the time limit.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn send(
        &self,
        place: &Place,
        request: Request<Body>,
        within: Duration,
    ) -> Result<Response<()>, Error> {
        let asked = async {
            let connect = async {
                let stream = TcpStream::connect((place.host.as_str(), place.port)).await;
                let stream = stream.map_err(|e| Error::Connect(e.to_string()))?;
                let _ = stream.set_nodelay(true);
                if !place.secure {
                    return Ok(Connection::Plain(stream));
                }
                let trust = self.trust.get_or_init(trust).clone().map_err(Error::Connect)?;
                let name = ServerName::try_from(place.host.clone());
                let name = name.map_err(|e| Error::Connect(e.to_string()))?;
                let stream = TlsConnector::from(trust).connect(name, stream).await;
                Ok(Connection::Tls(Box::new(stream.map_err(|e| Error::Connect(e.to_string()))?)))
            };
            match tokio::time::timeout(CONNECT_WITHIN, connect).await.map_err(|_| Error::TooSlow)?? {
                Connection::Plain(stream) => exchange(stream, request).await,
                Connection::Tls(stream) => exchange(stream, request).await,
            }
        };
        tokio::time::timeout(within, asked).await.map_err(|_| Error::TooSlow)?
    }
}

enum Connection {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

async fn exchange<S>(stream: S, request: Request<Body>) -> Result<Response<()>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = |e: hyper::Error| Error::Answer(e.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(answer)?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(answer);
    // Do not read the response's body; close the connection.
    connection.abort();
    Ok(response?.map(|_| ()))
}

fn trust() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err("no usable CA certificates on this machine".into());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_request_gets_its_response_or_the_reason_for_failing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 1024];
            let length = stream.read(&mut asked).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 3\r\nx-a: b\r\n\r\nabc")
                .await
                .unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        let place = Place { secure: false, host: "127.0.0.1".into(), port };
        let request = Request::put("/v1/a").header("host", "x").body(Body::from("body")).unwrap();
        let answer = Client::default().send(&place, request, Duration::from_secs(30)).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["x-a"]), (202, &"b".parse().unwrap()));
        let asked = served.await.unwrap();
        assert!(asked.starts_with("PUT /v1/a HTTP/1.1\r\n"), "{asked}");
        let request = Request::get("/").body(Body::empty()).unwrap();
        let refused = Client::default().send(&place, request, Duration::from_secs(30)).await;
        assert!(matches!(refused, Err(Error::Connect(_))), "{refused:?}");
    }
}
