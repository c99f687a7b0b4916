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
