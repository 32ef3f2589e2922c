//! PostgreSQL: one session, at the address of the site that is meant.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_postgres::{
    Client, NoTls,
    config::{Host, SslMode},
    error::SqlState,
};
use tokio_postgres_rustls::MakeRustlsConnect;
use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Result, SecretString};

use crate::trust::Trust;

/// The text form of a value depends on nothing but the value, and no name on a search path.
const SESSION: &str = "SET search_path = ''; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; \
     SET extra_float_digits = 3; SET TimeZone = 'UTC'; SET lc_monetary = 'C'; SET bytea_output = 'hex'; \
     SET standard_conforming_strings = on; SET row_security = off; SET client_encoding = 'UTF8'";

const CONNECT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TlsMode {
    Disable,
    Prefer,
    Require,
    Verify,
}

/// Where a PostgreSQL database is and how to get in.
///
/// ```
/// use veza_dr_failover::reach::PostgresAccess;
/// let access = PostgresAccess::parse("postgres://veza_user@db.veza.com:5432/veza_db")?.at("192.0.2.20");
/// assert_eq!(access.location(), "postgres://192.0.2.20:5432/veza_db");
/// # Ok::<(), veza_dr_core::Error>(())
/// ```
#[derive(Clone)]
pub struct PostgresAccess {
    host: Host,
    /// Connected to instead of the host, whose name the certificate still must have.
    address: Option<IpAddr>,
    port: u16,
    user: String,
    database: String,
    password: Option<SecretString>,
    tls: TlsMode,
    ca_file: Option<PathBuf>,
}

impl std::fmt::Debug for PostgresAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresAccess").field("location", &self.location()).finish_non_exhaustive()
    }
}

impl PostgresAccess {
    /// Reads `postgres://user@host:port/database?sslmode=verify-full`.
    ///
    /// # Errors
    /// `Config` saying what is wrong; the address is not repeated, it may hold a password.
    pub fn parse(url: &str) -> Result<Self> {
        let bad = |why: String| {
            Error::new(ErrorKind::Config, format!("the PostgreSQL url {why}"))
                .with_help("write it as postgres://user@host:5432/database")
        };
        // The driver does not know the stricter modes of libpq.
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (modes, rest): (Vec<&str>, Vec<&str>) =
            query.split('&').filter(|p| !p.is_empty()).partition(|p| p.starts_with("sslmode="));
        let mode = match modes.last().map_or("prefer", |m| &m["sslmode=".len()..]) {
            "disable" => TlsMode::Disable,
            "allow" | "prefer" => TlsMode::Prefer,
            "require" => TlsMode::Require,
            "verify-ca" | "verify-full" => TlsMode::Verify,
            other => return Err(bad(format!("has the sslmode `{other}`, which does not exist"))),
        };
        let config: tokio_postgres::Config = format!("{base}?{}", rest.join("&"))
            .parse()
            .map_err(|e: tokio_postgres::Error| bad(format!("cannot be read: {e}")))?;
        let host = match config.get_hosts() {
            [] => Host::Tcp("localhost".to_owned()),
            [one] => one.clone(),
            _ => return Err(bad("names several hosts".to_owned())),
        };
        let user = config.get_user().ok_or_else(|| bad("names no user".to_owned()))?.to_owned();
        Ok(Self {
            host,
            address: config.get_hostaddrs().first().copied(),
            port: config.get_ports().first().copied().unwrap_or(5432),
            database: config.get_dbname().unwrap_or(&user).to_owned(),
            password: config.get_password().map(|p| SecretString::from(String::from_utf8_lossy(p).into_owned())),
            user,
            tls: mode,
            ca_file: None,
        })
    }

    /// A database by its parts.
    #[must_use]
    pub fn new(host: &str, port: u16, user: &str, database: &str) -> Self {
        Self {
            host: Host::Tcp(host.to_owned()),
            address: None,
            port,
            user: user.to_owned(),
            database: database.to_owned(),
            password: None,
            tls: TlsMode::Prefer,
            ca_file: None,
        }
    }

    /// The same database at another host. An address keeps the name that a certificate must have.
    #[must_use]
    pub fn at(mut self, host: &str) -> Self {
        match host.parse() {
            Ok(address) => self.address = Some(address),
            Err(_) => (self.host, self.address) = (Host::Tcp(host.to_owned()), None),
        }
        self
    }

    /// The same database where it answers at an address and port of its own. A certificate must have the name all the
    /// same.
    #[must_use]
    pub fn at_address(mut self, to: SocketAddr) -> Self {
        (self.address, self.port) = (Some(to.ip()), to.port());
        self
    }

