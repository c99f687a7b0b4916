//! Requests through trusted proxies: takes the client's address from `X-Forwarded-For`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use http::HeaderMap;
use ipnet::IpNet;

use crate::Request;
use crate::listener::Peer;

/// Wraps `router` for use behind proxies in these networks. The [`Peer`] of a request from a proxy becomes the last address
/// in the header that is not a trusted proxy's. The header of any other request is ignored.
pub fn behind(proxies: Vec<IpNet>, router: Router) -> Router {
    if proxies.is_empty() {
        return router;
    }
    let proxies: Arc<[IpNet]> = proxies.into();
    router.layer(from_fn(move |mut request: Request, next: axum::middleware::Next| {
        if let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() {
            let address = client(peer.ip(), request.headers(), &proxies);
            if address != peer.ip() {
                request.extensions_mut().insert(Peer(SocketAddr::new(address, 0)));
            }
        }
        next.run(request)
    }))
}

/// Returns the last address outside `proxies`, searching backwards from the connection's.
fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let trusted = |address: IpAddr| proxies.iter().any(|network| network.contains(&address.to_canonical()));
    let mut address = peer;
    let lists = headers.get_all("x-forwarded-for").iter().rev();
    let hops = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(',').rev());
    for hop in hops {
        if !trusted(address) {
            break;
        }
        // Stop at an unreadable entry: what precedes it was not necessarily written by a trusted proxy.
        let Some(before) = parse(hop.trim()) else { break };
        address = before;
    }
    address
}

/// Parses an address as proxies write it: plain, with a port, or in brackets.
fn parse(text: &str) -> Option<IpAddr> {
    let plain = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    plain.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_address_outside_the_proxies_is_the_client() {
        let proxies: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        for (peer, lists, expected) in [
            ("10.0.0.1", &["192.0.2.1"][..], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.9, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1", "10.0.0.2, 10.0.0.3"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1:4711"], "192.0.2.1"),
            ("10.0.0.1", &["[2001:db9::1]:4711"], "2001:db9::1"),
            ("10.0.0.1", &["[2001:db9::1]"], "2001:db9::1"),
            ("::ffff:10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("2001:db8::1", &["192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1, nonsense, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[], "10.0.0.1"),
            // Not through a proxy: anyone can send the header.
            ("192.0.2.7", &["192.0.2.1"], "192.0.2.7"),
        ] {
            let mut headers = HeaderMap::new();
            for list in lists {
                headers.append("x-forwarded-for", list.parse().unwrap());
            }
            let found = client(peer.parse().unwrap(), &headers, &proxies);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {lists:?}");
        }
    }

    #[tokio::test]
    async fn handlers_get_the_clients_address() {
        use axum::extract::Extension;
        use axum::routing::get;
        use tower::ServiceExt;
        let shown = async |Extension(Peer(peer)): Extension<Peer>| peer.ip().to_string();
        let router = behind(vec!["127.0.0.0/8".parse().unwrap()], Router::new().route("/", get(shown)));
        let mut request = Request::new(axum::body::Body::empty());
        request.headers_mut().insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
        request.extensions_mut().insert(Peer("127.0.0.1:4711".parse().unwrap()));
        let response = router.oneshot(request).await.unwrap();
        let body = crate::body::read(response.into_body(), 64).await.unwrap();
        assert_eq!(&body[..], b"192.0.2.1");
    }
}
