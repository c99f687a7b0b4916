//! Contents of objects, whole or piece by piece.

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;

/// The bytes of an upload or of an object, piece by piece.
#[async_trait]
pub trait Body: Send {
    /// Returns the next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>>;
}

/// The bytes of an object or of a part of it.
pub enum Content {
    /// Everything requested, already verified.
    Whole(Bytes),
    /// To be read piece by piece.
    Stream(Box<dyn Body>),
}

/// Bytes in memory, as an upload.
pub struct Incoming(Option<Bytes>);

impl Incoming {
    /// Wraps `bytes`.
    #[must_use]
    pub fn of(bytes: Bytes) -> Self {
        Self(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

#[async_trait]
impl Body for Incoming {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.take())
    }
}
