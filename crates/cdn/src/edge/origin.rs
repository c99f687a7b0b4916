//! What an edge asks of the cloud behind it.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use http::Response;

use crate::model::{Hash, Site};

/// The origin could not be asked, or broke off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OriginError(pub String);

/// A request to the origin. Nothing of a visitor's request is in it but the object's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The object's name, or a directory's.
    pub path: Arc<str>,
    /// The bytes that are wanted; `None` for all.
    pub range: Option<Range<u64>>,
    /// Answer 304 if this is still the entity tag, in quotes.
    pub if_none_match: Option<String>,
    /// Answer 412 unless this is still the entity tag, in quotes.
    pub if_match: Option<String>,
}

/// Where an edge gets containers and objects from.
#[async_trait]
pub trait Origin: Send + Sync + 'static {
    /// A site that is known without waiting; the outer `None` means that it has to be asked for.
    fn known_site(&self, hash: Hash) -> Option<Option<Arc<Site>>>;

    /// The site of a hash; `None` for a container that is not published.
    async fn site(&self, hash: Hash) -> Result<Option<Arc<Site>>, OriginError>;

    /// Whether the site's tenant is enabled. Asked with every request, so it answers from memory in most cases.
    async fn is_open(&self, _site: &Site) -> Result<bool, OriginError> {
        Ok(true)
    }

    /// An object or a page of a site, as the storage answers a visitor who may read the container.
    async fn fetch(&self, site: &Site, ask: &Ask) -> Result<Response<Body>, OriginError>;
}
