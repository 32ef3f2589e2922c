//! Whether a PostgreSQL server answers queries, in the role it should have, and how far behind it is.

use std::{error::Error as StdError, time::Duration};

use async_trait::async_trait;
use tokio_postgres::{Client, NoTls, config::SslMode, error::SqlState, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;
use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Observation, Result, SecretString, ServiceProbe};

use super::{
    PATIENCE, Trust,
    connect::{address, connect, failed},
    look::{Contact, Seen, Stop, look},
    postgres_facts::{Facts, QUERY, identifier},
};

/// A row that something writes regularly: its age shows whether writes still arrive.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub(super) table: String,
    pub(super) column: String,
    pub(super) oldest: Duration,
}

impl Heartbeat {
    /// The newest value of a `timestamptz` column must not be older than this. The table may have a schema:
    /// `ops.heartbeat`.
    #[must_use]
    pub fn new(table: impl Into<String>, column: impl Into<String>, oldest: Duration) -> Self {
        Self { table: table.into(), column: column.into(), oldest }
    }
}

/// Logs in and asks. A server that does not answer, is starting up, or lacks the database is down; one in the wrong
/// role, too far behind or with an old heartbeat is degraded; a refused login tells nothing and is an error.
///
/// ```
/// use std::time::Duration;
/// use veza_dr_failover::probe::PostgresProbe;
/// let probe = PostgresProbe::new("192.0.2.20", 5432, "veza_user", "veza_db")
///     .with_password("from-a-file".to_owned().into())
///     .expecting_recovery(true)
///     .with_max_lag(Duration::from_secs(60));
/// ```
#[derive(Debug, Clone)]
pub struct PostgresProbe {
    name: String,
    host: String,
    port: u16,
    user: String,
    database: String,
    password: Option<SecretString>,
    trust: Option<Trust>,
    in_recovery: Option<bool>,
    max_lag: Option<Duration>,
    heartbeat: Option<Heartbeat>,
    patience: Duration,
}

