//! Images: servers are created from them, and they are created from servers, uploads or the operator's files.
//!
//! An image's bytes are an object in its owner's Cloud Files account. The image pins one version of the object, so that
//! changing or deleting the object does not affect it. Uploaded and imported images are untrusted: they are checked
//! before use, and their format is declared by the caller and never probed.

mod inspect;
mod model;
mod scratch;
mod service;
mod store;
mod vault;

pub use inspect::UnsafeImage;
pub use model::{Access, Content, Id, Image, Origin, Page, Piece, Status, Visibility};
pub use scratch::Space;
pub use service::{Error, Files, Images, Import, NewImage, Registration, Settings};
pub use vault::{Directory, Object, Stored, Vault, VaultError};
