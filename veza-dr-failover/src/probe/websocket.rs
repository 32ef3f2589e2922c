//! Whether a WebSocket service lets us in and answers.

use std::time::Duration;

use async_trait::async_trait;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::{
    Error as WsError, Message,
    client::IntoClientRequest,
    handshake::client::Request,
    http::{HeaderValue, header::AUTHORIZATION},
};
use url::Url;
use veza_dr_core::{Cx, Error, ErrorKind, ExposeSecret, Observation, OperationId, Result, SecretString, ServiceProbe};

use super::{
    PATIENCE, Trust,
    connect::{address, connect, failed},
    look::{Contact, Seen, Stop, look},
};
use crate::trust::server_name;

/// Opens a WebSocket, has one round trip and closes it: a ping, or a text that must come back as it was sent. A refused
/// handshake is degraded, no answer is down.
///
/// ```
/// use veza_dr_failover::probe::WebSocketProbe;
/// let probe = WebSocketProbe::new("wss://chat.veza.com/chat")?
///     .at_address("192.0.2.20")
///     .with_token("from-a-file".to_owned().into())
///     .with_echo();
/// # Ok::<(), veza_dr_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct WebSocketProbe {
    name: String,
    url: Url,
    address: Option<String>,
    token: Option<SecretString>,
    echo: bool,
    trust: Option<Trust>,
    patience: Duration,
}

impl WebSocketProbe {
    /// Looks at a `ws` or `wss` URL.
    ///
    /// # Errors
    /// `Config` when it is none.
    pub fn new(url: &str) -> Result<Self> {
        let bad = || {
            Error::new(ErrorKind::Config, "the URL of a WebSocket probe cannot be used")
                .with_help("write it as ws://host:port/path or wss://host/path")
        };
        let url = Url::parse(url).map_err(|e| bad().with_source(e))?;
        if !matches!(url.scheme(), "ws" | "wss") || url.host_str().is_none() {
            return Err(bad());
        }
        // Its query may hold a token.
        let mut shown = url.clone();
        shown.set_query(None);
        let _ = (shown.set_username(""), shown.set_password(None));
        let name = format!("websocket {shown}");
        Ok(Self { name, url, address: None, token: None, echo: false, trust: None, patience: PATIENCE })
    }

    /// Connects to this address, whatever the URL's name resolves to.
    #[must_use]
    pub fn at_address(mut self, address: impl Into<String>) -> Self {
        let address = address.into();
        if self.url.host_str() != Some(address.as_str()) {
            self.name.push_str(&format!(" at {address}"));
        }
        self.address = Some(address);
        self
    }

    /// Sends `Authorization: Bearer …` with the handshake.
    #[must_use]
    pub fn with_token(mut self, token: SecretString) -> Self {
        self.token = Some(token);
        self
    }

    /// Sends a text that must come back, instead of a ping. For services that echo: others may show it to their users.
    #[must_use]
    pub fn with_echo(mut self) -> Self {
        self.echo = true;
        self
    }

    /// Whose certificates are believed; those that this machine trusts by default.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// How long it waits; 5 s by default.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn request(&self) -> Result<Request> {
        let bad = |e: WsError| Error::new(ErrorKind::Config, format!("{} cannot be asked: {e}", self.name));
        let mut request = self.url.as_str().into_client_request().map_err(bad)?;
        if let Some(token) = &self.token {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
                .map_err(|_| Error::new(ErrorKind::Config, "a token has characters that no header may have"))?;
            bearer.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        Ok(request)
    }

    async fn ask(&self, contact: &Contact) -> Result<Seen, Stop> {
        let request = self.request()?;
        let named = self.url.host_str().unwrap_or_default();
        let secure = self.url.scheme() == "wss";
        let port = self.url.port().unwrap_or(if secure { 443 } else { 80 });
        let host = self.address.as_deref().unwrap_or(named);
        let stream = connect(host, port, contact).await?;
        let at = address(host, port);
        if !secure {
            return self.talk(request, stream, &at).await;
        }
        let trust = match &self.trust {
            Some(trust) => trust.clone(),
            None => Trust::system()?,
        };
        let connector = tokio_rustls::TlsConnector::from(trust.config().clone());
        let stream = connector
            .connect(server_name(named)?, stream)
            .await
            .map_err(|e| Seen::down(format!("TLS with {at} fails: {e}")))?;
        self.talk(request, stream, &at).await
    }

    async fn talk<S>(&self, request: Request, stream: S, at: &str) -> Result<Seen, Stop>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let opened = tokio_tungstenite::client_async(request, stream).await;
        let (mut socket, _) = opened.map_err(|e| refused(at, e))?;
        let word = OperationId::random().to_string();
        let question =
            if self.echo { Message::text(word.clone()) } else { Message::Ping(word.clone().into_bytes().into()) };
        socket.send(question).await.map_err(|e| refused(at, e))?;
        loop {
            // Whatever else the service sends meanwhile is no answer to us.
            match socket.next().await {
                Some(Ok(Message::Pong(said))) if !self.echo && said[..] == *word.as_bytes() => break,
                Some(Ok(Message::Text(said))) if self.echo && said.contains(&word) => break,
                Some(Ok(Message::Close(why))) => {
                    let why = why.map_or_else(|| "without a reason".to_owned(), |why| why.to_string());
                    return Ok(Seen::degraded(format!("{at} closes the WebSocket before it answers: {why}")));
                }
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err(refused(at, e)),
                None => return Ok(Seen::down(format!("{at} closed the connection"))),
            }
        }
        // It has answered: how it takes the goodbye does not change that.
        let _ = socket.close(None).await;
        let how = if self.echo { "sends back what it is sent" } else { "answers a ping" };
        Ok(Seen::healthy(format!("{at} {how} over its WebSocket")))
    }
}

#[async_trait]
impl ServiceProbe for WebSocketProbe {
    fn name(&self) -> &str {
        &self.name
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation> {
        let contact = Contact::default();
        look(cx, &self.name, self.patience, &contact, self.ask(&contact)).await
    }
}

fn refused(at: &str, e: WsError) -> Stop {
    match e {
        WsError::Http(answer) => {
            let status = answer.status();
            let text = format!("{at} refuses the WebSocket: {status}");
            match status.as_u16() {
                401 | 403 => Seen::degraded(format!("{text}; is the token still valid?")),
                500.. => Seen::down(text),
                _ => Seen::degraded(text),
            }
            .into()
        }
        WsError::Io(e) => failed(at, &e),
        other => Seen::down(format!("{at} does not speak WebSocket: {other}")).into(),
    }
}
