//! Tenants, users, roles and tokens, in the dialects v1.0, v1.1, v2.0 and v3.
//!
//! Other services use two functions: [`Identity::authenticate`] turns a token into a [`Caller`], and [`Caller::may`]
//! authorises an operation.

pub mod model;

mod api;
mod key;
mod service;
mod settings;
mod store;

pub use api::{Route, refuse, routes};
pub use key::{MasterKey, MasterKeyError, UnsealError};
pub use model::{Caller, DEFAULT_DOMAIN, Delegation, Grant, Product, Right, RoleRef, TenantRef};
pub use service::admin::{
    Administration, NewTenantUser, RoleView, TenantChange, TenantView, UserChange, UserView,
};
pub use service::bootstrap::FirstUser;
pub use service::deletion::TenantDataOwner;
pub use service::error::Error;
pub use service::resets::{Mail, MailTransport};
pub use service::sessions::Denied;
pub use service::{Identity, OpenError};
pub use settings::{Service, Settings};
pub use store::audit::AuditEntry;
