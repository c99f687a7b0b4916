//! The edge: serves published containers to everyone, from a cache in memory and on disk.
//!
//! A request names its container by its host and its object by its path. Both are normalised before any look-up. No header and
//! no query influences what is fetched or cached, so that no request can poison the cache for others.
//!
//! The edge knows the cloud behind it only as an [`Origin`].

mod body;
mod cache;
mod fill;
mod growing;
mod head;
mod local;
mod negative;
mod origin;
mod path;
mod respond;
mod served;
mod spool;
mod visits;

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use http::header::HOST;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use web::direct::{Call, Handler};
use web::observed::observed;
use work::Clock;

pub use cache::CacheSettings;
pub use local::LocalOrigin;
pub use origin::{Ask, Origin, OriginError};
pub use spool::{CDN_LOGS, Spool};

use crate::model::{BadHost, Hash, Names};
use cache::Cache;
use fill::Fills;
use negative::{Lasting, Page, refusal};

/// An edge.
pub struct Edge {
    origin: Arc<dyn Origin>,
    names: Names,
    clock: Clock,
    cache: Cache,
    fills: Fills,
    /// The access log, if there is one.
    log: Option<Arc<Spool>>,
    /// Hosts already verified. An HMAC per request would cost more than everything else.
    hosts: quick_cache::sync::Cache<String, Hash>,
}

/// Maximum number of remembered hosts.
const HOSTS_MAX: usize = 10_000;
/// Maximum length in bytes of a host name (RFC 1035, 2.3.4) with a port.
const HOST_MAX: usize = 260;

impl Edge {
    /// Opens the cache.
    pub async fn open(
        origin: Arc<dyn Origin>,
        names: Names,
        clock: Clock,
        settings: &CacheSettings,
        log: Option<Arc<Spool>>,
    ) -> Arc<Self> {
        let cache = Cache::open(settings).await;
        let (fills, hosts) = (Fills::default(), quick_cache::sync::Cache::new(HOSTS_MAX));
        Arc::new(Self { origin, names, clock, cache, fills, log, hosts })
    }

    /// Writes pending cache entries to disk.
    pub async fn close(&self) {
        self.cache.close().await;
    }

    /// Responds to a request. Its body, of type `B`, is not read.
    pub async fn answer<B>(self: &Arc<Self>, request: &Request<B>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            return *negative::method();
        }
        let is_head = request.method() == Method::HEAD;
        let Some(host) = host_of(request.headers(), request.uri()) else {
            let page =
                refusal(StatusCode::BAD_REQUEST, "The request names no host, or several", Lasting::Not);
            return negative::for_method(*page, is_head);
        };
        match self.serve(host, request).await {
            Ok(response) => response,
            Err(page) => negative::for_method(*page, is_head),
        }
    }

    /// Responds to a request from an address. It is logged once its response was sent, if its container has logs enabled.
    pub async fn answer_from<B>(self: &Arc<Self>, request: &Request<B>, client: IpAddr) -> Response<Body> {
        let mut response = self.answer(request).await;
        match (&self.log, response.extensions_mut().remove::<visits::Logged>()) {
            (Some(log), Some(visits::Logged(site))) => {
                let host = host_of(request.headers(), request.uri()).unwrap_or_default();
                let access = visits::access(request, host, client, response.status(), self.clock.now());
                let log = Arc::clone(log);
                response.map(|body| observed(body, visits::Visit { log, site, access }))
            }
            _ => response,
        }
    }

    async fn serve<B>(self: &Arc<Self>, host: &str, request: &Request<B>) -> Result<Response<Body>, Page> {
        let hash = self.hash_of(host)?;
        let site = match self.origin.known_site(hash) {
            Some(known) => known,
            None => self.origin.site(hash).await.map_err(|error| negative::unavailable(&error))?,
        };
        let site = site.ok_or_else(negative::not_found)?;
        if !self.origin.is_open(&site).await.map_err(|error| negative::unavailable(&error))? {
            return Err(negative::not_found());
        }
        let mut outcome = match path::object_of(request.uri().path()) {
            Ok(path) => self.serve_object(Arc::clone(&site), path, request).await,
            Err(page) => Err(page),
        };
        if site.log_retention {
            let extensions = match &mut outcome {
                Ok(response) => response.extensions_mut(),
                Err(page) => page.extensions_mut(),
            };
            extensions.insert(visits::Logged(site));
        }
        outcome
    }

    fn hash_of(&self, host: &str) -> Result<Hash, Page> {
        if let Some(hash) = self.hosts.get(host) {
            return Ok(hash);
        }
        let no_hash = |text| refusal(StatusCode::NOT_FOUND, text, Lasting::Day);
        match self.names.parse(host) {
            Ok(hash) => {
                self.hosts.insert(host.to_owned(), hash);
                Ok(hash)
            }
            Err(BadHost::Unknown | BadHost::NoHash) => Err(no_hash("The host names no published container")),
            Err(BadHost::HashNotHex) => {
                Err(refusal(StatusCode::BAD_REQUEST, "The host's hash is not hexadecimal", Lasting::Day))
            }
            Err(BadHost::WrongToken) => Err(negative::not_found()),
        }
    }
}

impl Handler for Edge {
    async fn handle(self: Arc<Self>, call: Call) -> Response<Body> {
        self.answer_from(&call.request, call.peer.0.ip().to_canonical()).await
    }
}

/// Returns the host that a request is for: one `Host` header, or the authority of HTTP/2 or of an absolute URI. They must not
/// differ.
fn host_of<'r>(headers: &'r HeaderMap, uri: &'r Uri) -> Option<&'r str> {
    let mut lines = headers.get_all(HOST).iter();
    let line = lines.next().map(|line| line.to_str().ok());
    if lines.next().is_some() {
        return None;
    }
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let host = match (line, authority) {
        (Some(line), Some(authority)) => line.filter(|line| line.eq_ignore_ascii_case(authority)),
        (Some(line), None) => line,
        (None, authority) => authority,
    };
    host.filter(|host| !host.is_empty() && host.len() <= HOST_MAX)
}