impl PostgresProbe {
    /// Looks at one database of a server, without TLS.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16, user: impl Into<String>, database: impl Into<String>) -> Self {
        let (host, database) = (host.into(), database.into());
        Self {
            name: format!("postgres {}/{database}", address(&host, port)),
            host,
            port,
            user: user.into(),
            database,
            password: None,
            trust: None,
            in_recovery: None,
            max_lag: None,
            heartbeat: None,
            patience: PATIENCE,
        }
    }

    /// The password.
    #[must_use]
    pub fn with_password(mut self, password: SecretString) -> Self {
        self.password = Some(password);
        self
    }

    /// Insists on TLS with a certificate that is trusted so.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Whether it must be a standby in recovery (`true`) or a server that takes writes (`false`).
    #[must_use]
    pub fn expecting_recovery(mut self, in_recovery: bool) -> Self {
        self.in_recovery = Some(in_recovery);
        self
    }

    /// How far a standby may be behind.
    #[must_use]
    pub fn with_max_lag(mut self, max_lag: Duration) -> Self {
        self.max_lag = Some(max_lag);
        self
    }

    /// A row whose age is looked at.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.heartbeat = Some(heartbeat);
        self
    }

    /// How long it waits; 5 s by default.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    async fn log_in(&self, contact: &Contact) -> Result<(Client, tokio::task::JoinHandle<()>), Stop> {
        let stream = connect(&self.host, self.port, contact).await?;
        let mut config = tokio_postgres::Config::new();
        config.user(&self.user).dbname(&self.database).application_name("veza-dr probe");
        if let Some(password) = &self.password {
            config.password(password.expose_secret());
        }
        let refused = |e| refusal(&self.name, &e);
        match &self.trust {
            None => {
                config.ssl_mode(SslMode::Disable);
                let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(refused)?;
                Ok((client, tokio::spawn(async move { drop(connection.await) })))
            }
            Some(trust) => {
                config.ssl_mode(SslMode::Require);
                let mut tls = MakeRustlsConnect::new(rustls::ClientConfig::clone(trust.config()));
                let tls = <MakeRustlsConnect as MakeTlsConnect<tokio::net::TcpStream>>::make_tls_connect(
                    &mut tls, &self.host,
                )
                .map_err(|e| Error::new(ErrorKind::Config, format!("TLS with {}", self.host)).with_source(e))?;
                let (client, connection) = config.connect_raw(stream, tls).await.map_err(refused)?;
                Ok((client, tokio::spawn(async move { drop(connection.await) })))
            }
        }
    }

    async fn ask(&self, contact: &Contact) -> Result<Seen, Stop> {
        let (client, connection) = self.log_in(contact).await?;
        // Dropped with this future, so that no connection outlives its look.
        let _ends = AbortOnDrop(connection);
        let refused = |e| refusal(&self.name, &e);
        // What we no longer wait for, the server must not go on with.
        let limit = format!("SET statement_timeout = {}", self.patience.as_millis().max(1));
        client.batch_execute(&limit).await.map_err(refused)?;
        let row = client.query_one(QUERY, &[]).await.map_err(refused)?;
        let facts = Facts::of(&row);
        let beat = match &self.heartbeat {
            None => None,
            Some(beat) => Some(self.age(&client, beat).await?),
        };
        Ok(facts.judge(self.in_recovery, self.max_lag, self.heartbeat.as_ref().zip(beat)))
    }

    /// The age of the heartbeat in seconds; `None` when there is none.
    async fn age(&self, client: &Client, beat: &Heartbeat) -> Result<Option<f64>, Stop> {
        let (table, column) = (identifier(&beat.table), identifier(&beat.column));
        let sql = format!("SELECT extract(epoch FROM clock_timestamp() - max({column}))::float8 FROM {table}");
        let row = client.query_one(&sql, &[]).await.map_err(|e| match refusal(&self.name, &e) {
            Stop::Seen(_) if e.code().is_some() => {
                Seen::degraded(format!("the heartbeat {} cannot be read: {}", beat.table, words(&e))).into()
            }
            stop => stop,
        })?;
        row.try_get(0).map_err(|e| refusal(&self.name, &e))
    }
}

#[async_trait]
impl ServiceProbe for PostgresProbe {
    fn name(&self) -> &str {
        &self.name
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation> {
        let contact = Contact::default();
        look(cx, &self.name, self.patience, &contact, self.ask(&contact)).await
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The server's own words; the driver's are only its kind of failure.
fn words(e: &tokio_postgres::Error) -> String {
    e.as_db_error().map_or_else(
        || e.source().map_or_else(|| e.to_string(), |cause| format!("{e}: {cause}")),
        |db| db.message().to_owned(),
    )
}

/// What a failure says of the server.
fn refusal(name: &str, e: &tokio_postgres::Error) -> Stop {
    let text = words(e);
    let Some(code) = e.code() else {
        let mut cause = e.source();
        while let Some(inner) = cause {
            if let Some(io) = inner.downcast_ref::<std::io::Error>() {
                if io.raw_os_error().is_none() && io.kind() == std::io::ErrorKind::Other {
                    break;
                }
                return failed(name, io);
            }
            cause = inner.source();
        }
        return Seen::down(format!("no session: {text}")).into();
    };
    if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(code) {
        return Error::new(ErrorKind::Denied, format!("{name} refuses the probe's login: {text}"))
            .with_help("the server answers, but whether it works cannot be told: give the probe a login that is let in")
            .into();
    }
    if [SqlState::CANNOT_CONNECT_NOW, SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(code) {
        return Seen::down(text).into();
    }
    if *code == SqlState::INVALID_CATALOG_NAME {
        return Seen::down(format!("the database is not there: {text}")).into();
    }
    Seen::degraded(format!("{text} ({})", code.code())).into()
}
