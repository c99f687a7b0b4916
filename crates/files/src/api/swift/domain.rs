//! Accounts and containers as host names: `container.account.example.com` (Swift, Domain remap).

use axum::Router;
use http::header::{HOST, LOCATION};
use http::{StatusCode, Uri};
use tower::ServiceExt;
use web::{Request, Response};

use super::cname::with_aliases;
use super::fault::Fault;
use super::{answer, headers};
use crate::Settings;

/// Account prefixes that a host name may contain, in any case and with `-` for `_`.
const PREFIXES: [&str; 2] = ["AUTH", "SERVICE"];

/// Wraps `router` with host names under `domains`: requests to `container.account.{domain}` or `account.{domain}` are
/// handled as requests to `/v1/{account}/{container}`. Wrap a listener's whole router, since such hosts have no other paths.
pub fn remapped(router: Router, domains: &[String]) -> Router {
    if domains.is_empty() {
        return router;
    }
    let domains: Vec<String> =
        domains.iter().map(|domain| format!(".{}", domain.trim_start_matches('.'))).collect();
    let service = tower::service_fn(move |request: Request| {
        let (router, domains) = (router.clone(), domains.clone());
        async move { Ok::<_, std::convert::Infallible>(ask(router, &domains, request).await) }
    });
    Router::new().fallback_service(service)
}

/// Wraps `router` with all configured host name handling: aliases, then names under the storage domains.
pub fn hosted(router: Router, settings: &Settings) -> Router {
    let router = remapped(router, &settings.storage_domains);
    match &settings.cname {
        Some(lookup) => with_aliases(router, lookup, &settings.storage_domains),
        None => router,
    }
}

async fn ask(router: Router, domains: &[String], mut request: Request) -> Response {
    let host = headers::get(request.headers(), HOST.as_str()).map(str::to_owned);
    let host = host.or_else(|| request.uri().authority().map(ToString::to_string)).unwrap_or_default();
    let asked = request.uri().path().to_owned();
    let path = match path_for(&host, domains, &asked) {
        Ok(path) => path,
        Err(fault) => return fault.into_response("unknown", request.method() == http::Method::HEAD),
    };
    let Some(path) = path else { return pass(router, request).await };
    let text = request.uri().query().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = text.parse().ok();
    match Uri::from_parts(parts) {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => return Fault::status(StatusCode::BAD_REQUEST).into_response("unknown", false),
    }
    let mut response = pass(router, request).await;
    let place = response.headers().get(LOCATION).and_then(|place| place.to_str().ok()).map(str::to_owned);
    if let Some(place) = place {
        // Keep the host name that the client used in a redirection.
        answer::set(response.headers_mut(), LOCATION.as_str(), place.replacen(&path, &asked, 1));
    }
    response
}

async fn pass(router: Router, request: Request) -> Response {
    router.oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// Returns the path that a host name stands for; `None` for any other host name.
fn path_for(host: &str, domains: &[String], asked: &str) -> Result<Option<String>, Fault> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let Some(domain) = domains.iter().find(|domain| name.ends_with(domain.as_str())) else { return Ok(None) };
    let parts: Vec<&str> = name[..name.len() - domain.len()].trim_matches('.').split('.').collect();
    let (container, account) = match parts.as_slice() {
        [account] => (None, *account),
        [container, account] => (Some(*container), *account),
        _ => return Err(Fault::text(StatusCode::BAD_REQUEST, "Bad domain in host header")),
    };
    let account = if account.contains('_') { account.to_owned() } else { account.replacen('-', "_", 1) };
    let Some((prefix, rest)) = account.split_once('_') else { return Ok(None) };
    let Some(prefix) = PREFIXES.into_iter().find(|known| known.eq_ignore_ascii_case(prefix)) else {
        return Ok(None);
    };
    let container = container.map(|container| format!("/{container}")).unwrap_or_default();
    Ok(Some(format!("/v1/{prefix}_{rest}{container}{asked}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_mapped_to_paths() {
        let domains = [".example.com".to_owned()];
        for (host, expected) in [
            ("c.AUTH_1.example.com", Some("/v1/AUTH_1/c/o")),
            ("c.auth-1.example.com:8080", Some("/v1/AUTH_1/c/o")),
            ("auth-1.example.com", Some("/v1/AUTH_1/o")),
            ("other.example.com", None),
            ("other-1.example.com", None),
            ("localhost", None),
        ] {
            assert_eq!(path_for(host, &domains, "/o").unwrap().as_deref(), expected, "{host}");
        }
        assert_eq!(path_for("a.b.c.example.com", &domains, "/").unwrap_err().code(), 400);
    }
}
