//! The dialects of compute.

pub mod v1;

use std::sync::Arc;

use async_trait::async_trait;
use identity::Caller;

use crate::Compute;

/// Why a token does not open anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It is unknown, revoked or has run out.
    Invalid,
    /// It cannot be checked now; the reason is for the log.
    Unavailable(String),
}

/// Who knows tokens: identity, as the program wires it in.
#[async_trait]
pub trait Tokens: Send + Sync + 'static {
    /// The caller behind a token.
    async fn authenticate(&self, token: &str) -> Result<Arc<Caller>, Denied>;
}

impl Compute {
    /// What is served at `/servers`, and at `/servers.json` and `/servers.xml`, which are the same with an extension.
    pub fn router(&self, tokens: Arc<dyn Tokens>) -> axum::Router {
        v1::router(v1::Api { compute: self.clone(), tokens })
    }
}
