//! Tenants, users, roles and tokens, in the dialects v1.0, v1.1, v2.0 and v3.

pub mod model;

pub use model::{Caller, Grant, Product, Right, RoleRef, TenantRef};
