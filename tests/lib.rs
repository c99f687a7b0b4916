//! Code shared by the tests of the built program: clouds for a test, and clients.

pub mod browser;
pub mod client;
pub mod cloud;
pub mod host;
pub mod http;
pub mod kills;
pub mod lab;
