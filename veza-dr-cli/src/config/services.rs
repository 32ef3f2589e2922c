//! `services:`, `network:` and `disks:` what is looked at to tell how things are.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{ByteSize, SecretText, Span, Text};

/// One service of the sites.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ServiceSettings {
    /// A short name for commands: `veza-dr recover api`.
    #[serde(default)]
    pub alias: Option<String>,
    /// What it is for; `database` with a postgres probe, `cache` with a redis probe, else `backend`.
    #[serde(default)]
    pub kind: Option<ServiceKindName>,
    /// The sites that run it; all where it is left out.
    #[serde(default)]
    pub sites: Option<Vec<String>>,
    /// How it is looked at. The host is the site's `address`.
    #[serde(default)]
    pub probes: Vec<ProbeSettings>,
}

/// What a service is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServiceKindName {
    /// It serves users and keeps no data.
    Backend,
    /// It keeps the data.
    Database,
    /// It keeps what can be made again.
    Cache,
}

/// One way to look at a service.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ProbeSettings {
    /// What the site's container engine says of it.
    Docker(DockerProbeSettings),
    /// Whether a port takes connections.
    Tcp(TcpProbeSettings),
    /// Whether an HTTP answer is as it should be.
    Http(Box<HttpProbeSettings>),
    /// Whether a WebSocket lets us in and answers.
    Websocket(Box<WebSocketProbeSettings>),
    /// Whether a PostgreSQL server answers queries.
    Postgres(Box<PostgresProbeSettings>),
    /// Whether a Redis server answers.
    Redis(Box<RedisProbeSettings>),
}

/// What the site's container engine says of a service.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DockerProbeSettings {
    /// How long to wait; what `assess --deadline` says by default.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// Whether a port takes connections.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TcpProbeSettings {
    /// The port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Another host than the site's address.
    #[serde(default)]
    pub host: Option<Text>,
    /// How long to wait; what `assess --deadline` says by default.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// Whether an HTTP answer is as it should be.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpProbeSettings {
    /// The public URL: its name goes into the request and the certificate's check, while the connection goes to the
    /// site's address. Instead of `port` and `path`.
    #[serde(default)]
    pub url: Option<SecretText>,
    /// The port at the site's address, without TLS.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The path there; `/` by default.
    #[serde(default)]
    pub path: Option<Text>,
    /// The status expected; any from 200 to 299 by default.
    #[serde(default)]
    #[schemars(range(min = 100, max = 599))]
    pub status: Option<u16>,
    /// Text that the answer must contain.
    #[serde(default)]
    pub contains: Option<Text>,
    /// Values that the answer must have as JSON: `checks.database: up`.
    #[serde(default)]
    pub json: std::collections::BTreeMap<String, Text>,
    /// The header in which the service tells its site's name: another site's answer counts as down.
    #[serde(default)]
    pub site_header: Option<Text>,
    /// The place in its JSON answer where it tells its site's name.
    #[serde(default)]
    pub site_field: Option<Text>,
    /// A certificate valid for fewer days is degraded; 14 by default.
    #[serde(default)]
    #[schemars(range(max = 825))]
    pub certificate_days: Option<u32>,
    /// A file whose first line is a bearer token.
    #[serde(default)]
    pub token_file: Option<Text>,
    /// A file of PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<Text>,
    /// How long to wait; what `assess --deadline` says by default.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// Whether a WebSocket lets us in and answers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WebSocketProbeSettings {
    /// The public URL: `wss://chat.veza.com/chat`; the connection goes to the site's address. Instead of `port` and
    /// `path`.
    #[serde(default)]
    pub url: Option<SecretText>,
    /// The port at the site's address, without TLS.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The path there; `/` by default.
    #[serde(default)]
    pub path: Option<Text>,
    /// A file whose first line is a bearer token.
    #[serde(default)]
    pub token_file: Option<Text>,
    /// Send a text that must come back, instead of a ping; for services that echo.
    #[serde(default)]
    pub echo: bool,
    /// A file of PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<Text>,
    /// How long to wait; what `assess --deadline` says by default.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// Whether a PostgreSQL server answers queries.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresProbeSettings {
    /// The port; 5432 by default.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Another host than the site's address.
    #[serde(default)]
    pub host: Option<Text>,
    /// Who logs in.
    pub user: Text,
    /// The database.
    pub database: Text,
    /// The password. Prefer `password_file`, `password_command` or `${env:NAME}`.
    #[serde(default)]
    pub password: Option<SecretText>,
    /// A file whose first line is the password.
    #[serde(default)]
    pub password_file: Option<Text>,
    /// A command, as a list of program and arguments, whose first line of output is the password.
    #[serde(default)]
    pub password_command: Option<Vec<Text>>,
    /// Insist on TLS, with a certificate that these PEM certificates vouch for.
    #[serde(default)]
    pub ca_file: Option<Text>,
    /// Whether it must be a standby in recovery (true) or take writes (false); not looked at where it is left out.
    #[serde(default)]
    pub in_recovery: Option<bool>,
    /// How far behind a standby may be.
    #[serde(default)]
    pub max_lag: Option<Span>,
    /// A row that something writes regularly.
    #[serde(default)]
    pub heartbeat: Option<HeartbeatSettings>,
    /// How long to wait; what `assess --deadline` says by default.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// A row that something writes regularly.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HeartbeatSettings {
    /// Its table: `ops.heartbeat`.
    pub table: Text,
    /// The `timestamptz` column.
    pub column: Text,
    /// How old its newest value may be.
    pub max_age: Span,
}

