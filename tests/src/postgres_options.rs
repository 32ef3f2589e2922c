//! What a test can choose about its PostgreSQL server.

use std::path::PathBuf;

/// A certificate and its private key, both PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, with its chain.
    pub cert: PathBuf,
    /// The private key. It is copied, so its owner and mode do not matter.
    pub key: PathBuf,
}

/// Options of [`PgServer::start`](crate::postgres_server::PgServer::start).
#[derive(Debug, Clone)]
pub struct PgOptions {
    /// Where `postgres` and `initdb` are; by default
    /// [`default_bin_dir`](crate::postgres_majors::default_bin_dir).
    pub bin_dir: Option<PathBuf>,
    /// Server settings, on top of the defaults that keep a test server small and fast. The last of a name wins.
    pub settings: Vec<(String, String)>,
    /// Lines put at the head of `pg_hba.conf`, before the line that lets everyone in with a password.
    pub hba: Vec<String>,
    /// The cluster's locale.
    pub locale: String,
    /// The cluster's encoding.
    pub encoding: String,
    /// Further arguments for `initdb`.
    pub initdb_args: Vec<String>,
    /// Serve TLS as well, with this certificate.
    pub tls: Option<TlsFiles>,
}

impl Default for PgOptions {
    fn default() -> Self {
        Self {
            bin_dir: None,
            settings: Vec::new(),
            hba: Vec::new(),
            locale: "C.UTF-8".to_owned(),
            encoding: "UTF8".to_owned(),
            initdb_args: Vec::new(),
            tls: None,
        }
    }
}

impl PgOptions {
    /// A server of this major; fails with the command that fetches it.
    pub fn major(major: u32) -> crate::Result<Self> {
        Ok(Self { bin_dir: Some(crate::postgres_majors::bin_dir(major)?), ..Self::default() })
    }

    /// Adds one server setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a line at the head of `pg_hba.conf`.
    #[must_use]
    pub fn with_hba(mut self, line: &str) -> Self {
        self.hba.push(line.to_owned());
        self
    }
}

/// Small, quick to start, gone with its directory. Durability is off: a test that pulls the plug turns it on.
pub(crate) const DEFAULT_SETTINGS: [(&str, &str); 8] = [
    ("listen_addresses", "127.0.0.1"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_connections", "100"),
    ("shared_buffers", "64MB"),
    // In the data directory instead of /dev/shm, so that a killed server leaves nothing behind.
    ("dynamic_shared_memory_type", "mmap"),
    ("log_line_prefix", "%m [%p] %q%u@%d "),
    ("logging_collector", "off"),
];
