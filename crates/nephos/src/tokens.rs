//! Token validation: connects identity to the traits of the dialects.

use std::sync::Arc;

use async_trait::async_trait;
use identity::{Caller, Identity};

/// Identity, as the dialects of other services use it.
pub struct IdentityTokens(pub Arc<Identity>);

/// Marks the request's sender as known to the listener if the check succeeded.
fn known<T, E>(checked: Result<T, E>) -> Result<T, E> {
    if checked.is_ok() {
        web::mark_authenticated();
    }
    checked
}

#[async_trait]
impl files::api::swift::Tokens for IdentityTokens {
    async fn caller(&self, token: &str) -> Option<Arc<Caller>> {
        known(self.0.authenticate(token).await).ok()
    }
}

#[async_trait]
impl compute::Tokens for IdentityTokens {
    async fn authenticate(&self, token: &str) -> Result<Arc<Caller>, compute::Denied> {
        known(self.0.authenticate(token).await).map_err(|denied| match denied {
            identity::Denied::Unavailable(reason) => compute::Denied::Unavailable(reason.to_string()),
            _ => compute::Denied::Invalid,
        })
    }
}

#[async_trait]
impl files::Tenants for IdentityTokens {
    async fn state(&self, tenant_id: &str) -> Result<files::TenantState, String> {
        let enabled = self.0.tenant_enabled(tenant_id).await.map_err(|reason| reason.to_string())?;
        Ok(match enabled {
            Some(true) => files::TenantState::Enabled,
            Some(false) => files::TenantState::Disabled,
            None => files::TenantState::Missing,
        })
    }
}
