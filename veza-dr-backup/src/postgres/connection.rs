//! One place that connects: address pinned once, TLS, session settings that make text output the same everywhere.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls, config::Host};
use tokio_util::sync::CancellationToken;
use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Result, SecretString};

use super::{
    PostgresConfig,
    errors::{pg_error, sql_state},
    tls,
};

/// What every session of ours sets, on the side that is read and on the side that is written: with these, the text
/// form of a value depends on nothing but the value. Timeouts are off; limits are ours to set.
///
/// Sources: `setup_connection` and `_doSetFixedOutputState` in PostgreSQL's pg_dump; time zone and `lc_monetary` are
/// set besides, because `timestamptz` and `money` print by them.
pub const SESSION_SETTINGS: &str = "SET search_path = ''; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; \
     SET extra_float_digits = 3; SET TimeZone = 'UTC'; SET lc_monetary = 'C'; SET bytea_output = 'hex'; \
     SET xmloption = 'content'; SET standard_conforming_strings = on; SET row_security = off; \
     SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
     SET synchronize_seqscans = off; SET check_function_bodies = false; SET quote_all_identifiers = off; \
     SET max_parallel_workers_per_gather = 0; SET jit = off; SET array_nulls = on; \
     SET default_transaction_read_only = off";

/// Sent with the connection itself, so that a limit set on the database or role does not end the very statement that
/// lifts it. All majors know these.
const STARTUP_OPTIONS: &str = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0";

/// Besides those, where a session was ended before it could lift the limit itself; not every major knows them, and a
/// server refuses a session that names what it does not know.
const NEWER_STARTUP_OPTIONS: [&str; 3] =
    ["", " -c idle_session_timeout=0", " -c idle_session_timeout=0 -c transaction_timeout=0"];

/// Settings that only some majors know, or that a role may not set.
const OPTIONAL_SETTINGS: &str = "SELECT pg_catalog.set_config(name, CASE name \
         WHEN 'restrict_nonsystem_relation_kind' THEN 'view, foreign-table' ELSE '0' END, false) \
     FROM pg_catalog.pg_settings \
     WHERE name IN ('transaction_timeout', 'idle_session_timeout', 'restrict_nonsystem_relation_kind')";

/// A server and database, resolved and pinned to one address, so that every connection meets the same server.
#[derive(Clone)]
pub struct Endpoint {
    base: tokio_postgres::Config,
    host: Host,
    address: Option<IpAddr>,
    port: u16,
    user: String,
    database: String,
    password: Option<SecretString>,
    tls: tls::TlsMode,
    ca_file: Option<PathBuf>,
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
    /// `Config` saying what is wrong with the URL; the URL itself is not shown, it may hold a password.
    pub fn parse(config: &PostgresConfig) -> Result<Self> {
        let (url, sslmode, rootcert) = split_ssl(config.url.expose_secret());
        let tls = sslmode.as_deref().map_or(Ok(tls::TlsMode::Prefer), tls::TlsMode::parse)?;
        let base: tokio_postgres::Config = url.parse().map_err(|e: tokio_postgres::Error| {
            Error::new(ErrorKind::Config, format!("the PostgreSQL url cannot be read: {e}"))
                .with_help("write it as postgres://user@host:5432/database")
        })?;
        let host = match base.get_hosts() {
            [] => Host::Tcp("localhost".to_owned()),
            [one] => one.clone(),
            _ => {
                return Err(Error::new(ErrorKind::Config, "the PostgreSQL url names several hosts")
                    .with_help("name one: a snapshot lives on one server only (docs/postgres.md, trap T6)"));
            }
        };
        let user = base
            .get_user()
            .map(str::to_owned)
            .ok_or_else(|| Error::new(ErrorKind::Config, "the PostgreSQL url names no user"))?;
        let database = base.get_dbname().unwrap_or(&user).to_owned();
        let inline = base.get_password().map(|p| SecretString::from(String::from_utf8_lossy(p).into_owned()));
        Ok(Self {
            host,
            address: base.get_hostaddrs().first().copied(),
            port: base.get_ports().first().copied().unwrap_or(5432),
            user,
            database,
            password: config.password.clone().or(inline),
            tls,
            ca_file: config.ca_file.clone().or(rootcert.map(PathBuf::from)),
            base,
        })
    }

    /// Resolves the host name once. Connections made from the result all go to that address.
    ///
    /// # Errors
    /// `Unavailable` when the name does not resolve or nothing answers at any of its addresses.
    pub async fn pin(mut self, cx: &Cx) -> Result<Self> {
        let Host::Tcp(name) = &self.host else { return Ok(self) };
        if self.address.is_some() {
            return Ok(self);
        }
        let what = format!("resolve {name}");
        let lookup = async {
            let found = tokio::net::lookup_host((name.as_str(), self.port)).await;
            found
                .map(Iterator::collect::<Vec<_>>)
                .map_err(|e| Error::new(ErrorKind::Unavailable, format!("host {name} does not resolve")).with_source(e))
        };
        let mut last = None;
        for address in cx.run(&what, lookup).await? {
            let connect = tokio::time::timeout(Duration::from_secs(5), tokio::net::TcpStream::connect(address));
            match cx.run(&what, async { Ok(connect.await) }).await? {
                Ok(Ok(_)) => {
                    self.address = Some(address.ip());
                    return Ok(self);
                }
                Ok(Err(e)) => last = Some(format!("{address}: {e}")),
                Err(_) => last = Some(format!("{address}: no answer within 5 s")),
            }
        }
        let text = format!("no PostgreSQL answers at {name}:{}", self.port);
        let error = Error::new(ErrorKind::Unavailable, text);
        Err(error.with_source(last.unwrap_or_default()).with_help("is the server up? check host and port of the url"))
    }

