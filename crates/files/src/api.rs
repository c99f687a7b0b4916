//! The API dialects of Cloud Files.

pub mod swift;
