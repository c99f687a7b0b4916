//! What identity is about: pure types and rules.

mod caller;

pub use caller::{Caller, Grant, Product, Right, RoleRef, TenantRef};
