//! Images: what servers are made of and what is made of servers.
//!
//! An image's bytes are an object in its owner's Cloud Files account, pinned to an object version by reference, so
//! that nothing done to the object harms a server. An image that comes from outside is hostile until shown
//! otherwise: its format is stated and never probed.

mod inspect;
mod model;
mod scratch;
mod service;
mod store;
mod vault;

pub use inspect::Hostile;
pub use model::{Access, Content, Id, Image, Origin, Page, Piece, Status, Visibility};
pub use scratch::Space;
pub use service::{Error, Files, Images, Import, NewImage, Registration, Settings};
pub use vault::{Directory, Object, Stored, Vault, VaultError};