    /// The same server, another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        Self { database: database.to_owned(), ..self.clone() }
    }

    /// True when a password is known.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The role that connects.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Where this is, without credentials.
    #[must_use]
    pub fn location(&self) -> String {
        match &self.host {
            Host::Tcp(host) => format!("postgres://{host}:{}/{}", self.port, self.database),
            Host::Unix(path) => format!("postgres:{}:{}/{}", path.display(), self.port, self.database),
        }
    }

    /// What client tools read from their environment: never argv, which every user of the machine can see.
    pub(crate) fn environment(&self) -> (BTreeMap<&'static str, String>, Option<SecretString>) {
        let mut env = BTreeMap::new();
        match &self.host {
            Host::Tcp(host) => env.insert("PGHOST", host.clone()),
            Host::Unix(path) => env.insert("PGHOST", path.display().to_string()),
        };
        if let Some(address) = self.address {
            env.insert("PGHOSTADDR", address.to_string());
        }
        env.insert("PGPORT", self.port.to_string());
        env.insert("PGUSER", self.user.clone());
        env.insert("PGDATABASE", self.database.clone());
        env.insert("PGSSLMODE", self.tls.as_libpq().to_owned());
        if self.tls == tls::TlsMode::VerifyFull {
            // libpq has no system store before 16: an explicit file works with all.
            let file = self.ca_file.as_deref().unwrap_or(Path::new("/etc/ssl/certs/ca-certificates.crt"));
            env.insert("PGSSLROOTCERT", file.display().to_string());
        }
        env.insert("PGCONNECT_TIMEOUT", "10".to_owned());
        (env, self.password.clone())
    }

    /// Connects and sets [`SESSION_SETTINGS`].
    ///
    /// # Errors
    /// `Denied` for wrong credentials, `NotFound` for an unknown database, `Unavailable` when nothing answers.
    pub async fn connect(&self, cx: &Cx, role: &str) -> Result<Connection> {
        let what = format!("connect to {}", self.location());
        let mut ended = None;
        for newer in NEWER_STARTUP_OPTIONS {
            let connection = match (self.open(cx, role, &what, newer).await, ended) {
                (Ok(connection), _) => connection,
                // The server does not know the option: how it ended the session before stands.
                (Err(_), Some(earlier)) => return Err(earlier),
                (Err(e), None) => return Err(e),
            };
            let set_up = async {
                connection.client.batch_execute(SESSION_SETTINGS).await?;
                connection.client.batch_execute(OPTIONAL_SETTINGS).await
            };
            match cx.run(&what, async { Ok(set_up.await) }).await? {
                Ok(()) => return Ok(connection),
                Err(e) if ended_by_timeout(&e) => ended = Some(pg_error(&what, e)),
                Err(e) => return Err(pg_error(&what, e)),
            }
        }
        Err(ended.unwrap_or_else(|| Error::new(ErrorKind::Unavailable, format!("{what}: no session lasted"))))
    }

    /// Connects, with these options at the start of the session.
    async fn open(&self, cx: &Cx, role: &str, what: &str, newer: &str) -> Result<Connection> {
        let mut config = self.base.clone();
        config.application_name(format!("veza-dr {role}"));
        let options = format!("{} {STARTUP_OPTIONS}{newer}", config.get_options().unwrap_or_default());
        config.options(options.trim());
        config.dbname(&self.database).connect_timeout(Duration::from_secs(10));
        config.keepalives(true).keepalives_idle(Duration::from_secs(30));
        if let Some(address) = self.address {
            // The driver pairs hosts with addresses by position; an address already in the url is kept.
            if config.get_hostaddrs().is_empty() {
                if config.get_hosts().is_empty() {
                    config.host("localhost");
                }
                config.hostaddr(address);
            }
        }
        if let Some(password) = &self.password {
            config.password(password.expose_secret());
        }
        let closed = CancellationToken::new();
        let (client, task) = match self.tls {
            tls::TlsMode::Disable => {
                config.ssl_mode(tokio_postgres::config::SslMode::Disable);
                let connect = async { config.connect(NoTls).await.map_err(|e| pg_error(what, e)) };
                let (client, connection) = cx.run(what, connect).await?;
                (client, drive(connection, closed.clone()))
            }
            mode => {
                use tokio_postgres::config::SslMode;
                config.ssl_mode(if mode == tls::TlsMode::Prefer { SslMode::Prefer } else { SslMode::Require });
                let connector = tls::connector(mode, self.ca_file.as_deref())?;
                let connect = async { config.connect(connector).await.map_err(|e| pg_error(what, e)) };
                let (client, connection) = cx.run(what, connect).await?;
                (client, drive(connection, closed.clone()))
            }
        };
        Ok(Connection { client: Arc::new(client), closed, task })
    }
}

