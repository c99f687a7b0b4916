//! Cloud Files: accounts, containers and objects, in the Swift dialect.
//!
//! An object version is immutable: a PUT stores a new blob, and one unit points the name at it, counts it and lets the
//! old blob go. Listings, counters and reads agree at once.

pub mod api;
mod error;
pub mod model;
pub mod service;
mod store;

pub use error::{Error, Result};
pub use service::{Context, Files, Settings, TenantState, Tenants};
