//! What the tests from outside share: a cloud of a test's own, and clients to drive it with.

pub mod browser;
pub mod client;
pub mod cloud;
pub mod host;
pub mod http;
pub mod kills;
pub mod lab;
