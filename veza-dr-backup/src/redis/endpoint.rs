//! Where a server is and how to get in: read once from the configuration, used by every connection.

use std::{path::PathBuf, sync::Arc};

use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use url::Url;
use veza_dr_core::{Error, ErrorKind, ExposeSecret, Result, SecretString};

use super::RedisConfig;
use crate::tls;

/// One Redis server.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) tls: bool,
    ca_file: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("location", &self.location()).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Reads a configuration without any I/O.
    ///
    /// # Errors
    /// `Config` saying what is wrong; the URL itself is not shown, it may hold a password.
    pub fn parse(config: &RedisConfig) -> Result<Self> {
        let bad = |why: String| {
            Error::new(ErrorKind::Config, format!("the Redis url cannot be read: {why}"))
                .with_help("write it as redis://user@host:6379, or rediss:// for TLS")
        };
        let url = Url::parse(config.url.expose_secret()).map_err(|e| bad(e.to_string()))?;
        let tls = match url.scheme() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            other => return Err(bad(format!("`{other}` is not a scheme for Redis"))),
        };
        let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| bad("it names no host".to_owned()))?;
        let decoded = |text: &str| -> Result<Option<String>> {
            let bytes = percent_decoded(text).ok_or_else(|| bad("a % is followed by no two digits".to_owned()))?;
            Ok(Some(bytes).filter(|b| !b.is_empty()))
        };
        let username = config.username.clone().map_or_else(|| decoded(url.username()), |name| Ok(Some(name)))?;
        let inline = decoded(url.password().unwrap_or_default())?.map(SecretString::from);
        let client = match (&config.client_cert, &config.client_key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            _ => {
                return Err(Error::new(ErrorKind::Config, "client_cert and client_key belong together")
                    .with_help("set both, or neither"));
            }
        };
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(6379),
            username,
            password: config.password.clone().or(inline),
            tls,
            ca_file: config.ca_file.clone(),
            client,
        })
    }

    /// Another server that lets us in the same way: a cluster's, or a replica.
    #[must_use]
    pub fn at(&self, host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, ..self.clone() }
    }

    /// The host's name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where this is, without credentials.
    #[must_use]
    pub fn location(&self) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let bracketed = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{bracketed}:{}", self.port)
    }

    /// What TLS connections are made with; `None` when there is to be no TLS.
    pub(super) fn tls_config(&self) -> Result<Option<Arc<rustls::ClientConfig>>> {
        if !self.tls {
            return Ok(None);
        }
        let builder = tls::verifying(self.ca_file.as_deref())?;
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = tls::certificates("client_cert", cert)?;
                let private = PrivateKeyDer::from_pem_file(key).map_err(|e| tls::unusable("client_key", key, &e))?;
                builder.with_client_auth_cert(chain, private).map_err(|e| tls::unusable("client_cert", cert, &e))?
            }
        };
        Ok(Some(Arc::new(config)))
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Endpoint> {
        Endpoint::parse(&RedisConfig::new(url))
    }

    #[test]
    fn reads_all_forms_of_a_url_and_shows_no_password() {
        let e = parse("redis://us%40er:p%40ss%2Fw@h.example:7000/3").unwrap();
        assert_eq!((e.username.as_deref(), e.host.as_str(), e.port), (Some("us@er"), "h.example", 7000));
        assert_eq!(e.password.as_ref().unwrap().expose_secret(), "p@ss/w");
        assert_eq!(format!("{e:?}"), "Endpoint { location: \"redis://h.example:7000\", .. }");
        let e = parse("rediss://:secret@[::1]").unwrap();
        assert_eq!((e.location().as_str(), e.username.is_none(), e.tls), ("rediss://[::1]:6379", true, true));
        for bad in ["h:6379", "postgres://h", "redis://", "redis://us%4xer@h"] {
            let e = parse(bad).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Config, "{bad}");
            assert!(!e.chain().contains("us%4x"));
        }
    }
}
