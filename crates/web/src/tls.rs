//! TLS for the listener: loads and reloads a certificate and its key, and performs handshakes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Time limit for the handshake, from when the connection was accepted.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// ALPN protocols, in order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The certificate is at fault.
    #[error("{}: {reason}", path.display())]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is at fault.
    #[error("{}: {reason}", path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A listener's certificate chain and key: the paths of their files and what was last loaded from them.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Loads a certificate chain, the server's own certificate first, and its key; both in PEM.
    ///
    /// # Errors
    /// [`LoadError`] if a file cannot be read or the key does not match the certificate.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, LoadError> {
        let config = RwLock::new(Arc::new(read(certificate, key)?));
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), config })
    }

    /// Loads both files again, for new connections. Open connections keep the old certificate; its sessions are not resumed.
    ///
    /// # Errors
    /// [`LoadError`] as for [`Tls::load`]; then the old certificate stays in use.
    pub fn reload(&self) -> Result<(), LoadError> {
        let config = Arc::new(read(&self.certificate, &self.key)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Performs the handshake with a client.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner));
        let handshake = TlsAcceptor::from(config).accept(stream);
        tokio::time::timeout(HANDSHAKE_WITHIN, handshake).await?
    }
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, LoadError> {
    let bad_certificate = |reason: String| LoadError::Certificate { path: certificate.to_owned(), reason };
    let bad_key = |reason: String| LoadError::Key { path: key.to_owned(), reason };
    let chain = std::fs::read(certificate).map_err(|e| bad_certificate(e.to_string()))?;
    let chain = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| bad_certificate(e.to_string()))?;
    if chain.is_empty() {
        return Err(bad_certificate("no PEM certificate in it".into()));
    }
    let text = std::fs::read(key).map_err(|e| bad_key(e.to_string()))?;
    let private = PrivateKeyDer::from_pem_slice(&text).map_err(|e| match e {
        pem::Error::NoItemsFound => bad_key("no PEM private key in it, or one with a passphrase".into()),
        other => bad_key(other.to_string()),
    })?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pair = pair(&provider, chain, private).map_err(|(part, reason)| match part {
        Part::Certificate => bad_certificate(reason),
        Part::Key => bad_key(reason),
    })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| bad_key(e.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(config)
}

enum Part {
    Certificate,
    Key,
}

fn pair(
    provider: &CryptoProvider,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, (Part, String)> {
    let key = provider.key_provider.load_private_key(key).map_err(|e| (Part::Key, e.to_string()))?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err((Part::Key, "it does not belong to the certificate".into()))
        }
        Err(other) => Err((Part::Certificate, other.to_string())),
    }
}
