//! Cloud Files: accounts, containers and objects, in the Swift dialect.
//!
//! An object version is immutable: a PUT stores a new blob, and one transaction points the name at it, updates the counters
//! and releases the old blob. Listings, counters and reads are therefore always consistent.

pub mod api;
mod error;
pub mod model;
pub mod service;
mod store;

pub use error::{Error, Result};
pub use service::{Context, Files, Settings, TenantState, Tenants};
