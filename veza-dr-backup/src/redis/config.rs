//! How to reach a Redis server and how to back it up: plain data.

use std::{path::PathBuf, time::Duration};

use veza_dr_core::SecretString;

/// How the data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ReadMode {
    /// [`ReadMode::Disk`] where the server writes `dump.rdb` anyway and last did so without failure, else
    /// [`ReadMode::Diskless`], and [`ReadMode::Scan`] where replication is forbidden.
    #[default]
    Auto,
    /// As a replica, by way of the server's disk: it writes its `dump.rdb` and sends that, at whatever speed we take.
    Disk,
    /// As a replica, straight from the memory of a forked server: received at full speed into a local file first,
    /// so that a slow store neither holds the fork nor gets us dropped.
    Diskless,
    /// Key by key, where replication is forbidden. What changes meanwhile is seen before or after its change: the
    /// backup shows no single instant, and says so.
    Scan,
}

/// A connection to one server, or to one of a cluster's, shared by backup and restore.
///
/// ```
/// use veza_dr_backup::redis::RedisConfig;
/// let config = RedisConfig::new("rediss://cache.example:6380").with_username("backup").with_ca_file("/etc/ca.pem");
/// assert_eq!(config.username.as_deref(), Some("backup"));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RedisConfig {
    /// `redis://[user[:password]@]host[:port]`, or `rediss://…` for TLS. A password in it is accepted and never shown;
    /// a database number is ignored: all databases are backed up.
    pub url: SecretString,
    /// The ACL user; `default` when neither this nor the URL names one.
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
    /// A file of PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A file of PEM certificates that shows who we are, where the server asks for one.
    pub client_cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub client_key: Option<PathBuf>,
    /// How the data is read.
    pub mode: ReadMode,
    /// For how long the server may be silent; 60 s when `None`. While it prepares, it gives a sign of life each second.
    pub idle_timeout: Option<Duration>,
    /// How long reading all of a server may take; 6 hours when `None`.
    pub total_timeout: Option<Duration>,
    /// Where [`ReadMode::Diskless`] keeps the data on its way to the store; the system's temporary folder when `None`.
    pub spool_dir: Option<PathBuf>,
}

impl RedisConfig {
    /// With everything but the URL left at its default.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: SecretString::from(url.into()),
            username: None,
            password: None,
            ca_file: None,
            client_cert: None,
            client_key: None,
            mode: ReadMode::Auto,
            idle_timeout: None,
            total_timeout: None,
            spool_dir: None,
        }
    }

    /// As this ACL user.
    #[must_use]
    pub fn with_username(mut self, name: impl Into<String>) -> Self {
        self.username = Some(name.into());
        self
    }

    /// With this password.
    #[must_use]
    pub fn with_password(mut self, password: SecretString) -> Self {
        self.password = Some(password);
        self
    }

    /// Trusting only these certificate authorities.
    #[must_use]
    pub fn with_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Showing this certificate.
    #[must_use]
    pub fn with_client_cert(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        (self.client_cert, self.client_key) = (Some(cert.into()), Some(key.into()));
        self
    }

    /// Reading the data this way.
    #[must_use]
    pub fn with_mode(mut self, mode: ReadMode) -> Self {
        self.mode = mode;
        self
    }

    /// Giving up after so much silence.
    #[must_use]
    pub fn with_idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = Some(limit);
        self
    }

    /// Giving up when reading takes longer.
    #[must_use]
    pub fn with_total_timeout(mut self, limit: Duration) -> Self {
        self.total_timeout = Some(limit);
        self
    }

    /// Keeping data on its way in this folder.
    #[must_use]
    pub fn with_spool_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.spool_dir = Some(path.into());
        self
    }

    pub(crate) fn idle(&self) -> Duration {
        self.idle_timeout.unwrap_or(Duration::from_secs(60))
    }

    pub(crate) fn total(&self) -> Duration {
        self.total_timeout.unwrap_or(Duration::from_secs(6 * 3600))
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.spool_dir.clone().unwrap_or_else(std::env::temp_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_a_secret() {
        let config = RedisConfig::new("redis://u:canary-1@h").with_password(SecretString::from("canary-2".to_owned()));
        assert!(!format!("{config:?}").contains("canary"));
    }
}
