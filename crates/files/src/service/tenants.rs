//! Whether an account's tenant exists and is enabled, asked of whoever knows: an account that nobody can sign in to is
//! closed to everybody else, too.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::name::tenant_of;

/// What is known of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantState {
    /// Its users can sign in.
    Enabled,
    /// It, or its domain, is disabled.
    Disabled,
    /// There is none of that id.
    Missing,
}

/// Whoever knows tenants.
#[async_trait]
pub trait Tenants: Send + Sync {
    /// The state of the tenant of that id.
    ///
    /// # Errors
    /// Why it cannot be found out, for the log.
    async fn state(&self, tenant_id: &str) -> std::result::Result<TenantState, String>;
}

impl Files {
    /// Has accounts' tenants looked up by `tenants`. Before, every tenant counts as enabled. Call once.
    pub fn ask_tenants(&self, tenants: Arc<dyn Tenants>) {
        let _ = self.0.tenants.set(tenants);
    }

    /// Fails when the account's tenant is disabled or missing. A caller of the tenant itself has a token for it, which
    /// was checked already. An operator reaches disabled tenants, and is told of missing ones.
    pub(super) async fn check_tenant(&self, context: &Context, account: &str) -> Result<()> {
        let (Some(tenants), Some(tenant)) = (self.0.tenants.get(), tenant_of(account)) else { return Ok(()) };
        let caller = context.caller.as_deref();
        if context.internal || caller.is_some_and(|caller| caller.is_of(tenant)) {
            return Ok(());
        }
        let operator = caller.is_some_and(|caller| caller.operator);
        match tenants.state(tenant).await.map_err(Error::Unavailable)? {
            TenantState::Enabled => Ok(()),
            TenantState::Disabled if operator => Ok(()),
            TenantState::Missing if operator => Err(Error::NotFound),
            TenantState::Disabled | TenantState::Missing if caller.is_some() => Err(Error::Forbidden),
            TenantState::Disabled | TenantState::Missing => Err(Error::Unauthenticated),
        }
    }
}
