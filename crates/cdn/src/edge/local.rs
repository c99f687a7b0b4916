//! The origin in the same process: the CDN's service, and the storage's Swift dialect with a right of the CDN's own.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use files::api::swift::Published;
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
}

impl LocalOrigin {
    /// An origin over the CDN's service and the storage's router.
    #[must_use]
    pub fn new(cdn: Cdn, storage: Router) -> Self {
        Self { cdn, storage }
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

/// The path by which visitors ask for an object. A name that begins with a slash has it encoded: in a redirection two
/// slashes would name another host.
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