/// Whether the session was ended under us, as a timeout for idle sessions (57P05) or transactions (25P04) does. The
/// driver mostly sees no more than that it is gone.
fn ended_by_timeout(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || sql_state(error).is_some_and(|s| matches!(s.code(), "57P05" | "25P04"))
}

fn drive<S, T>(connection: tokio_postgres::Connection<S, T>, closed: CancellationToken) -> JoinHandle<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        // How it ended reaches whoever is waiting on the client as that query's error.
        let _ = connection.await;
        closed.cancel();
    })
}

/// A live connection. Dropping it closes the session, which ends what it was doing.
#[derive(Debug)]
pub struct Connection {
    client: Arc<Client>,
    closed: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// The driver's client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Cancelled when the session is gone.
    #[must_use]
    pub fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Runs statements whose rows are of no interest.
    ///
    /// # Errors
    /// As [`super::pg_error`] classifies them, naming `what`.
    pub async fn execute(&self, cx: &Cx, what: &str, sql: &str) -> Result<()> {
        cx.run(what, async { self.client.batch_execute(sql).await.map_err(|e| pg_error(what, e)) }).await
    }

    /// Runs a query and gives all its rows.
    ///
    /// # Errors
    /// As [`Connection::execute`].
    pub async fn query(
        &self,
        cx: &Cx,
        what: &str,
        sql: &str,
        params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>> {
        cx.run(what, async { self.client.query(sql, params).await.map_err(|e| pg_error(what, e)) }).await
    }

    /// Runs a query that gives exactly one row.
    ///
    /// # Errors
    /// As [`Connection::execute`]; also when there is not exactly one row.
    pub async fn query_one(
        &self,
        cx: &Cx,
        what: &str,
        sql: &str,
        params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<tokio_postgres::Row> {
        cx.run(what, async { self.client.query_one(sql, params).await.map_err(|e| pg_error(what, e)) }).await
    }

    /// The server's version as a number: 150018 for 15.18.
    ///
    /// # Errors
    /// As [`Connection::execute`].
    pub async fn version_number(&self, cx: &Cx) -> Result<u32> {
        let sql = "SELECT pg_catalog.current_setting('server_version_num')";
        let text: String = self.query_one(cx, "ask for the version", sql, &[]).await?.get(0);
        text.parse().map_err(|_| Error::new(ErrorKind::Unsupported, format!("server version `{text}` is not a number")))
    }
}

/// Takes `sslmode` and `sslrootcert` out of a URL or key-value string: the driver knows only some of their values.
fn split_ssl(url: &str) -> (String, Option<String>, Option<String>) {
    let (mut mode, mut root) = (None, None);
    if let Some((head, query)) = url.split_once('?').filter(|_| url.contains("://")) {
        let mut kept = Vec::new();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("sslmode", v)) => mode = Some(v.to_owned()),
                Some(("sslrootcert", v)) => root = Some(v.replace("%2F", "/")),
                _ => kept.push(pair),
            }
        }
        let tail = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
        return (format!("{head}{tail}"), mode, root);
    }
    if url.contains("://") {
        return (url.to_owned(), None, None);
    }
    let mut kept = Vec::new();
    for pair in url.split_whitespace() {
        match pair.split_once('=') {
            Some(("sslmode", v)) => mode = Some(v.to_owned()),
            Some(("sslrootcert", v)) => root = Some(v.to_owned()),
            _ => kept.push(pair),
        }
    }
    (kept.join(" "), mode, root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssl_settings_are_taken_out_of_both_forms() {
        let (url, mode, root) = split_ssl("postgres://u@h/d?sslmode=verify-full&connect_timeout=3&sslrootcert=%2Fca");
        assert_eq!(url, "postgres://u@h/d?connect_timeout=3");
        assert_eq!((mode.as_deref(), root.as_deref()), (Some("verify-full"), Some("/ca")));
        let (kv, mode, _) = split_ssl("host=h user=u sslmode=disable");
        assert_eq!((kv.as_str(), mode.as_deref()), ("host=h user=u", Some("disable")));
    }

    #[test]
    fn several_hosts_are_refused_and_passwords_never_shown() {
        let two = PostgresConfig::new("postgres://u:canary@a,b/d");
        let e = Endpoint::parse(&two).unwrap_err();
        assert!(e.to_string().contains("several hosts") && !format!("{e:?}").contains("canary"));
        let one = PostgresConfig::new("postgres://u:canary@a/d");
        assert!(!format!("{one:?} {:?}", Endpoint::parse(&one).unwrap()).contains("canary"));
    }
}
