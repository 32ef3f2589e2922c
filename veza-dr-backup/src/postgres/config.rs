//! How to reach a PostgreSQL database and how to back it up: plain data.

use std::path::PathBuf;

use veza_dr_core::SecretString;

/// A connection to one database, shared by backup and restore.
///
/// ```
/// use veza_dr_backup::postgres::PostgresConfig;
/// let config = PostgresConfig::new("postgres://veza_user@localhost:5432/veza_db").with_jobs(4);
/// assert_eq!(config.jobs, Some(4));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// `postgres://user@host:port/database?sslmode=verify-full`. A password in it is accepted and never shown.
    pub url: SecretString,
    /// The password; goes to servers and client tools, never to argv, logs or errors.
    pub password: Option<SecretString>,
    /// A file of PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Where `pg_dump` and `pg_restore` are, when not in the usual places for the server's major version.
    pub bin_dir: Option<PathBuf>,
    /// How many streams copy at once; the machine's cores when `None`.
    pub jobs: Option<usize>,
    /// About how many bytes of a table one object holds; 128 MiB when `None`.
    pub chunk_bytes: Option<u64>,
    /// Back up what can be read and name the rest in the manifest, instead of failing.
    pub allow_unreadable: bool,
}

impl PostgresConfig {
    /// With everything but the URL left at its default.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: SecretString::from(url.into()),
            password: None,
            ca_file: None,
            bin_dir: None,
            jobs: None,
            chunk_bytes: None,
            allow_unreadable: false,
        }
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

    /// With the client tools of this folder.
    #[must_use]
    pub fn with_bin_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.bin_dir = Some(path.into());
        self
    }

    /// With this many parallel streams.
    #[must_use]
    pub fn with_jobs(mut self, jobs: usize) -> Self {
        self.jobs = Some(jobs.max(1));
        self
    }

    /// With objects of about this many table bytes.
    #[must_use]
    pub fn with_chunk_bytes(mut self, bytes: u64) -> Self {
        self.chunk_bytes = Some(bytes.max(8192));
        self
    }

    /// Skipping, and naming, what cannot be read.
    #[must_use]
    pub fn allowing_unreadable(mut self, allow: bool) -> Self {
        self.allow_unreadable = allow;
        self
    }

    /// The number of parallel streams in force.
    #[must_use]
    pub fn effective_jobs(&self) -> usize {
        self.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from)).clamp(1, 64)
    }
}
