//! The caller and the tenant of a request: the first argument of every operation.

use std::sync::Arc;

use identity::{Caller, Product, Right};

use super::Error;

/// A caller that uses a tenant's servers.
#[derive(Clone, Debug)]
pub struct Context {
    caller: Arc<Caller>,
    tenant: String,
    request: String,
}

impl Context {
    /// Returns a context if the caller may at least read the tenant's servers.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn new(caller: Arc<Caller>, tenant: &str, request: &str) -> Result<Self, Error> {
        let context = Self { caller, tenant: tenant.to_owned(), request: request.to_owned() };
        context.need(Right::Observe)?;
        Ok(context)
    }

    /// Checks that the caller has a right. This is the only authorisation check of the service; every operation calls it.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn need(&self, right: Right) -> Result<(), Error> {
        self.need_of(Product::Compute, right)
    }

    /// As [`Context::need`], for an operation that uses another product.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn need_of(&self, product: Product, right: Right) -> Result<(), Error> {
        if self.caller.may(&self.tenant, product, right) { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// The tenant whose servers are used.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The user's id.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.caller.user_id
    }

    /// The request's id, for the action log.
    #[must_use]
    pub fn request(&self) -> &str {
        &self.request
    }

    /// Returns whether the caller is the cloud's operator.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.caller.operator
    }
}
