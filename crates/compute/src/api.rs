//! The wire APIs of compute.

pub mod v1;

use std::sync::Arc;

use async_trait::async_trait;
use identity::Caller;

use crate::Compute;

/// Why a token was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It is unknown, revoked or expired.
    Invalid,
    /// It cannot be checked now. The reason is for the log.
    Unavailable(String),
}

/// Validation of tokens; the program implements it with the identity service.
#[async_trait]
pub trait Tokens: Send + Sync + 'static {
    /// Returns the caller that a token belongs to.
    async fn authenticate(&self, token: &str) -> Result<Arc<Caller>, Denied>;
}

impl Compute {
    /// Returns the router of `/servers`, and of `/servers.json` and `/servers.xml`, which are the same resource with
    /// a format extension.
    pub fn router(&self, tokens: Arc<dyn Tokens>) -> axum::Router {
        v1::router(v1::Api { compute: self.clone(), tokens })
    }
}
