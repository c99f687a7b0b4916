//! Checks whether an account's tenant exists and is enabled. An account whose users cannot sign in is closed to everyone
//! else too.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::name::tenant_of;

/// The state of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantState {
    /// Its users can sign in.
    Enabled,
    /// It, or its domain, is disabled.
    Disabled,
    /// There is no tenant with that id.
    Missing,
}

/// A directory of tenants, implemented by identity.
#[async_trait]
pub trait Tenants: Send + Sync {
    /// Returns the state of a tenant.
    ///
    /// # Errors
    /// Why the state cannot be determined, for the log.
    async fn state(&self, tenant_id: &str) -> std::result::Result<TenantState, String>;
}

impl Files {
    /// Sets the directory to look up tenants in. Until this is called, every tenant counts as enabled. Call it once.
    pub fn ask_tenants(&self, tenants: Arc<dyn Tenants>) {
        let _ = self.0.tenants.set(tenants);
    }

    /// Fails if the account's tenant is disabled or missing. A caller from the tenant itself has a token for it, so the tenant
    /// was checked already. Operators may access accounts of disabled tenants, and get an error for missing ones.
    pub(super) async fn check_tenant(&self, context: &Context, account: &str) -> Result<()> {
        let (Some(tenants), Some(tenant)) = (self.0.tenants.get(), tenant_of(account)) else { return Ok(()) };
        let caller = context.caller.as_deref();
        if context.internal || caller.is_some_and(|caller| caller.is_scoped_to(tenant)) {
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
