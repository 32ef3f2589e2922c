//! TLS towards everything that is asked: whom we trust. rustls with the ring provider, whatever the process has chosen.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use veza_dr_core::{Error, ErrorKind, Result};

/// Whose certificates are believed.
#[derive(Debug, Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// The authorities that this machine trusts. Reads them, which takes some milliseconds: make it once.
    ///
    /// # Errors
    /// `Unexpected` when TLS cannot be set up.
    pub fn system() -> Result<Self> {
        let mut roots = RootCertStore::empty();
        // One unreadable certificate does not stand in the way of the others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::of(roots)
    }

    /// The authorities of a PEM file alone.
    ///
    /// # Errors
    /// `Config` when the file cannot be read or holds no certificate.
    pub fn of_file(ca_file: &Path) -> Result<Self> {
        let bad = |why: String| {
            Error::new(ErrorKind::Config, format!("ca_file {} cannot be used: {why}", ca_file.display()))
                .with_help("it must be a PEM file with at least one certificate")
        };
        let mut roots = RootCertStore::empty();
        for cert in CertificateDer::pem_file_iter(ca_file).map_err(|e| bad(e.to_string()))? {
            roots.add(cert.map_err(|e| bad(e.to_string()))?).map_err(|e| bad(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(bad("it holds no certificate".to_owned()));
        }
        Self::of(roots)
    }

    /// The authorities of this file, or else those that this machine trusts.
    pub(crate) fn of_file_or_system(ca_file: Option<&Path>) -> Result<Self> {
        ca_file.map_or_else(Self::system, Self::of_file)
    }

    /// Anybody: encrypts without asking who answers, as libpq's `require` does.
    ///
    /// # Errors
    /// `Unexpected` when TLS cannot be set up.
    pub fn anybody() -> Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    fn of(roots: RootCertStore) -> Result<Self> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.0
    }
}

fn unusable(e: rustls::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "TLS cannot be set up").with_source(e)
}

/// The name that a certificate must carry.
#[cfg(any(feature = "http", feature = "redis"))]
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned())
        .map_err(|e| Error::new(ErrorKind::Config, format!("{host} is no name for a certificate")).with_source(e))
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
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
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
