//! Tokens: identity answers, dialects ask in their own traits.

use std::sync::Arc;

use async_trait::async_trait;
use identity::{Caller, Identity};

/// Identity, as the dialects of other services see it.
pub struct IdentityTokens(pub Arc<Identity>);

#[async_trait]
impl files::api::swift::Tokens for IdentityTokens {
    async fn caller(&self, token: &str) -> Option<Arc<Caller>> {
        self.0.authenticate(token).await.ok()
    }
}

#[async_trait]
impl compute::Tokens for IdentityTokens {
    async fn authenticate(&self, token: &str) -> Result<Arc<Caller>, compute::Denied> {
        self.0.authenticate(token).await.map_err(|denied| match denied {
            identity::Denied::Unavailable(reason) => compute::Denied::Unavailable(reason.to_string()),
            _ => compute::Denied::Invalid,
        })
    }
}
