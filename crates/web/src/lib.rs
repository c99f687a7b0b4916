//! HTTP code shared by all dialects: formats, conditions, ranges, transaction ids, limits and the listener.
//!
//! It knows no service. Each dialect formats its own faults.

pub mod body;
pub mod client;
pub mod conditional;
mod connections;
mod counted;
pub mod direct;
mod early;
pub mod format;
pub mod forwarded;
mod framing;
pub mod gzip;
mod head;
pub mod json;
mod linger;
pub mod listener;
mod load;
pub mod metrics;
pub mod observed;
pub mod probe;
pub mod query;
pub mod range;
pub mod routes;
mod stall_timeout;
pub mod tls;
pub mod transaction;
pub mod wire;
pub mod xml;

pub use counted::mark_authenticated;
pub use format::Format;
pub use routes::Routes;
pub use transaction::TransactionId;

/// The response type of all dialects.
pub type Response = axum::response::Response;
/// The request type of all dialects.
pub type Request = axum::extract::Request;