/// Whether a Redis server answers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisProbeSettings {
    /// The port; 6379 by default.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Another host than the site's address.
    #[serde(default)]
    pub host: Option<Text>,
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
    /// Speak TLS, with a certificate that these PEM certificates vouch for.
    #[serde(default)]
    pub ca_file: Option<Text>,
    /// Whether it must be a replica (true) or a master (false); not looked at where it is left out.
    #[serde(default)]
    pub replica: Option<bool>,
    /// How long to wait; what `assess --deadline` says by default.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// One way to see whether this machine reaches the world.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum NetworkSettings {
    /// Whether a name resolves.
    Dns(DnsProbeSettings),
    /// Whether a machine answers an echo request.
    Icmp(IcmpProbeSettings),
    /// Whether a port takes connections.
    Tcp(NetworkTcpSettings),
}

/// Whether a name resolves.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DnsProbeSettings {
    /// The name.
    pub name: Text,
    /// The servers to ask, as addresses with or without a port; this machine's where it is left out.
    #[serde(default)]
    pub servers: Vec<Text>,
}

/// Whether a machine answers an echo request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct IcmpProbeSettings {
    /// The machine.
    pub host: Text,
}

/// Whether a port takes connections.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NetworkTcpSettings {
    /// The host.
    pub host: Text,
    /// The port.
    #[schemars(range(min = 1))]
    pub port: u16,
}

/// How much room a file system of this machine must have.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DiskSettings {
    /// Any path on it.
    pub path: Text,
    /// How much must be free: `10%`, or a size such as `20GiB`; 10% by default.
    #[serde(default)]
    pub free: Option<String>,
    /// How many of its inodes must be free: `5%`; 5% by default.
    #[serde(default)]
    pub inodes: Option<String>,
}

impl DiskSettings {
    /// `10%` as parts of a hundred, or a size in bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn room(text: &str) -> Result<veza_dr_failover::probe::Room, String> {
        use veza_dr_failover::probe::Room;
        let bad = || format!("`{text}` is neither a share such as 10% nor a size such as 20GiB");
        match text.trim().strip_suffix('%') {
            Some(share) => {
                let share: f64 = share.trim().parse().map_err(|_| bad())?;
                if (0.0..=100.0).contains(&share) { Ok(Room::Percent(share)) } else { Err(bad()) }
            }
            None => text.parse::<ByteSize>().map(|size| Room::Units(size.bytes())).map_err(|_| bad()),
        }
    }
}
