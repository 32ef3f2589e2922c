//! `sources:` what is protected.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{ByteSize, SecretText, Text};

/// One protected thing.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Source {
    /// A PostgreSQL database.
    Postgres(Box<PostgresSource>),
    /// A Redis server.
    Redis(Box<RedisSource>),
    /// Folders and files; which ones is said by `backup.<name>.include`.
    Files(FilesSource),
}

impl Source {
    /// The engine's name, as the file spells it.
    #[must_use]
    pub fn engine(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::Redis(_) => "redis",
            Self::Files(_) => "files",
        }
    }
}

/// How to reach a PostgreSQL database.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresSource {
    /// `postgres://user@host:5432/database?sslmode=verify-full`
    pub url: SecretText,
    /// The password. Prefer `password_file`, `password_command` or `${env:NAME}`.
    #[serde(default)]
    pub password: Option<SecretText>,
    /// A file whose first line is the password.
    #[serde(default)]
    pub password_file: Option<Text>,
    /// A command, as a list of program and arguments, whose first line of output is the password.
    #[serde(default)]
    pub password_command: Option<Vec<Text>>,
    /// A file of PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<Text>,
    /// The folder of pg_dump and pg_restore, when not in the usual places for the server's major version.
    #[serde(default)]
    pub bin_dir: Option<Text>,
    /// How many streams copy at once; the machine's cores by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = 64))]
    pub jobs: Option<u32>,
    /// About how many bytes of a table one stored object holds.
    #[serde(default)]
    pub chunk_bytes: Option<ByteSize>,
    /// Back up what can be read and name the rest in the manifest, instead of failing.
    #[serde(default)]
    pub allow_unreadable: bool,
}

/// How to reach a Redis server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisSource {
    /// `redis://host:6379`, or `rediss://` for TLS.
    pub url: SecretText,
    /// The user, where the server has more than the default one.
    #[serde(default)]
    pub username: Option<Text>,
    /// The password. Prefer `password_file`, `password_command` or `${env:NAME}`.
    #[serde(default)]
    pub password: Option<SecretText>,
    /// A file whose first line is the password.
    #[serde(default)]
    pub password_file: Option<Text>,
    /// A command, as a list of program and arguments, whose first line of output is the password.
    #[serde(default)]
    pub password_command: Option<Vec<Text>>,
    /// A file of PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<Text>,
    /// A file of PEM certificates that shows who we are, where the server asks for one; with `client_key_file`.
    #[serde(default)]
    pub client_cert_file: Option<Text>,
    /// The private key of `client_cert_file`, PEM.
    #[serde(default)]
    pub client_key_file: Option<Text>,
    /// How the data is read; the best way that the server allows by default.
    #[serde(default)]
    pub mode: RedisMode,
    /// How it is restored.
    #[serde(default)]
    pub restore: RedisRestoreSettings,
}

/// How a Redis server is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RedisMode {
    /// The best way that the server allows.
    #[default]
    Auto,
    /// As a replica, by way of the server's disk.
    Disk,
    /// As a replica, from the server's memory.
    Diskless,
    /// Key by key: no single instant.
    Scan,
}

/// How a Redis server is restored.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisRestoreSettings {
    /// How the data reach the server; the best way that it allows by default.
    #[serde(default)]
    pub way: RedisRestoreWay,
    /// `host:port` that the server is told to replicate from, when it is not the address it sees us at.
    #[serde(default)]
    pub advertise: Option<Text>,
    /// `address:port` to listen on for that, when it is not the advertised one.
    #[serde(default)]
    pub bind: Option<Text>,
    /// The certificate shown to a server that replicates over TLS, PEM; with `tls_key_file`.
    #[serde(default)]
    pub tls_certificate_file: Option<Text>,
    /// The private key of `tls_certificate_file`, PEM.
    #[serde(default)]
    pub tls_key_file: Option<Text>,
    /// The sentinels to hold back while the server is restored.
    #[serde(default)]
    pub sentinel: Option<RedisSentinels>,
    /// What happens to a key that exists, when single keys are restored.
    #[serde(default)]
    pub on_conflict: RedisConflict,
    /// What becomes of expiries, when keys are restored one by one.
    #[serde(default)]
    pub ttl: RedisTtl,
    /// Give payloads the version of an older server, and see whether it takes them.
    #[serde(default)]
    pub allow_downgrade: bool,
    /// The container that runs the server, for restoring by its files.
    #[serde(default)]
    pub container: Option<Text>,
    /// The redis-server program for scratch restores; looked for in PATH by default.
    #[serde(default)]
    pub redis_server: Option<Text>,
}

/// The way a Redis restore takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RedisRestoreWay {
    /// The best that the server allows.
    #[default]
    Auto,
    /// The server replicates from us, once.
    Replication,
    /// Key by key.
    Keys,
    /// By its files, and a restart.
    File,
}

/// What happens to a key that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RedisConflict {
    /// The backup's value replaces it.
    #[default]
    Replace,
    /// It stays as it is.
    Skip,
}

/// What becomes of expiries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RedisTtl {
    /// The same instant as before.
    #[default]
    Keep,
    /// As long to live as at the time of the backup.
    Shift,
    /// Keys do not expire.
    Strip,
}

/// The sentinels that watch a Redis server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisSentinels {
    /// The name they know it by.
    pub master: Text,
    /// All of them: `redis://host:26379`.
    #[schemars(length(min = 1))]
    pub urls: Vec<SecretText>,
}

/// Folders and files; which ones is said by `backup.<name>.include`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FilesSource {
    /// Back up what can be read and name the rest in the manifest, instead of failing.
    #[serde(default)]
    pub allow_unreadable: bool,
    /// Accept files that change while they are read, as log files do: each is named in the manifest.
    #[serde(default)]
    pub allow_changed: bool,
    /// Stay on the file system of each included path.
    #[serde(default)]
    pub one_file_system: bool,
    /// How many streams read at once; the machine's cores by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = 64))]
    pub jobs: Option<u32>,
    /// After how many backups that build on another a full one is made; 30 by default, 0 for always full.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub full_every: Option<u32>,
}
