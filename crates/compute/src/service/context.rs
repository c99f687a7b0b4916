//! Who asks, for which tenant: the first argument of every operation.

use std::sync::Arc;

use identity::{Caller, Product, Right};

use super::Error;

/// A caller on a tenant's servers.
#[derive(Clone, Debug)]
pub struct Context {
    caller: Arc<Caller>,
    tenant: String,
    request: String,
}

impl Context {
    /// A context, if the caller may at least look at the tenant's servers.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn new(caller: Arc<Caller>, tenant: &str, request: &str) -> Result<Self, Error> {
        let context = Self { caller, tenant: tenant.to_owned(), request: request.to_owned() };
        context.need(Right::Observe)?;
        Ok(context)
    }

    /// The one authorisation of this service: every operation calls it with what it needs.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn need(&self, right: Right) -> Result<(), Error> {
        self.need_of(Product::Compute, right)
    }

    /// Likewise of another product that an operation reaches into.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn need_of(&self, product: Product, right: Right) -> Result<(), Error> {
        if self.caller.may(&self.tenant, product, right) { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// Whose servers.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The user's id.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.caller.user_id
    }

    /// The request's id, for the log of actions.
    #[must_use]
    pub fn request(&self) -> &str {
        &self.request
    }

    /// Whether the caller is the cloud's operator.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.caller.operator
    }
}
