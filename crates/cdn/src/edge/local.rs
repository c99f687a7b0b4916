//! The origin in the same process: the CDN's service, and the storage's Swift dialect with a right that only the CDN has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use files::api::swift::Published;
use files::{TenantState, Tenants};
use http::header::{IF_MATCH, IF_NONE_MATCH, RANGE};
use http::{Request, Response};
use tower::ServiceExt;

use super::{Ask, Origin, OriginError};
use crate::model::{Hash, Site};
use crate::service::Cdn;

/// The origin in the same process.
pub struct LocalOrigin {
    cdn: Cdn,
    storage: Router,
    tenants: Option<Arc<dyn Tenants>>,
    /// Tenants that were enabled, and when they were last looked up.
    enabled: Mutex<HashMap<String, Instant>>,
}

/// How long a tenant counts as enabled after it was looked up. A disabled tenant's objects are closed within this time.
const TENANT_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Tenants kept in memory at most.
const TENANTS_MAX: usize = 10_000;

impl LocalOrigin {
    /// Creates an origin from the CDN's service and the storage's router.
    #[must_use]
    pub fn new(cdn: Cdn, storage: Router) -> Self {
        Self { cdn, storage, tenants: None, enabled: Mutex::default() }
    }

    /// Closes the sites of tenants that are not enabled in this directory.
    #[must_use]
    pub fn with_tenants(self, tenants: Arc<dyn Tenants>) -> Self {
        Self { tenants: Some(tenants), ..self }
    }
}

#[async_trait]
impl Origin for LocalOrigin {
    fn known_site(&self, hash: Hash) -> Option<Option<Arc<Site>>> {
        self.cdn.known_site(hash)
    }

    async fn site(&self, hash: Hash) -> Result<Option<Arc<Site>>, OriginError> {
        self.cdn.site(hash).await.map_err(|error| OriginError(error.to_string()))
    }

    async fn is_open(&self, site: &Site) -> Result<bool, OriginError> {
        let Some(tenants) = &self.tenants else { return Ok(true) };
        let enabled = || self.enabled.lock().unwrap_or_else(PoisonError::into_inner);
        if enabled().get(&site.tenant).is_some_and(|at| at.elapsed() < TENANT_CHECK_INTERVAL) {
            return Ok(true);
        }
        let now = Instant::now();
        let is_open = tenants.state(&site.tenant).await.map_err(OriginError)? == TenantState::Enabled;
        let mut enabled = enabled();
        if enabled.len() >= TENANTS_MAX || !is_open {
            enabled.retain(|tenant, at| *tenant != site.tenant && at.elapsed() < TENANT_CHECK_INTERVAL);
        }
        if is_open {
            enabled.insert(site.tenant.clone(), now);
        }
        Ok(is_open)
    }

    async fn fetch(&self, site: &Site, ask: &Ask) -> Result<Response<Body>, OriginError> {
        let failed = |error: &dyn std::fmt::Display| OriginError(error.to_string());
        let account = format!("AUTH_{}", site.tenant);
        let encode = |text: &str| web::query::encode(text.as_bytes(), true);
        let path = format!("/v1/{account}/{}/{}", encode(&site.container), encode(&ask.path));
        let mut request = Request::get(path).header("x-web-mode", "True");
        if let Some(range) = &ask.range {
            request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        }
        if let Some(tag) = &ask.if_none_match {
            request = request.header(IF_NONE_MATCH, tag);
        }
        if let Some(tag) = &ask.if_match {
            request = request.header(IF_MATCH, tag);
        }
        let published = Published { account, container: site.container.clone(), path: visible(&ask.path) };
        let request = request.extension(published).body(Body::empty()).map_err(|error| failed(&error))?;
        self.storage.clone().oneshot(request).await.map_err(|never| failed(&never))
    }
}

/// Returns the path under which visitors request an object. Leading slashes of a name are encoded, because a redirect to a path
/// with two slashes leads to another host.
fn visible(name: &str) -> String {
    let rest = name.trim_start_matches('/');
    format!("/{}{}", "%2F".repeat(name.len() - rest.len()), web::query::encode(rest.as_bytes(), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visible_path_names_no_other_host() {
        for (name, path) in [
            ("", "/"),
            ("a b", "/a%20b"),
            ("dir/o", "/dir/o"),
            ("/evil.org/a", "/%2Fevil.org/a"),
            ("//a", "/%2F%2Fa"),
        ] {
            assert_eq!(visible(name), path);
        }
    }
}
