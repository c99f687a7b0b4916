//! Keys of accounts and containers, and the access granted by signatures with them (Swift, TempURL and FormPost).

use super::{Context, Files, Pass};
use crate::error::{Error, Result};
use crate::model::metadata::Metadata;
use crate::model::signature::{Digest, is_signed};
use crate::store;

/// A signature to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The digest.
    pub digest: Digest,
    /// The signature's bytes.
    pub signature: Vec<u8>,
    /// The texts, one of which must have been signed.
    pub texts: Vec<String>,
}

/// The names of keys, without the prefix `x-account-meta-` or `x-container-meta-`.
const KEYS: [&str; 2] = ["temp-url-key", "temp-url-key-2"];

impl Files {
    /// Returns whether any signature could grant access to the container: it exists, its tenant is enabled, and it or its account
    /// has a key.
    ///
    /// # Errors
    /// The database's, and [`Error::Unavailable`] if the tenant cannot be looked up.
    pub async fn has_key(&self, account: &str, container: &str) -> Result<bool> {
        let (found, stored) = store::containers::find_by_path(&self.0.db, account, container).await?;
        let Some(found) = found else { return Ok(false) };
        let has = |metadata: &Metadata, prefix: &str| {
            KEYS.iter().any(|name| metadata.get(&format!("{prefix}{name}")).is_some())
        };
        if !has(&stored.read(), "x-account-meta-") && !has(&found.metadata, "x-container-meta-") {
            return Ok(false);
        }
        match self.check_tenant(&Context::default(), account).await {
            Ok(()) => Ok(true),
            Err(Error::Unavailable(reason)) => Err(Error::Unavailable(reason)),
            Err(_) => Ok(false),
        }
    }

    /// What a signature opens: the account's objects if it was made with one of the account's keys, the container's if
    /// with one of the container's.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if it was made with neither.
    pub async fn grant_for(&self, account: &str, container: &str, signed: &Signed) -> Result<Pass> {
        let (found, stored) = store::containers::find_by_path(&self.0.db, account, container).await?;
        let matches = |metadata: &Metadata, prefix: &str| {
            KEYS.iter().any(|name| {
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