    /// Its port; `None` for a socket in a folder.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        matches!(self.host, Host::Tcp(_)).then_some(self.port)
    }

    /// Another database of the same server.
    #[must_use]
    pub fn in_database(mut self, database: impl Into<String>) -> Self {
        self.database = database.into();
        self
    }

    /// Logs in with this password.
    #[must_use]
    pub fn with_password(mut self, password: SecretString) -> Self {
        self.password = Some(password);
        self
    }

    /// Trusts the authorities of this PEM file instead of the system's, where certificates are looked at at all.
    #[must_use]
    pub fn with_ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// Demands TLS with a certificate that is right for the host's name.
    #[must_use]
    pub fn verified(mut self) -> Self {
        self.tls = TlsMode::Verify;
        self
    }

    /// Where this is, without credentials.
    #[must_use]
    pub fn location(&self) -> String {
        match (&self.address, &self.host) {
            (Some(address), _) => format!("postgres://{address}:{}/{}", self.port, self.database),
            (None, Host::Tcp(host)) => format!("postgres://{host}:{}/{}", self.port, self.database),
            (None, Host::Unix(path)) => format!("postgres:{}:{}/{}", path.display(), self.port, self.database),
        }
    }

    /// Opens a session with settings that make the text of every value the same everywhere.
    ///
    /// # Errors
    /// `Denied` for wrong credentials, `NotFound` for an unknown database, `Unavailable` when nothing answers.
    pub async fn connect(&self, cx: &Cx) -> Result<PostgresSession> {
        let what = format!("connect to {}", self.location());
        let mut config = tokio_postgres::Config::new();
        config.port(self.port).user(&self.user).dbname(&self.database).application_name("veza-dr validate");
        config.connect_timeout(CONNECT).keepalives(true).keepalives_idle(Duration::from_secs(30));
        match &self.host {
            Host::Tcp(host) => config.host(host),
            Host::Unix(path) => config.host_path(path),
        };
        if let Some(address) = self.address {
            config.hostaddr(address);
        }
        if let Some(password) = &self.password {
            config.password(password.expose_secret());
        }
        let (client, task) = match self.tls {
            TlsMode::Disable => {
                config.ssl_mode(SslMode::Disable);
                let opened = async { config.connect(NoTls).await.map_err(|e| pg_error(&what, e)) };
                let (client, connection) = cx.run(&what, opened).await?;
                (client, tokio::spawn(drive(connection)))
            }
            mode => {
                config.ssl_mode(if mode == TlsMode::Prefer { SslMode::Prefer } else { SslMode::Require });
                let verify = mode == TlsMode::Verify;
                let trust = if verify { Trust::of_file_or_system(self.ca_file.as_deref())? } else { Trust::anybody()? };
                let tls = rustls::ClientConfig::clone(trust.config());
                let opened =
                    async { config.connect(MakeRustlsConnect::new(tls)).await.map_err(|e| pg_error(&what, e)) };
                let (client, connection) = cx.run(&what, opened).await?;
                (client, tokio::spawn(drive(connection)))
            }
        };
        let session = PostgresSession { client, task };
        cx.run(&what, async { session.client.batch_execute(SESSION).await.map_err(|e| pg_error(&what, e)) }).await?;
        Ok(session)
    }
}

async fn drive<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    // How it ended reaches whoever waits for an answer.
    let _ = connection.await;
}

/// One session. Dropping it closes the connection, which ends what it was doing.
#[derive(Debug)]
pub struct PostgresSession {
    client: Client,
    task: JoinHandle<()>,
}

impl PostgresSession {
    /// The driver's client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the server is a standby: it takes no write, of anyone.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn is_standby(&self) -> Result<bool> {
        let asked = self.client.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[]).await;
        Ok(asked.map_err(|e| pg_error("ask whether the server is a standby", e))?.get(0))
    }
}

impl Drop for PostgresSession {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A driver's error met while doing `what`, classed.
pub(crate) fn pg_error(what: &str, error: tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        let text = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let denied = text.contains("password missing") || text.contains("authentication");
        let kind = if denied { ErrorKind::Denied } else { ErrorKind::Unavailable };
        return Error::new(kind, format!("{what}: connection to PostgreSQL failed"))
            .with_source(error)
            .with_help("is the server up and reachable from here?");
    };
    let (code, text) = (db.code(), format!("{what}: {} (SQLSTATE {})", db.message(), db.code().code()));
    let error = match code.code() {
        "28P01" | "28000" => Error::new(ErrorKind::Denied, text).with_help("check user, password_file and pg_hba.conf"),
        "42501" => Error::new(ErrorKind::Denied, text).with_help("the role lacks a privilege: GRANT it"),
        "3D000" | "42P01" | "42703" | "3F000" => Error::new(ErrorKind::NotFound, text),
        "53100" => Error::new(ErrorKind::Full, text),
        "25006" => Error::new(ErrorKind::Conflict, text).with_help("the server takes no writes: promote it"),
        state if state.starts_with("08") || state.starts_with("57P0") || *code == SqlState::TOO_MANY_CONNECTIONS => {
            Error::new(ErrorKind::Unavailable, text)
        }
        _ => Error::new(ErrorKind::Unexpected, text),
    };
    match db.detail() {
        Some(detail) => error.with_source(detail.to_owned()),
        None => error,
    }
}
