//! Keys of accounts and containers, and what a signature made with one opens (Swift, TempURL and FormPost).

use super::{Files, Pass};
use crate::error::{Error, Result};
use crate::model::metadata::Metadata;
use crate::model::signature::{Digest, is_signed};
use crate::store;

/// Something signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// How.
    pub digest: Digest,
    /// The signature's bytes.
    pub signature: Vec<u8>,
    /// The texts any of which may have been signed.
    pub texts: Vec<String>,
}

impl Files {
    /// What a signature opens: the account's objects if it was made with one of the account's keys, the container's if
    /// with one of the container's.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if with neither.
    pub async fn pass_for(&self, account: &str, container: &str, signed: &Signed) -> Result<Pass> {
        let (found, stored) = store::containers::find_by_path(&self.0.db, account, container).await?;
        let matches = |metadata: &Metadata, prefix: &str| {
            ["temp-url-key", "temp-url-key-2"].iter().any(|name| {
                let key = metadata.get(&format!("{prefix}{name}"));
                key.is_some_and(|key| {
                    signed.texts.iter().any(|text| is_signed(signed.digest, key, text, &signed.signature))
                })
            })
        };
        if matches(&stored.read(), "x-account-meta-") {
            return Ok(Pass { account: account.to_owned(), container: None });
        }
        if found.is_some_and(|found| matches(&found.metadata, "x-container-meta-")) {
            return Ok(Pass { account: account.to_owned(), container: Some(container.to_owned()) });
        }
        Err(Error::Unauthenticated)
    }
}
