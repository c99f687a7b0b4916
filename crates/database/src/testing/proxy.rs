//! A proxy in front of PostgreSQL that breaks connections where a test asks for it.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{Location, Server};

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Before a statement of the transaction reaches the server.
    Statement,
    /// Before COMMIT reaches the server, which rolls the transaction back.
    BeforeCommit,
    /// After the server committed and before its response reaches the client.
    AfterCommit,
}

#[derive(Default)]
struct Plan {
    /// While set, no bytes pass in either direction, and connections stay open.
    isolated: watch::Sender<bool>,
    /// Where to cut next, and a part of the text of a statement that the transaction must have run.
    next: Mutex<Option<(Cut, &'static str)>>,
    done: AtomicUsize,
    accepted: AtomicUsize,
}

impl Plan {
    async fn pass(&self) {
        let _ = self.isolated.subscribe().wait_for(|isolated| !isolated).await;
    }

    /// Takes the planned cut if it is this one and the transaction ran the statement.
    fn takes(&self, cut: Cut, statements: &[String]) -> bool {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = next.is_some_and(|(planned, text)| {
            planned == cut && statements.iter().any(|statement| statement.contains(text))
        });
        if fits {
            *next = None;
        }
        fits
    }
}

/// A running proxy. Dropping it stops it.
pub struct Proxy {
    /// The server's location, through the proxy.
    pub location: Location,
    plan: Arc<Plan>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of a PostgreSQL location.
    ///
    /// # Panics
    /// When the location is not PostgreSQL by `host:port`, or no port is free.
    pub async fn before(location: &Location) -> Self {
        let Location::Postgres(server) = location else { panic!("only PostgreSQL has a proxy") };
        let url = server.url();
        let host = url.split_once('@').expect("user@host").1;
        let host = host.split(['/', '?']).next().expect("a host").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let url = url.replacen(&host, &format!("127.0.0.1:{port}"), 1);
        let plan = Arc::new(Plan::default());
        let task = tokio::spawn({
            let plan = Arc::clone(&plan);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    plan.accepted.fetch_add(1, Ordering::SeqCst);
                    let (plan, host) = (Arc::clone(&plan), host.clone());
                    tokio::spawn(async move {
                        if let Ok(server) = TcpStream::connect(host).await {
                            // When either direction ends, both connections are dropped.
                            let (client_read, client_write) = client.into_split();
                            let (server_read, server_write) = server.into_split();
                            let state = Arc::new(Mutex::new(false));
                            tokio::select! {
                                _ = forward_requests(client_read, server_write, &plan, &state) => {}
                                _ = forward_responses(server_read, client_write, &plan, &state) => {}
                            }
                        }
                    });
                }
            }
        });
        Self { location: Location::Postgres(Server::new(&url, server.connections())), plan, task }
    }

    /// Plans to cut the next transaction that runs a statement containing `text`.
    pub fn cut(&self, cut: Cut, text: &'static str) {
        *self.plan.next.lock().unwrap_or_else(PoisonError::into_inner) = Some((cut, text));
    }

    /// Stops all traffic without closing connections, like a network that drops packets; or resumes it.
    pub fn isolate(&self, isolated: bool) {
        self.plan.isolated.send_replace(isolated);
    }

    /// Returns how many connections were made so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.plan.accepted.load(Ordering::SeqCst)
    }

    /// Number of connections cut so far.
    #[must_use]
    pub fn cuts(&self) -> usize {
        self.plan.done.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards the client's messages. Sets `swallow` when the response to COMMIT must not reach the client.
async fn forward_requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    plan: &Plan,
    swallow: &Mutex<bool>,
) -> Result<()> {
    // Encryption requests come before the start message. None of these has a tag.
    loop {
        let body = message(&mut from).await?;
        plan.pass().await;
        send(&mut to, None, &body).await?;
        let code = body.get(..4).map(|code| i32::from_be_bytes(code.try_into().expect("4 bytes")));
        if !matches!(code, Some(80_877_103 | 80_877_104)) {
            break;
        }
    }
    let mut prepared: HashMap<Vec<u8>, String> = HashMap::new();
    let mut run: Vec<String> = Vec::new();
    loop {
        let tag = from.read_u8().await?;
        let body = message(&mut from).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut parts = body.split(|byte| *byte == 0);
        match tag {
            b'P' => {
                let (name, sql) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                prepared.insert(name.to_owned(), text(sql));
            }
            b'B' => {
                let name = parts.nth(1).unwrap_or_default();
                run.extend(prepared.get(name).cloned());
                if plan.takes(Cut::Statement, &run) {
                    return cut(plan);
                }
            }
            b'Q' => {
                let sql = text(parts.next().unwrap_or_default());
                if sql.starts_with("BEGIN") {
                    run.clear();
                } else if sql == "COMMIT" {
                    if plan.takes(Cut::BeforeCommit, &run) {
                        return cut(plan);
                    }
                    if plan.takes(Cut::AfterCommit, &run) {
                        *swallow.lock().unwrap_or_else(PoisonError::into_inner) = true;
                    }
                }
            }
            _ => {}
        }
        plan.pass().await;
        send(&mut to, Some(tag), &body).await?;
    }
}

/// Forwards the server's bytes until `swallow` is set.
async fn forward_responses(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    plan: &Plan,
    swallow: &Mutex<bool>,
) -> Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        if *swallow.lock().unwrap_or_else(PoisonError::into_inner) {
            return cut(plan);
        }
        plan.pass().await;
        to.write_all(&buffer[..read]).await?;
    }
}

fn cut(plan: &Plan) -> Result<()> {
    plan.done.fetch_add(1, Ordering::SeqCst);
    Err(Error::from(ErrorKind::ConnectionAborted))
}

async fn message(from: &mut OwnedReadHalf) -> Result<Vec<u8>> {
    let length = usize::try_from(from.read_i32().await?).map_err(|_| Error::from(ErrorKind::InvalidData))?;
    let mut body = vec![0; length.saturating_sub(4)];
    from.read_exact(&mut body).await?;
    Ok(body)
}

async fn send(to: &mut OwnedWriteHalf, tag: Option<u8>, body: &[u8]) -> Result<()> {
    let mut message: Vec<u8> = tag.into_iter().collect();
    let length = i32::try_from(body.len() + 4).map_err(|_| Error::from(ErrorKind::InvalidData))?;
    message.extend(length.to_be_bytes());
    message.extend(body);
    to.write_all(&message).await
}
