//! Ordinary commands to the target.

use std::sync::Arc;

use veza_dr_backup::redis::{self, Endpoint, Value, items, text};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::info::Info;

/// A connection for commands; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    inner: Arc<redis::Control>,
    endpoint: Endpoint,
}

impl Control {
    /// Connects.
    pub(crate) async fn connect(cx: &Cx, endpoint: &Endpoint) -> Result<Self> {
        // The driver's futures are large, and would be part of every future that sends a command.
        let inner = Box::pin(endpoint.control(cx)).await?;
        Ok(Self { inner: Arc::new(inner), endpoint: endpoint.clone() })
    }

    /// The same server over a connection that is known to be fresh.
    pub(crate) async fn again(&self, cx: &Cx) -> Result<Self> {
        Self::connect(cx, &self.endpoint).await
    }

    /// Sends a command. `what` is the purpose, for errors, which never show the arguments.
    pub(crate) async fn command(&self, cx: &Cx, what: &str, words: &[&str]) -> Result<Value> {
        let words: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
        self.bytes(cx, what, &words).await
    }

    /// The same with arguments of any bytes.
    pub(crate) async fn bytes(&self, cx: &Cx, what: &str, words: &[&[u8]]) -> Result<Value> {
        Box::pin(self.inner.call(cx, words)).await.map_err(|e| {
            let mut wrapped = Error::new(e.kind(), what.to_owned()).with_retry(e.retry()).with_effect(e.effect());
            if let Some(help) = e.help() {
                wrapped = wrapped.with_help(help);
            }
            wrapped.with_source(e)
        })
    }

    /// Sections of `INFO`, or `everything`.
    pub(crate) async fn info(&self, cx: &Cx, section: &str) -> Result<Info> {
        let answer = self.command(cx, "ask the server for INFO", &["INFO", section]).await?;
        Ok(Info::parse(&text(&answer)))
    }

    /// A setting; `None` for one that this server does not have.
    pub(crate) async fn config(&self, cx: &Cx, name: &str) -> Result<Option<String>> {
        let answer = self.command(cx, &format!("read the setting {name}"), &["CONFIG", "GET", name]).await?;
        Ok(items(&answer).get(1).map(text))
    }

    /// Changes a setting until the server ends.
    pub(crate) async fn set_config(&self, cx: &Cx, name: &str, value: &str) -> Result<()> {
        self.command(cx, &format!("change the setting {name}"), &["CONFIG", "SET", name, value]).await.map(drop)
    }

    /// A connection of its own that bytes can be sent over.
    pub(crate) async fn stream(&self, cx: &Cx) -> Result<Box<dyn redis::Stream>> {
        Box::pin(self.endpoint.stream(cx)).await
    }

    /// The server's clock, in milliseconds since 1970.
    pub(crate) async fn now(&self, cx: &Cx) -> Result<u64> {
        let answer = self.command(cx, "ask for the server's time", &["TIME"]).await?;
        let mut parts = items(&answer).iter().map(|v| text(v).parse::<u64>().ok());
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(seconds), Some(micros)) => Ok(seconds * 1000 + micros / 1000),
            _ => Err(Error::new(ErrorKind::Unexpected, "the server's time cannot be read")),
        }
    }

    /// How the server is reached.
    pub(crate) fn reach(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// Whether the server refused a command as such: not allowed, not known, renamed.
pub(crate) fn is_refusal(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::Denied | ErrorKind::Unsupported)
}
