//! The SDK's client: one TLS provider, own timeouts, no retries of its own.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_route53::{
    Client,
    config::{Credentials, retry::RetryConfig, timeout::TimeoutConfig},
};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use veza_dr_core::{Error, ErrorKind, ExposeSecret, Result};

use super::Route53Config;

const CONNECT: Duration = Duration::from_secs(10);

/// Builds the client. Asks nothing of Route 53.
pub(super) async fn connect(config: &Route53Config) -> Result<Client> {
    config.validate()?;
    let http = if config.is_plain_http() {
        aws_smithy_http_client::Builder::new().build_http()
    } else {
        aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls_context(config).await?)
            .build_https()
    };
    let region = config.region.clone().unwrap_or_else(|| "us-east-1".to_owned());
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http).region(Region::new(region));
    if let (Some(id), Some(secret)) = (&config.access_key_id, &config.secret_access_key) {
        let token = config.session_token.as_ref().map(|t| t.expose_secret().to_owned());
        loader = loader.credentials_provider(Credentials::new(
            id.expose_secret(),
            secret.expose_secret(),
            token,
            None,
            "veza-dr configuration",
        ));
    }
    if let Some(endpoint) = &config.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let shared = loader.load().await;
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(config.timeout).build();
    let settings = aws_sdk_route53::config::Builder::from(&shared)
        // A change whose answer was lost must be looked up, not sent again: the caller retries, and knows which is which.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .build();
    Ok(Client::from_conf(settings))
}

async fn tls_context(config: &Route53Config) -> Result<TlsContext> {
    let mut trust = TrustStore::default();
    if let Some(file) = &config.ca_file {
        let failed = |why: String| {
            Error::new(ErrorKind::Config, format!("read ca_file {}: {why}", file.display()))
                .with_help("give a file of PEM certificates that this user may read")
        };
        let pem = tokio::fs::read(file).await.map_err(|e| failed(e.to_string()))?;
        check_certificates(&pem).map_err(failed)?;
        trust = trust.with_pem_certificate(pem);
    }
    TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|e| Error::new(ErrorKind::Config, "TLS for route53 could not be set up").with_source(e))
}

/// The SDK panics on a certificate that it cannot use, so each is tried here first.
fn check_certificates(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    }
    if roots.is_empty() { Err("it holds no PEM certificate".to_owned()) } else { Ok(()) }
}
