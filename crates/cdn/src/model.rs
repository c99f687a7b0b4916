//! Publications, their names, and their rules; pure.

mod names;
mod publication;

pub use names::{Hash, Names, Scheme, Uris};
pub use publication::{Change, Publication, Ttl};
