//! Redis: one connection, at the address of the site that is meant.

use std::{path::PathBuf, time::Duration};

use fred::{
    clients::Client,
    error::ErrorKind as RedisErrorKind,
    interfaces::ClientLike,
    types::{
        Builder, ClusterHash, CustomCommand, Value,
        config::{Config, Server, ServerConfig, TlsConnector},
    },
};
use url::Url;
use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Result, SecretString};

use crate::trust::Trust;

const CONNECT: Duration = Duration::from_secs(10);

/// Where a Redis server is and how to get in.
///
/// ```
/// use veza_dr_failover::reach::RedisAccess;
/// let access = RedisAccess::parse("rediss://cache.veza.com:6380")?;
/// assert_eq!(access.location(), "rediss://cache.veza.com:6380");
/// # Ok::<(), veza_dr_core::Error>(())
/// ```
#[derive(Clone)]
pub struct RedisAccess {
    host: String,
    port: u16,
    tls: bool,
    username: Option<String>,
    password: Option<SecretString>,
    ca_file: Option<PathBuf>,
}

impl std::fmt::Debug for RedisAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisAccess").field("location", &self.location()).finish_non_exhaustive()
    }
}

impl RedisAccess {
    /// Reads `redis://host:port`, or `rediss://` for TLS.
    ///
    /// # Errors
    /// `Config` saying what is wrong. A password in it is refused, and not repeated.
    pub fn parse(url: &str) -> Result<Self> {
        let bad = |why: String| {
            Error::new(ErrorKind::Config, format!("the Redis url {why}"))
                .with_help("write it as redis://host:6379, or rediss:// for TLS")
        };
        let url = Url::parse(url).map_err(|e| bad(format!("cannot be read: {e}")))?;
        let tls = match url.scheme() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            other => return Err(bad(format!("has the scheme `{other}`"))),
        };
        if url.password().is_some() || !url.username().is_empty() {
            return Err(bad("holds credentials".to_owned()).with_help("give them by username and password_file"));
        }
        let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| bad("names no host".to_owned()))?;
        let (host, port) = (host.trim_matches(['[', ']']).to_owned(), url.port().unwrap_or(6379));
        Ok(Self { host, port, tls, username: None, password: None, ca_file: None })
    }

    /// A server without TLS, by its parts.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, tls: false, username: None, password: None, ca_file: None }
    }

    /// The same server at another host.
    #[must_use]
    pub fn at(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// The same server where it answers at an address and port of its own.
    #[must_use]
    pub fn at_address(mut self, to: std::net::SocketAddr) -> Self {
        (self.host, self.port) = (to.ip().to_string(), to.port());
        self
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Logs in so; without a name as the default user.
    #[must_use]
    pub fn with_login(mut self, username: Option<String>, password: SecretString) -> Self {
        (self.username, self.password) = (username, Some(password));
        self
    }

    /// Trusts the authorities of this PEM file instead of the system's.
    #[must_use]
    pub fn with_ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// Where this is, without credentials.
    #[must_use]
    pub fn location(&self) -> String {
        format!("{}://{}:{}", if self.tls { "rediss" } else { "redis" }, self.host, self.port)
    }

    /// Connects and logs in.
    pub(crate) async fn connect(&self, cx: &Cx) -> Result<RedisSession> {
        let what = format!("connect to {}", self.location());
        let tls = if self.tls { Some(Trust::of_file_or_system(self.ca_file.as_deref())?) } else { None };
        let config = Config {
            server: ServerConfig::Centralized { server: Server::new(self.host.clone(), self.port) },
            username: self.username.clone(),
            password: self.password.as_ref().map(|p| p.expose_secret().to_owned()),
            tls: tls.map(|c| TlsConnector::Rustls(c.config().clone().into()).into()),
            fail_fast: true,
            ..Config::default()
        };
        let mut builder = Builder::from_config(config);
        builder
            .with_connection_config(|c| {
                (c.connection_timeout, c.internal_command_timeout) = (CONNECT, CONNECT);
                (c.auto_client_setname, c.disable_cluster_health_check) = (false, true);
                (c.max_command_attempts, c.reconnect_on_auth_error) = (1, false);
            })
            .with_performance_config(|c| c.default_command_timeout = CONNECT);
        // Made first, so that a failure or cancellation ends the driver's task as well.
        let session = RedisSession { client: builder.build().map_err(|e| driver_error(&what, e))? };
        cx.run(&what, async { session.client.init().await.map_err(|e| driver_error(&what, e)) }).await?;
        Ok(session)
    }
}

/// A connection. It ends with its value.
pub(crate) struct RedisSession {
    client: Client,
}

impl Drop for RedisSession {
    fn drop(&mut self) {
        // The driver's own task would hold the connection open.
        let client = self.client.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { client.quit().await });
        }
    }
}

impl RedisSession {
    /// Sends one command; the server's refusal is an `Err` whose message begins with its code.
    pub(crate) async fn call(&self, name: &'static str, arguments: Vec<&str>) -> Result<Value> {
        let command = CustomCommand::new_static(name, ClusterHash::FirstKey, false);
        let arguments: Vec<Value> = arguments.into_iter().map(Value::from).collect();
        self.client.custom(command, arguments).await.map_err(|e| driver_error(name, e))
    }
}

fn driver_error(what: &str, e: fred::error::Error) -> Error {
    let detail = e.details().to_owned();
    let kind = match e.kind() {
        RedisErrorKind::Auth => ErrorKind::Denied,
        RedisErrorKind::IO | RedisErrorKind::Timeout | RedisErrorKind::Canceled => ErrorKind::Unavailable,
        _ if detail.starts_with("READONLY") || detail.contains("NOREPLICAS") => ErrorKind::Conflict,
        _ if detail.starts_with("NOPERM") || detail.starts_with("NOAUTH") || detail.starts_with("WRONGPASS") => {
            ErrorKind::Denied
        }
        _ if detail.starts_with("LOADING") || detail.starts_with("MASTERDOWN") => ErrorKind::Unavailable,
        _ if detail.starts_with("OOM") || detail.starts_with("MISCONF") => ErrorKind::Full,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, format!("{what}: {detail}"))
}
