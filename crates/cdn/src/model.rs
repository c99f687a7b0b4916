//! Publications, their names, and their rules; pure.

mod names;
mod publication;
mod site;

pub use names::{BadHost, Hash, Names, Scheme, Uris};
pub use publication::{Change, Publication, Ttl};
pub use site::Site;
