//! The dialects of Cloud Files.

pub mod swift;
