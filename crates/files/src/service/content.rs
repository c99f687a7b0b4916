//! Bytes on their way in or out, whole or piece by piece.

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;

/// Bytes as they come, of an upload or of an object that is read.
#[async_trait]
pub trait Body: Send {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>>;
}

/// An object's bytes, or a part of them.
pub enum Content {
    /// All that was asked for, already checked.
    Whole(Bytes),
    /// To be read piece by piece.
    Stream(Box<dyn Body>),
}

/// Bytes that are at hand, as an upload.
pub struct Incoming(Option<Bytes>);

impl Incoming {
    /// These.
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
