//! Publishing of containers: which are published, under which names, the management dialect, and the edge that serves them.
//!
//! A published container is readable through an edge and nowhere else: its ACL does not change. The crate sits above
//! `files`, which knows nothing of it. A container may be published before it exists.

pub mod api;
pub mod edge;
mod error;
pub mod model;
pub mod service;
mod store;

pub use error::{Error, Result};
pub use service::{Cdn, Settings};
