//! `tls`, `tls_cert` and `tls_key`: where the API's certificate comes from.

use std::path::PathBuf;

use super::SettingError;

/// Source of the API's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Files that the operator maintains.
    Files {
        /// The chain in PEM, the server's own certificate first.
        certificate: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
    },
    /// A self-signed certificate, created here and kept in the data directory.
    SelfSigned,
}

/// What one source of settings, such as the file, says about the certificate.
#[derive(Clone, Debug, Default)]
pub struct CertificateSettings {
    /// `tls`
    pub word: Option<String>,
    /// `tls_cert`
    pub certificate: Option<PathBuf>,
    /// `tls_key`
    pub key: Option<PathBuf>,
}

impl CertificateSettings {
    /// Fills what this leaves open from a source of lower precedence, unless that names another kind of certificate.
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

    /// Returns the certificate's source, or `None` for plain HTTP.
    ///
    /// # Errors
    /// [`SettingError`] with the key that is invalid or missing.
    pub fn source(self) -> Result<Option<Source>, SettingError> {
        if let Some(word) = self.word {
            return if word != "self-signed" {
                Err(SettingError::new("tls", format!("{word:?}: expected self-signed")))
            } else if self.certificate.is_some() || self.key.is_some() {
                Err(SettingError::new("tls", "self-signed: cannot be combined with tls_cert and tls_key"))
            } else {
                Ok(Some(Source::SelfSigned))
            };
        }
        match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Ok(Some(Source::Files { certificate, key })),
            (Some(_), None) => Err(SettingError::new("tls_key", "missing: tls_cert is given")),
            (None, Some(_)) => Err(SettingError::new("tls_cert", "missing: tls_key is given")),
            (None, None) => Ok(None),
        }
    }
}
