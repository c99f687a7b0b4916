//! The edge: serves published containers to everyone, from a cache in memory and on disk.
//!
//! A request names its container by its host and its object by its path. Both are brought into one form before anything
//! is looked up, and nothing else of a request decides what is fetched or kept: no header and no query. So no request can
//! make the edge keep for others what it got.
//!
//! [`Origin`] is all that the edge knows of the cloud behind it.

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

use std::sync::Arc;

use axum::body::Body;
use http::header::HOST;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use web::direct::{Call, Handler};
use work::Clock;

pub use cache::CacheSettings;
pub use local::LocalOrigin;
pub use origin::{Ask, Origin, OriginError};

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
    /// Hosts that were read before: an HMAC for each request would cost more than all else.
    hosts: quick_cache::sync::Cache<String, Hash>,
}

/// Hosts remembered at most.
const HOSTS_MAX: usize = 10_000;
/// Bytes of a host name at most (RFC 1035, 2.3.4), with a port.
const HOST_MAX: usize = 260;

impl Edge {
    /// Opens the cache.
    pub async fn open(
        origin: Arc<dyn Origin>,
        names: Names,
        clock: Clock,
        settings: &CacheSettings,
    ) -> Arc<Self> {
        let cache = Cache::open(settings).await;
        let (fills, hosts) = (Fills::default(), quick_cache::sync::Cache::new(HOSTS_MAX));
        Arc::new(Self { origin, names, clock, cache, fills, hosts })
    }

    /// Writes what is still to be written to the disk.
    pub async fn close(&self) {
        self.cache.close().await;
    }

    /// Answers a request; `B` is its body, which is not read.
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

    async fn serve<B>(self: &Arc<Self>, host: &str, request: &Request<B>) -> Result<Response<Body>, Page> {
        let hash = self.hash_of(host)?;
        let site = match self.origin.known_site(hash) {
            Some(known) => known,
            None => self.origin.site(hash).await.map_err(|error| negative::unavailable(&error))?,
        };
        let site = site.ok_or_else(negative::not_found)?;
        let path = path::object_of(request.uri().path())?;
        self.serve_object(site, path, request).await
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
        self.answer(&call.request).await
    }
}

/// The host that a request is for: one `Host` header, or the authority of HTTP/2 and of an absolute URI, which must not
/// contradict each other.
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
