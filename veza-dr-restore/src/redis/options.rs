//! How a Redis restore is carried out: plain data.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use veza_dr_backup::redis::is_valkey;
use veza_dr_core::{Manifest, SecretString};

use super::{
    instance::{Instance, ServerFiles},
    scratch::in_path,
};

/// The program for scratch restores unless another is named.
const REDIS: &str = "redis-server";

/// The way the data reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RedisWay {
    /// Replication where it is possible, else keys; files when the server does not answer and its instance is named.
    #[default]
    Auto,
    /// The server replicates from us, once.
    Replication,
    /// Key by key, with `RESTORE`.
    Keys,
    /// The RDB is put where the server looks for it, and the server is started again.
    File,
}

/// What happens to a key that exists on the server, when single keys are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyConflict {
    /// The backup's value replaces it.
    #[default]
    Replace,
    /// It stays as it is.
    Skip,
}

/// What happens to expiries, when keys are restored one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TtlPolicy {
    /// Each key expires at the instant it was to expire; those whose instant has passed are not restored.
    #[default]
    Keep,
    /// Each key has as long to live as it had at the time of the backup.
    Shift,
    /// No key expires.
    Strip,
}

/// Where a target that replicates over TLS connects to: a certificate that its `tls-ca-cert-file` vouches for.
#[derive(Debug, Clone)]
pub struct ReplicationTls {
    /// The certificate and its chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// The sentinels that watch the server.
#[derive(Debug, Clone)]
pub struct Sentinels {
    /// The name they know it by.
    pub master: String,
    /// All of them: `redis://host:26379`.
    pub urls: Vec<SecretString>,
}

/// Everything that has a default.
///
/// ```
/// use veza_dr_restore::redis::{KeyConflict, RedisRestoreOptions, RedisWay};
/// let options = RedisRestoreOptions::new("/var/lib/veza-dr").with_way(RedisWay::Keys).with_on_conflict(KeyConflict::Skip);
/// assert_eq!(options.way, RedisWay::Keys);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RedisRestoreOptions {
    /// Where the journal and the copies of what restores replace are kept.
    pub state_dir: PathBuf,
    /// How the data reach the server.
    pub way: RedisWay,
    /// The host and port that the server is told to replicate from, when it is not the address our connection has.
    pub advertise: Option<(String, u16)>,
    /// The address to listen on for that, when it is not the advertised one.
    pub bind: Option<SocketAddr>,
    /// What is shown to a server that replicates over TLS.
    pub replication_tls: Option<ReplicationTls>,
    /// The sentinels to hold back while the server replicates.
    pub sentinels: Option<Sentinels>,
    /// When single keys exist already.
    pub on_conflict: KeyConflict,
    /// What becomes of expiries; anything but [`TtlPolicy::Keep`] needs the way of keys.
    pub ttl: TtlPolicy,
    /// Give payloads the version of an older server, and see whether it takes them.
    pub allow_downgrade: bool,
    /// How long the server may take to connect to us.
    pub connect_within: Duration,
    /// The container or process to stop and start for the way of files.
    pub instance: Option<Arc<dyn Instance>>,
    /// Where that server's files are, as far as the server cannot be asked.
    pub server_files: ServerFiles,
    /// The program for scratch restores.
    pub redis_server: PathBuf,
}

impl RedisRestoreOptions {
    /// Defaults, with the state kept in `state_dir`.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            way: RedisWay::Auto,
            advertise: None,
            bind: None,
            replication_tls: None,
            sentinels: None,
            on_conflict: KeyConflict::Replace,
            ttl: TtlPolicy::Keep,
            allow_downgrade: false,
            connect_within: Duration::from_secs(10),
            instance: None,
            server_files: ServerFiles::default(),
            redis_server: PathBuf::from(REDIS),
        }
    }

    /// In this way.
    #[must_use]
    pub fn with_way(mut self, way: RedisWay) -> Self {
        self.way = way;
        self
    }

    /// With the server connecting to this host and port, through whatever lies between.
    #[must_use]
    pub fn with_advertise(mut self, host: impl Into<String>, port: u16) -> Self {
        self.advertise = Some((host.into(), port));
        self
    }

    /// Listening here.
    #[must_use]
    pub fn with_bind(mut self, address: SocketAddr) -> Self {
        self.bind = Some(address);
        self
    }

    /// Showing this certificate to a server that replicates over TLS.
    #[must_use]
    pub fn with_replication_tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.replication_tls = Some(ReplicationTls { certificate: certificate.into(), key: key.into() });
        self
    }

    /// Holding these sentinels back.
    #[must_use]
    pub fn with_sentinels(mut self, master: impl Into<String>, urls: impl IntoIterator<Item = SecretString>) -> Self {
        self.sentinels = Some(Sentinels { master: master.into(), urls: urls.into_iter().collect() });
        self
    }

    /// Treating keys that exist like this.
    #[must_use]
    pub fn with_on_conflict(mut self, conflict: KeyConflict) -> Self {
        self.on_conflict = conflict;
        self
    }

    /// Treating expiries like this.
    #[must_use]
    pub fn with_ttl(mut self, ttl: TtlPolicy) -> Self {
        self.ttl = ttl;
        self
    }

    /// Trying payloads on an older server.
    #[must_use]
    pub fn allowing_downgrade(mut self, allow: bool) -> Self {
        self.allow_downgrade = allow;
        self
    }

    /// Giving the server so long to connect to us.
    #[must_use]
    pub fn with_connect_within(mut self, limit: Duration) -> Self {
        self.connect_within = limit;
        self
    }

    /// Stopping and starting this for the way of files.
    #[must_use]
    pub fn with_instance(mut self, instance: Arc<dyn Instance>) -> Self {
        self.instance = Some(instance);
        self
    }

    /// Looking for the files there when the server cannot be asked.
    #[must_use]
    pub fn with_server_files(mut self, files: ServerFiles) -> Self {
        self.server_files = files;
        self
    }

    /// The program for a scratch restore of this backup: Valkey's where the backup is of one, this host has it, and no other
    /// was named.
    pub(crate) fn scratch_server(&self, of: &Manifest) -> PathBuf {
        let valkey = || is_valkey(of).then(|| in_path(Path::new("valkey-server")));
        let own = (self.redis_server == Path::new(REDIS)).then(valkey).flatten().flatten();
        own.unwrap_or_else(|| self.redis_server.clone())
    }

    /// With this program for scratch restores.
    #[must_use]
    pub fn with_redis_server(mut self, program: impl Into<PathBuf>) -> Self {
        self.redis_server = program.into();
        self
    }
}
