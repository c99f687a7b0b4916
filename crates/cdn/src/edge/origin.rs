//! The interface between an edge and the cloud behind it.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use http::Response;

use crate::model::{Hash, Site};

/// The origin could not be reached or stopped early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OriginError(pub String);

/// A request to the origin. Only the object's name and the range come from a visitor's request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The object's name, or a directory's.
    pub path: Arc<str>,
    /// The wanted bytes, or `None` for all.
    pub range: Option<Range<u64>>,
    /// Answer 304 if this is still the entity tag, in quotes.
    pub if_none_match: Option<String>,
    /// Answer 412 unless this is still the entity tag, in quotes.
    pub if_match: Option<String>,
}

/// Where an edge gets containers and objects from.
#[async_trait]
pub trait Origin: Send + Sync + 'static {
    /// Returns a site that is in memory. The outer `None` means that [`Origin::site`] must be called.
    fn known_site(&self, hash: Hash) -> Option<Option<Arc<Site>>>;

    /// Returns the site with this hash, or `None` if no published container has it.
    async fn site(&self, hash: Hash) -> Result<Option<Arc<Site>>, OriginError>;

    /// Returns whether the site's tenant is enabled. Called for every request, so implementations cache the result.
    async fn is_open(&self, _site: &Site) -> Result<bool, OriginError> {
        Ok(true)
    }

    /// Fetches an object or a page of a site, as the storage returns it to someone who may read the container.
    async fn fetch(&self, site: &Site, ask: &Ask) -> Result<Response<Body>, OriginError>;
}
