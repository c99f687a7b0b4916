//! TLS to PostgreSQL, as libpq documents `sslmode` and `sslrootcert`.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Value of `sslrootcert` for the machine's own trust store.
const SYSTEM: &str = "system";

/// How the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Not at all: TLS then protects against passive eavesdropping only.
    Nothing,
    /// A trusted authority must have issued it.
    Authority,
    /// A trusted authority must have issued it, and it must name the host.
    AuthorityAndHost,
}

/// The TLS parameters of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    mode: SslMode,
    check: Check,
    roots: Option<String>,
}

/// Separates a URL's TLS parameters, only some of which the client library knows, from the rest of the URL.
pub(crate) fn split(url: &str) -> Result<(String, Parameters), String> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut parameters = Parameters { mode: SslMode::Prefer, check: Check::Nothing, roots: None };
    let mut others = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", mode)) => (parameters.mode, parameters.check) = self::mode(mode)?,
            Some(("sslrootcert", file)) => {
                let file = percent_encoding::percent_decode_str(file).decode_utf8();
                parameters.roots = Some(file.map_err(|e| format!("sslrootcert: {e}"))?.into_owned());
            }
            _ => others.push(pair),
        }
    }
    if parameters.roots.is_some() && parameters.check == Check::Nothing {
        // As in libpq, naming an authority implies checking against it.
        parameters.check =
            if parameters.mode == SslMode::Require { Check::Authority } else { Check::Nothing };
    }
    if parameters.check != Check::Nothing && parameters.roots.is_none() {
        return Err(format!(
            "sslmode=verify-ca and verify-full need sslrootcert=FILE, or sslrootcert={SYSTEM}"
        ));
    }
    let query = others.join("&");
    Ok((if query.is_empty() { base.to_owned() } else { format!("{base}?{query}") }, parameters))
}

fn mode(name: &str) -> Result<(SslMode, Check), String> {
    Ok(match name {
        "disable" => (SslMode::Disable, Check::Nothing),
        "prefer" => (SslMode::Prefer, Check::Nothing),
        "require" => (SslMode::Require, Check::Nothing),
        "verify-ca" => (SslMode::Require, Check::Authority),
        "verify-full" => (SslMode::Require, Check::AuthorityAndHost),
        _ => {
            return Err(format!(
                "sslmode={name}: expected disable, prefer, require, verify-ca or verify-full"
            ));
        }
    })
}

impl Parameters {
    /// Sets the mode in `config` and returns the TLS connector, or `None` if TLS is disabled.
    pub(crate) fn connector(&self, config: &mut Config) -> Result<Option<MakeRustlsConnect>, String> {
        config.ssl_mode(self.mode);
        if self.mode == SslMode::Disable {
            return Ok(None);
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let client = match (&self.roots, self.check) {
            (Some(roots), Check::Authority | Check::AuthorityAndHost) => {
                let roots = Arc::new(trusted(roots)?);
                let full = WebPkiServerVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|e| format!("sslrootcert: {e}"))?;
                if self.check == Check::AuthorityAndHost {
                    builder.with_webpki_verifier(full).with_no_client_auth()
                } else {
                    let verifier = Arc::new(AnyHost(full));
                    builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
                }
            }
            _ => {
                let verifier = Arc::new(Anyone(provider));
                builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
            }
        };
        Ok(Some(MakeRustlsConnect::new(client)))
    }
}

fn trusted(file: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if file == SYSTEM {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    } else {
        let failed = |e: &dyn std::fmt::Display| format!("sslrootcert {file}: {e}");
        for certificate in CertificateDer::pem_file_iter(file).map_err(|e| failed(&e))? {
            roots.add(certificate.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
        }
    }
    if roots.is_empty() { Err(format!("sslrootcert {file}: no certificate found")) } else { Ok(roots) }
}

/// Accepts certificates of the trusted authorities for any host (`verify-ca`).
#[derive(Debug)]
struct AnyHost(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The verifier compares the name last, after the chain was found valid.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Accepts any certificate whose key the server holds (`prefer` and `require`).
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_parameters_are_split_from_the_url() {
        let (url, tls) =
            split("postgres://h/db?sslmode=verify-full&application_name=x&sslrootcert=%2Fa%20b").unwrap();
        assert_eq!(url, "postgres://h/db?application_name=x");
        let expected =
            Parameters { mode: SslMode::Require, check: Check::AuthorityAndHost, roots: Some("/a b".into()) };
        assert_eq!(tls, expected);
        let (url, tls) = split("postgres://h/db").unwrap();
        assert_eq!(
            (url.as_str(), tls),
            ("postgres://h/db", Parameters { mode: SslMode::Prefer, check: Check::Nothing, roots: None })
        );
        assert_eq!(split("postgres://h?sslmode=require&sslrootcert=f").unwrap().1.check, Check::Authority);
        assert!(split("postgres://h?sslmode=verify-full").unwrap_err().contains("sslrootcert"));
        assert!(split("postgres://h?sslmode=on").unwrap_err().starts_with("sslmode=on: expected disable"));
    }
}
