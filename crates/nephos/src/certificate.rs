//! The API's certificate: a given pair of files, or one that the cloud signs itself.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use tokio::signal::unix::Signal;
use web::tls::{LoadError, Tls};

use crate::config::certificate::Source;
use crate::config::{Config, SettingError};
use crate::data_dir::{DataDir, write_private};

/// Names of this machine in every self-signed certificate.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// File names of the self-signed certificate and its key in the data directory.
const OWN_CERTIFICATE: &str = "tls-cert.pem";
const OWN_KEY: &str = "tls-key.pem";

/// Reads or creates the certificate; returns `None` for plain HTTP.
///
/// # Errors
/// [`SettingError`] when the certificate cannot be used.
pub fn open(config: &Config, dir: &DataDir) -> Result<Option<Arc<Tls>>, SettingError> {
    let tls = match &config.tls {
        None => return Ok(None),
        Some(Source::Files { certificate, key }) => Tls::load(certificate, key).map_err(|error| {
            let named = if matches!(error, LoadError::Key { .. }) { "tls_key" } else { "tls_cert" };
            SettingError::new(named, error)
        })?,
        Some(Source::SelfSigned) => {
            let (certificate, key) = (dir.join(OWN_CERTIFICATE), dir.join(OWN_KEY));
            if !certificate.exists() {
                make(own_names(&config.public_url)?, &certificate, &key)?;
            }
            Tls::load(&certificate, &key).map_err(|error| SettingError::new("tls", error))?
        }
    };
    Ok(Some(Arc::new(tls)))
}

/// Returns the certificate that clients must trust, if the cloud signs its own.
pub fn authority(config: &Config) -> Option<PathBuf> {
    (config.tls == Some(Source::SelfSigned)).then(|| config.data_dir.join(OWN_CERTIFICATE))
}

/// The edge's certificate: the API's, if that is given, and otherwise one that the cloud makes for the names by which
/// containers are read over HTTPS.
///
/// # Errors
/// [`SettingError`] when it cannot be used.
pub fn of_edge(config: &Config, dir: &DataDir, api: Option<&Arc<Tls>>) -> Result<Arc<Tls>, SettingError> {
    if let (Some(Source::Files { .. }), Some(tls)) = (&config.tls, api) {
        return Ok(Arc::clone(tls));
    }
    let domain = config.edge.host.split(':').next().unwrap_or_default();
    // Another host name has a certificate of its own.
    let (certificate, key) =
        (dir.join(&format!("edge-cert-{domain}.pem")), dir.join(&format!("edge-key-{domain}.pem")));
    if !certificate.exists() {
        make(
            vec![domain.to_owned(), format!("*.ssl.{domain}"), format!("*.iosr.{domain}")],
            &certificate,
            &key,
        )?;
    }
    Tls::load(&certificate, &key).map(Arc::new).map_err(|error| SettingError::new("cdn_host", error))
}

/// The names of this machine, and the host in `url`.
fn own_names(url: &str) -> Result<Vec<String>, SettingError> {
    let mut names = OWN_NAMES.map(str::to_owned).to_vec();
    let host = url.parse::<http::Uri>().ok().and_then(|url| url.host().map(str::to_owned));
    let host =
        host.ok_or_else(|| SettingError::new("public_url", format!("{url:?}: expected a URL with a host")))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if !names.contains(&host) {
        names.push(host);
    }
    Ok(names)
}

/// Makes a certificate for these names. The key is written first: a certificate that is there has its key.
fn make(names: Vec<String>, certificate: &Path, key: &Path) -> Result<(), SettingError> {
    let failed =
        |error: rcgen::Error| SettingError::new("tls", format!("cannot make a certificate: {error}"));
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Nephos");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let pair = KeyPair::generate().map_err(failed)?;
    let made = params.self_signed(&pair).map_err(failed)?;
    let written = |path: &Path, text: &str| {
        write_private(path, text)
            .map_err(|error: io::Error| SettingError::new("data_dir", format!("{}: {error}", path.display())))
    };
    written(key, &pair.serialize_pem())?;
    written(certificate, &made.pem())
}

/// Rereads the certificate at each SIGHUP. If the new one cannot be used, the old one stays in use.
pub async fn reload_at(mut hang_up: Signal, tls: Arc<Tls>) {
    while hang_up.recv().await.is_some() {
        let tls = Arc::clone(&tls);
        match tokio::task::spawn_blocking(move || tls.reload()).await {
            Ok(Ok(())) => tracing::info!("reloaded the certificate"),
            Ok(Err(error)) => {
                tracing::error!(%error, "the new certificate cannot be used; keeping the old one")
            }
            Err(error) => {
                tracing::error!(%error, "the task that reads the certificate failed; keeping the old one")
            }
        }
    }
}
