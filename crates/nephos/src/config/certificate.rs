//! `tls`, `tls_cert` and `tls_key`: where the API's certificate comes from.

use std::path::PathBuf;

use super::Bad;

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Files that someone else keeps.
    Files {
        /// The chain, PEM, the server's own first.
        certificate: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
    },
    /// Made here, and kept in the data directory.
    SelfSigned,
}

/// What one place, such as the file, says about the certificate.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// `tls`
    pub word: Option<String>,
    /// `tls_cert`
    pub certificate: Option<PathBuf>,
    /// `tls_key`
    pub key: Option<PathBuf>,
}

impl Said {
    /// This, and what it leaves open from a weaker place: nothing where it says another kind of certificate.
    #[must_use]
    pub fn or(self, weaker: Self) -> Self {
        let files = self.certificate.is_some() || self.key.is_some();
        match (&self.word, files) {
            (Some(_), _) => self,
            (None, true) => Self {
                word: None,
                certificate: self.certificate.or(weaker.certificate),
                key: self.key.or(weaker.key),
            },
            (None, false) => weaker,
        }
    }

    /// The certificate's source, or nothing for plain HTTP.
    ///
    /// # Errors
    /// [`Bad`] with the key that cannot be used or is missing.
    pub fn source(self) -> Result<Option<Source>, Bad> {
        if let Some(word) = self.word {
            return if word != "self-signed" {
                Err(Bad::new("tls", format!("{word:?}: expected self-signed")))
            } else if self.certificate.is_some() || self.key.is_some() {
                Err(Bad::new("tls", "self-signed, and files are given as well"))
            } else {
                Ok(Some(Source::SelfSigned))
            };
        }
        match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Ok(Some(Source::Files { certificate, key })),
            (Some(_), None) => Err(Bad::new("tls_key", "missing: tls_cert is given")),
            (None, Some(_)) => Err(Bad::new("tls_cert", "missing: tls_key is given")),
            (None, None) => Ok(None),
        }
    }
}
