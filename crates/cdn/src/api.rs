//! The dialects.

pub mod management;
