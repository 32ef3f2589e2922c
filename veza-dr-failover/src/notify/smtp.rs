//! Events by mail.

use std::time::Duration;

use async_trait::async_trait;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, Mailboxes, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};
use veza_dr_core::{Cx, Error, ErrorKind, Event, EventSink, ExposeSecret, Result, SecretString};

use super::wording::{body, subject};

/// How the connection to a mail server is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SmtpTls {
    /// By STARTTLS, which the server must offer; port 587.
    #[default]
    StartTls,
    /// From the first byte on; port 465.
    Tls,
    /// Not at all; port 25. For a relay on this machine.
    None,
}

/// How mail is sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SmtpConfig {
    /// The server's name.
    pub host: String,
    /// Its port; the usual one of `tls` where it is `None`.
    pub port: Option<u16>,
    /// How the connection is secured.
    pub tls: SmtpTls,
    /// The user name and password to log in with.
    pub login: Option<(String, SecretString)>,
    /// The sender: `Veza DR <dr@example.org>`.
    pub from: String,
    /// The receivers.
    pub to: Vec<String>,
}

impl SmtpConfig {
    /// Through this server, from this address to these.
    #[must_use]
    pub fn new(host: impl Into<String>, from: impl Into<String>, to: Vec<String>) -> Self {
        Self { host: host.into(), port: None, tls: SmtpTls::default(), login: None, from: from.into(), to }
    }
}

/// Mails each event as plain text.
#[derive(Debug)]
pub struct Smtp {
    host: String,
    from: Mailbox,
    to: Mailboxes,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Smtp {
    /// Checks the addresses; nothing is connected yet.
    ///
    /// ```
    /// use veza_dr_failover::notify::{Smtp, SmtpConfig};
    /// assert!(Smtp::new(SmtpConfig::new("mail.example", "dr@example.org", vec!["ops@example.org".into()])).is_ok());
    /// assert!(Smtp::new(SmtpConfig::new("mail.example", "not an address", vec![])).is_err());
    /// ```
    ///
    /// # Errors
    /// `Config` naming an address that is none; `Unexpected` when TLS cannot be set up.
    pub fn new(config: SmtpConfig) -> Result<Self> {
        let address = |text: &str| {
            text.parse::<Mailbox>()
                .map_err(|e| Error::new(ErrorKind::Config, format!("`{text}` is not a mail address")).with_source(e))
        };
        let from = address(&config.from)?;
        let to = config.to.iter().map(|t| address(t)).collect::<Result<Mailboxes>>()?;
        if to.iter().next().is_none() {
            return Err(Error::new(ErrorKind::Config, "mail notifications name no receiver"));
        }
        let parameters = || {
            TlsParameters::new(config.host.clone())
                .map_err(|e| Error::new(ErrorKind::Unexpected, "TLS for mail cannot be set up").with_source(e))
        };
        let (tls, port) = match config.tls {
            SmtpTls::StartTls => (Tls::Required(parameters()?), 587),
            SmtpTls::Tls => (Tls::Wrapper(parameters()?), 465),
            SmtpTls::None => (Tls::None, 25),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(config.port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(Duration::from_secs(20)));
        if let Some((user, password)) = config.login {
            transport = transport.credentials(Credentials::new(user, password.expose_secret().to_owned()));
        }
        Ok(Self { host: config.host, from, to, transport: transport.build() })
    }
}

#[async_trait]
impl EventSink for Smtp {
    /// # Errors
    /// `Denied` when the server refuses the mail or the login for good, else `Unavailable`, worth another try.
    async fn tell(&self, cx: &Cx, event: &Event) -> Result<()> {
        let mut message = Message::builder().from(self.from.clone()).subject(subject(event));
        for to in self.to.iter() {
            message = message.to(to.clone());
        }
        let message = message
            .header(ContentType::TEXT_PLAIN)
            .body(body(event))
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the mail cannot be written").with_source(e))?;
        let sent = async {
            self.transport.send(message).await.map(drop).map_err(|e| {
                let (kind, did) = match e.is_permanent() {
                    true => (ErrorKind::Denied, "refused the mail"),
                    false => (ErrorKind::Unavailable, "did not take the mail"),
                };
                Error::new(kind, format!("mail server {} {did}", self.host)).with_source(e)
            })
        };
        cx.run("notify", sent).await
    }
}
