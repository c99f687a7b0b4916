//! The certificate that the API shows: a given pair of files, or one that the cloud signs itself.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use tokio::signal::unix::Signal;
use web::tls::{Tls, Unusable};

use crate::config::certificate::Source;
use crate::config::{Bad, Config};
use crate::data_dir::{DataDir, write_private};

/// Names of this machine that every certificate made here is good for.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What is made here is kept under this name in the data directory, and its key under the next.
const OWN_CERTIFICATE: &str = "tls-cert.pem";
const OWN_KEY: &str = "tls-key.pem";

/// Reads the certificate, or makes it; nothing for plain HTTP.
///
/// # Errors
/// [`Bad`] when it cannot be used.
pub fn open(config: &Config, dir: &DataDir) -> Result<Option<Arc<Tls>>, Bad> {
    let tls = match &config.tls {
        None => return Ok(None),
        Some(Source::Files { certificate, key }) => Tls::load(certificate, key).map_err(|error| {
            let named = if matches!(error, Unusable::Key { .. }) { "tls_key" } else { "tls_cert" };
            Bad::new(named, error)
        })?,
        Some(Source::SelfSigned) => {
            let (certificate, key) = (dir.join(OWN_CERTIFICATE), dir.join(OWN_KEY));
            if !certificate.exists() {
                make(&config.public_url, &certificate, &key)?;
            }
            Tls::load(&certificate, &key).map_err(|error| Bad::new("tls", error))?
        }
    };
    Ok(Some(Arc::new(tls)))
}

/// The certificate that clients must be told to trust, if the cloud signs its own.
pub fn authority(config: &Config) -> Option<PathBuf> {
    (config.tls == Some(Source::SelfSigned)).then(|| config.data_dir.join(OWN_CERTIFICATE))
}

/// Makes a certificate for this machine and the host in `url`. The key is written first: a certificate that is
/// there has its key.
fn make(url: &str, certificate: &Path, key: &Path) -> Result<(), Bad> {
    let mut names = OWN_NAMES.map(str::to_owned).to_vec();
    let host = url.parse::<http::Uri>().ok().and_then(|url| url.host().map(str::to_owned));
    let host = host.ok_or_else(|| Bad::new("public_url", format!("{url:?}: no host in it")))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if !names.contains(&host) {
        names.push(host);
    }
    let failed = |error: rcgen::Error| Bad::new("tls", format!("cannot make a certificate: {error}"));
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Nephos");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let pair = KeyPair::generate().map_err(failed)?;
    let made = params.self_signed(&pair).map_err(failed)?;
    let written = |path: &Path, text: &str| {
        write_private(path, text)
            .map_err(|error: io::Error| Bad::new("data_dir", format!("{}: {error}", path.display())))
    };
    written(key, &pair.serialize_pem())?;
    written(certificate, &made.pem())
}

/// Reads the certificate again at each SIGHUP; one that cannot be used leaves the old one in place.
pub async fn reload_at(mut hang_up: Signal, tls: Arc<Tls>) {
    while hang_up.recv().await.is_some() {
        let tls = Arc::clone(&tls);
        match tokio::task::spawn_blocking(move || tls.reload()).await {
            Ok(Ok(())) => tracing::info!("read the certificate again"),
            Ok(Err(error)) => {
                tracing::error!(%error, "the new certificate cannot be used: the old one stays")
            }
            Err(error) => tracing::error!(%error, "the certificate was not read again"),
        }
    }
}
