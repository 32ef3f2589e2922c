//! TLS towards servers that are protected: rustls with the ring provider, nothing else.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, pem::PemObject},
};
use veza_dr_core::{Error, ErrorKind, Result};

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

pub(crate) fn cannot(e: rustls::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "TLS cannot be set up").with_source(e)
}

/// Trusts the authorities of `ca_file`, or else the system's; certificate chain and host name must be right.
pub(crate) fn verifying(ca_file: Option<&Path>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(cannot)?;
    Ok(builder.with_root_certificates(roots(ca_file)?))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for cert in certificates("ca_file", path)? {
                store.add(cert).map_err(|e| unusable("ca_file", path, &e))?;
            }
        }
        None => {
            // One unreadable certificate of the system's store does not stand in the way of the others.
            let (_, _ignored) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(store)
}

/// The certificates of a PEM file, at least one; `setting` names it in errors.
pub(crate) fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let mut found = Vec::new();
    for cert in CertificateDer::pem_file_iter(path).map_err(|e| unusable(setting, path, &e))? {
        found.push(cert.map_err(|e| unusable(setting, path, &e))?);
    }
    if found.is_empty() {
        return Err(unusable(setting, path, &"it holds no certificate"));
    }
    Ok(found)
}

pub(crate) fn unusable(setting: &str, path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("{setting} {} cannot be used: {why}", path.display()))
        .with_help("it must be a PEM file")
}
