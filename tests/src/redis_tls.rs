//! A certificate authority of the test's own, with a server's and a client's certificate.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

use crate::Result;

/// PEM files in a folder that goes with this value.
#[derive(Debug)]
pub struct TestCa {
    dir: TempDir,
}

impl TestCa {
    /// An authority with a server certificate for `localhost` and 127.0.0.1, and a client certificate.
    pub fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(dir.path().join("ca.crt"), issuer.pem())?;
        for (name, hosts) in [("server", vec!["localhost".to_owned(), "127.0.0.1".to_owned()]), ("client", Vec::new())]
        {
            let mut params = CertificateParams::new(hosts)?;
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            let key = KeyPair::generate()?;
            let cert = params.signed_by(&key, &issuer)?;
            std::fs::write(dir.path().join(format!("{name}.crt")), cert.pem())?;
            std::fs::write(dir.path().join(format!("{name}.key")), key.serialize_pem())?;
        }
        Ok(Self { dir })
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// The certificate of `server` or `client`.
    pub fn cert(&self, who: &str) -> PathBuf {
        self.dir.path().join(format!("{who}.crt"))
    }

    /// The private key of `server` or `client`.
    pub fn key(&self, who: &str) -> PathBuf {
        self.dir.path().join(format!("{who}.key"))
    }
}
