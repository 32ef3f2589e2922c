//! A WebSocket: the handshake with its token, and a message that comes back.

use std::time::Duration;

use async_trait::async_trait;
use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error as WsError, Message, client::IntoClientRequest, protocol::WebSocketConfig},
};
use veza_dr_core::{Cx, Error, ErrorKind, Result, SecretString};

use super::{Check, Finding, http::bearer, suite::seconds};
use crate::reach::HttpAddress;

/// Messages of others on the same channel may be large; they are read past.
const MESSAGE_LIMIT: usize = 1 << 20;

/// What is sent and must come back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exchange {
    /// A ping, which every WebSocket server answers by itself.
    Ping,
    /// A text, and a part of the text that answers it; other messages in between are read past.
    Text {
        /// What is sent.
        send: String,
        /// What the answer must hold.
        expect: String,
    },
}

/// Opens a WebSocket, sends, waits for the answer, and closes it.
#[derive(Debug, Clone)]
pub struct WebSocketCheck {
    name: String,
    address: HttpAddress,
    token: Option<SecretString>,
    exchange: Exchange,
    within: Duration,
}

impl WebSocketCheck {
    /// A ping answered within 5 s.
    #[must_use]
    pub fn new(name: impl Into<String>, address: HttpAddress) -> Self {
        Self { name: name.into(), address, token: None, exchange: Exchange::Ping, within: Duration::from_secs(5) }
    }

    /// Sends this bearer token with the handshake.
    #[must_use]
    pub fn with_token(mut self, token: SecretString) -> Self {
        self.token = Some(token);
        self
    }

    /// What is sent and must come back.
    #[must_use]
    pub fn with_exchange(mut self, exchange: Exchange) -> Self {
        self.exchange = exchange;
        self
    }

    /// How long handshake and answer may take together.
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    async fn ask(&self) -> Result<Finding> {
        let unusable = |e: WsError| {
            Error::new(ErrorKind::Config, format!("{} is no address of a WebSocket", self.address)).with_source(e)
        };
        let mut request = self.address.websocket_url().into_client_request().map_err(unusable)?;
        for (name, value) in bearer(self.token.as_ref())? {
            request.headers_mut().insert(name, value);
        }
        let stream = match self.address.open().await {
            Ok(stream) => stream,
            Err(e) => return Finding::of_unreachable(e),
        };
        let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_LIMIT));
        let mut socket = match client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _)) => socket,
            Err(WsError::Http(answer)) => {
                let status = answer.status().as_u16();
                let why = match status {
                    401 | 403 => "it refuses the token: is it the right one, and still valid?",
                    _ => "it does not speak WebSocket there",
                };
                return Ok(Finding::fail(format!("status {status}"), why));
            }
            Err(e) => return Ok(Finding::fail("no handshake", format!("{}: {e}", self.address))),
        };
        let opened = Instant::now();
        let found = match self.round_trip(&mut socket).await {
            Ok(()) => Finding::pass(format!("answered after {}", seconds(opened.elapsed()))),
            Err(why) => Finding::fail("no answer to the message", why),
        };
        // The answer is known; how the server takes our leave does not change it.
        let _ = tokio::time::timeout(Duration::from_millis(200), socket.close(None)).await;
        Ok(found)
    }

    async fn round_trip<S>(&self, socket: &mut WebSocketStream<S>) -> std::result::Result<(), String>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        const TOKEN: &[u8] = b"veza-dr";
        let message = match &self.exchange {
            Exchange::Ping => Message::Ping(TOKEN.into()),
            Exchange::Text { send, .. } => Message::text(send.as_str()),
        };
        socket.send(message).await.map_err(|e| format!("the message could not be sent: {e}"))?;
        loop {
            let message = match socket.next().await {
                Some(Ok(message)) => message,
                Some(Err(e)) => return Err(format!("the connection broke: {e}")),
                None => return Err("the server closed the connection".to_owned()),
            };
            match (&self.exchange, &message) {
                (Exchange::Ping, Message::Pong(data)) if data.as_ref() == TOKEN => return Ok(()),
                (Exchange::Text { expect, .. }, Message::Text(text)) if text.contains(expect.as_str()) => return Ok(()),
                (_, Message::Close(frame)) => {
                    let why = frame.as_ref().map(|f| format!(": {} {}", f.code, f.reason)).unwrap_or_default();
                    return Err(format!("the server closed the connection{why}"));
                }
                _ => {}
            }
        }
    }
}

#[async_trait]
impl Check for WebSocketCheck {
    fn name(&self) -> &str {
        &self.name
    }

    fn tolerance(&self) -> String {
        let within = seconds(self.within);
        match &self.exchange {
            Exchange::Ping => format!("ping answered within {within}"),
            Exchange::Text { send, expect } if send == expect => format!("{send:?} comes back within {within}"),
            Exchange::Text { send, expect } => format!("{send:?} is answered with {expect:?} within {within}"),
        }
    }

    fn deadline(&self) -> Duration {
        self.within + Duration::from_secs(2)
    }

    async fn run(&self, _: &Cx) -> Result<Finding> {
        let found = match tokio::time::timeout(self.within, self.ask()).await {
            Ok(found) => found?,
            Err(_) => {
                let text = format!("{} did not answer within {}", self.address, seconds(self.within));
                Finding::fail("no answer in time", text)
            }
        };
        Ok(found.with_evidence(json!({ "address": self.address.to_string() })))
    }
}
