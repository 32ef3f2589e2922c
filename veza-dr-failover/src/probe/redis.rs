//! Whether a Redis server answers, in the role it should have.

use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Observation, Result, SecretString, ServiceProbe};

use super::{
    PATIENCE, Trust,
    connect::{address, connect},
    look::{Contact, Seen, Stop, look},
    redis_wire::RedisWire,
};
use crate::trust::server_name;

/// Logs in, pings and asks for the state of loading and replication. No answer and a server that still loads its data
/// are down; the wrong role, a lost replication link and refused writes are degraded; a refused login is an error.
///
/// ```
/// use veza_dr_failover::probe::RedisProbe;
/// let probe = RedisProbe::new("192.0.2.10", 6379).expecting_replica(false);
/// ```
#[derive(Debug, Clone)]
pub struct RedisProbe {
    name: String,
    host: String,
    port: u16,
    username: Option<String>,
    password: Option<SecretString>,
    trust: Option<Trust>,
    replica: Option<bool>,
    patience: Duration,
}

impl RedisProbe {
    /// Looks at a server, without TLS.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        Self {
            name: format!("redis {}", address(&host, port)),
            host,
            port,
            username: None,
            password: None,
            trust: None,
            replica: None,
            patience: PATIENCE,
        }
    }

    /// The password of the default user.
    #[must_use]
    pub fn with_password(mut self, password: SecretString) -> Self {
        self.password = Some(password);
        self
    }

    /// Another user than the default one.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Speaks TLS, with a certificate that is trusted so.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Whether it must be a replica (`true`) or a master (`false`).
    #[must_use]
    pub fn expecting_replica(mut self, replica: bool) -> Self {
        self.replica = Some(replica);
        self
    }

    /// How long it waits; 5 s by default.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    async fn ask(&self, contact: &Contact) -> Result<Seen, Stop> {
        let stream = connect(&self.host, self.port, contact).await?;
        let Some(trust) = &self.trust else { return self.talk(stream).await };
        let connector = tokio_rustls::TlsConnector::from(trust.config().clone());
        let stream = connector
            .connect(server_name(&self.host)?, stream)
            .await
            .map_err(|e| Seen::down(format!("TLS with {} fails: {e}", address(&self.host, self.port))))?;
        self.talk(stream).await
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<Seen, Stop> {
        let mut wire = RedisWire::new(stream, address(&self.host, self.port));
        if let Some(password) = &self.password {
            let mut login = vec!["AUTH"];
            login.extend(self.username.as_deref());
            login.push(password.expose_secret());
            wire.ask(&login).await?.map_err(|refusal| self.refused(&refusal))?;
        }
        wire.ask(&["PING"]).await?.map_err(|refusal| self.refused(&refusal))?;
        let replication = wire.ask(&["INFO", "replication"]).await?.map_err(|refusal| self.refused(&refusal))?;
        let persistence = wire.ask(&["INFO", "persistence"]).await?.map_err(|refusal| self.refused(&refusal))?;
        Ok(self.judge(&replication, &persistence))
    }

    fn judge(&self, replication: &str, persistence: &str) -> Seen {
        if fact(persistence, "loading") == Some("1") {
            return Seen::down("it still loads its data");
        }
        let Some(role) = fact(replication, "role") else { return Seen::degraded("it does not say what role it has") };
        let is_replica = role == "slave";
        let mut text = format!("it is a {}", if is_replica { "replica" } else { "master" });
        let mut wrong = Vec::new();
        if let Some(wanted) = self.replica.filter(|wanted| *wanted != is_replica) {
            wrong.push(format!("it should be a {}", if wanted { "replica" } else { "master" }));
        }
        if is_replica {
            let link = fact(replication, "master_link_status").unwrap_or("unknown");
            text.push_str(&format!(", its link to the master is {link}"));
            if link != "up" {
                wrong.push("it does not receive".to_owned());
            }
        } else {
            text.push_str(&format!(" of {} replicas", fact(replication, "connected_slaves").unwrap_or("0")));
        }
        if fact(persistence, "rdb_last_bgsave_status") == Some("err") {
            wrong.push("its last save failed".to_owned());
        }
        if wrong.is_empty() { Seen::healthy(text) } else { Seen::degraded(format!("{}: {text}", wrong.join("; "))) }
    }

    /// What a refusal says, by its first word.
    fn refused(&self, refusal: &str) -> Stop {
        match refusal.split(' ').next().unwrap_or_default() {
            "LOADING" => Seen::down("it still loads its data").into(),
            "NOAUTH" | "WRONGPASS" | "NOPERM" => self.denied(refusal),
            // Servers before 6 answer a wrong password so.
            "ERR" if refusal.contains("password") || refusal.contains("AUTH") => self.denied(refusal),
            _ => Seen::degraded(format!("it refuses: {refusal}")).into(),
        }
    }

    fn denied(&self, refusal: &str) -> Stop {
        Error::new(ErrorKind::Denied, format!("{} refuses the probe: {refusal}", self.name))
            .with_help("the server answers, but whether it works cannot be told: the user needs PING and INFO")
            .into()
    }
}

#[async_trait]
impl ServiceProbe for RedisProbe {
    fn name(&self) -> &str {
        &self.name
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation> {
        let contact = Contact::default();
        look(cx, &self.name, self.patience, &contact, self.ask(&contact)).await
    }
}

fn fact<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}
