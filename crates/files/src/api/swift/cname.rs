//! Resolves customers' host names that are aliases of names under a storage domain (Swift, CNAME lookup).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use http::header::{HOST, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;
use web::{Request, Response};

use super::fault::Fault;
use super::{answer, headers};
use crate::model::cname::{self, Lookup, Said};

/// Time for which the absence of an alias is cached.
const NOTHING_FOR: Duration = Duration::from_secs(60);
/// Time limit for a name server's response; then the query is sent once more.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// Maximum number of cached names. When it is reached, the cache is cleared.
const REMEMBERED_MAX: usize = 10_000;
const MESSAGE_BYTES_MAX: usize = 4096;

/// Wraps `router` with alias resolution: a request to a host that is not this cloud's, nor under one of `domains`, but an
/// alias of a name under one, is handled as a request to that name.
pub(super) fn with_aliases(router: Router, lookup: &Lookup, domains: &[String]) -> Router {
    let domains = domains.iter().map(|domain| format!(".{}", domain.trim_matches('.'))).collect();
    let aliases = Arc::new(Aliases { lookup: lookup.clone(), domains, remembered: Mutex::default() });
    let service = tower::service_fn(move |request: Request| {
        let (router, aliases) = (router.clone(), Arc::clone(&aliases));
        async move { Ok::<_, std::convert::Infallible>(aliases.ask(router, request).await) }
    });
    Router::new().fallback_service(service)
}

struct Aliases {
    lookup: Lookup,
    domains: Vec<String>,
    /// The alias target of each name, if any, and until when it is valid.
    remembered: Mutex<HashMap<String, (Option<String>, Instant)>>,
}

impl Aliases {
    async fn ask(&self, router: Router, mut request: Request) -> Response {
        let asked = headers::get(request.headers(), HOST.as_str()).unwrap_or_default().to_owned();
        let (name, port) = match asked.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (asked.as_str(), None),
        };
        let name = name.to_ascii_lowercase();
        if name.is_empty() || self.is_ours(&name) {
            return pass(router, request).await;
        }
        let found = match self.follow(&name).await {
            Ok(found) => found,
            Err(text) => {
                let fault = Fault::text(StatusCode::BAD_REQUEST, text);
                return fault.into_response("unknown", request.method() == Method::HEAD);
            }
        };
        let host = port.map_or_else(|| found.clone(), |port| format!("{found}:{port}"));
        let Ok(value) = HeaderValue::from_str(&host) else {
            return Fault::status(StatusCode::BAD_REQUEST).into_response("unknown", false);
        };
        request.headers_mut().insert(HOST, value);
        let mut response = pass(router, request).await;
        let place = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        if let Some(place) = place.and_then(|place| renamed(place, &host, &asked)) {
            // Keep the alias that the client used in a redirection.
            answer::set(response.headers_mut(), LOCATION.as_str(), place);
        }
        response
    }

    fn is_ours(&self, name: &str) -> bool {
        let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        is_address || self.lookup.own.iter().any(|own| own == name) || self.is_under_domain(name)
    }

    fn is_under_domain(&self, name: &str) -> bool {
        let dotted = format!(".{name}");
        self.domains.iter().any(|domain| dotted.ends_with(domain.as_str()))
    }

    /// Returns the name under a storage domain that `name` is an alias of, or Swift's message if there is none.
    async fn follow(&self, name: &str) -> Result<String, String> {
        let unresolved = || "CNAME lookup failed to resolve to a valid domain".to_owned();
        let mut name = name.to_owned();
        for _ in 0..self.lookup.depth {
            let found = self.alias(&name).await.filter(|found| *found != name).ok_or_else(unresolved)?;
            if self.is_under_domain(&found) {
                return Ok(found);
            }
            name = found;
        }
        Err(format!("CNAME lookup failed after {} tries", self.lookup.depth))
    }

    async fn alias(&self, name: &str) -> Option<String> {
        if let Some((alias, until)) = self.remembered().get(name)
            && *until > Instant::now()
        {
            return alias.clone();
        }
        let (alias, holds) = match look_up(self.lookup.resolver, name).await? {
            Said::Alias(alias, seconds) => (Some(alias), Duration::from_secs(seconds.into())),
            Said::Nothing => (None, NOTHING_FOR),
        };
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(name.to_owned(), (alias.clone(), Instant::now() + holds));
        alias
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Option<String>, Instant)>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn renamed(place: &str, host: &str, asked: &str) -> Option<String> {
    let (scheme, rest) = place.split_once("://")?;
    let path = rest.strip_prefix(host).filter(|path| path.is_empty() || path.starts_with('/'))?;
    Some(format!("{scheme}://{asked}{path}"))
}

async fn pass(router: Router, request: Request) -> Response {
    router.oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// Queries a name server. Returns `None` if it is unreachable or its response is invalid.
async fn look_up(resolver: SocketAddr, name: &str) -> Option<Said> {
    for _ in 0..ATTEMPTS {
        match timeout(ANSWER_WITHIN, ask_once(resolver, name)).await {
            Ok(said) => return said,
            Err(_) => tracing::debug!(%resolver, name, "no response from the name server; trying again"),
        }
    }
    None
}

async fn ask_once(resolver: SocketAddr, name: &str) -> Option<Said> {
    // An unpredictable port and id prevent forged responses.
    let mut id = [0u8; 2];
    aws_lc_rs::rand::fill(&mut id).ok()?;
    let id = u16::from_be_bytes(id);
    let question = cname::question(id, name)?;
    let own = if resolver.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(own).await.ok()?;
    socket.connect(resolver).await.ok()?;
    socket.send(&question).await.ok()?;
    let mut message = vec![0; MESSAGE_BYTES_MAX];
    loop {
        let length = socket.recv(&mut message).await.ok()?;
        match cname::answer(id, name, &message[..length]) {
            Some(said) => return Some(said),
            // The server that was asked responded, but with a failure or with an invalid message.
            None if message[..length].starts_with(&id.to_be_bytes()) => return None,
            None => {}
        }
    }
}
