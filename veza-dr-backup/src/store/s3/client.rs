//! The SDK's client: one TLS provider, own timeouts and retries, credentials as configured.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::{
    Client,
    config::{
        Credentials, ResponseChecksumValidation, StalledStreamProtectionConfig, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use veza_dr_core::{Error, ErrorKind, ExposeSecret, Result};

use super::S3Config;

/// Longer than any server takes to answer once it can be reached at all.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// Builds the client. Asks nothing of S3; may ask the environment, or the instance's metadata service, for a region.
pub(super) async fn connect(config: &S3Config) -> Result<Client> {
    let http = if config.is_plain_http() {
        // Also works where the machine has no certificates at all.
        aws_smithy_http_client::Builder::new().build_http()
    } else {
        let provider = Provider::Rustls(CryptoMode::Ring);
        aws_smithy_http_client::Builder::new()
            .tls_provider(provider)
            .tls_context(tls_context(config).await?)
            .build_https()
    };
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    } else if config.endpoint.is_some() {
        loader = loader.region(Region::new("us-east-1"));
    }
    if let (Some(id), Some(secret)) = (&config.access_key_id, &config.secret_access_key) {
        let token = config.session_token.as_ref().map(|t| t.expose_secret().to_owned());
        let credentials =
            Credentials::new(id.expose_secret(), secret.expose_secret(), token, None, "veza-dr configuration");
        loader = loader.credentials_provider(credentials);
    }
    if let Some(endpoint) = &config.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let shared = loader.load().await;
    if shared.region().is_none() {
        let text = format!("bucket {} has no region", config.bucket);
        return Err(Error::new(ErrorKind::Config, text).with_help("set the store's region, such as eu-west-3"));
    }
    let retries = RetryConfig::standard()
        .with_max_attempts(config.attempts)
        .with_initial_backoff(Duration::from_millis(200))
        .with_max_backoff(Duration::from_secs(10));
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(config.timeout).build();
    let settings = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(config.path_style)
        .retry_config(retries)
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(config.timeout).build())
        // Objects carry digests of their own in the manifest; checking parts twice would only cost time.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Ok(Client::from_conf(settings))
}

async fn tls_context(config: &S3Config) -> Result<TlsContext> {
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
    TlsContext::builder().with_trust_store(trust).build().map_err(|e| {
        Error::new(ErrorKind::Config, format!("TLS for bucket {} could not be set up", config.bucket)).with_source(e)
    })
}

/// The SDK panics on a certificate that it cannot use, so each is tried here first.
fn check_certificates(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| e.to_string())?;
        roots.add(certificate).map_err(|e| e.to_string())?;
    }
    if roots.is_empty() { Err("it holds no PEM certificate".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused_without_a_panic() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "nothing", broken, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
            assert!(check_certificates(pem.as_bytes()).is_err(), "{pem}");
        }
    }
}
