//! A stream: how soon its first byte comes, and whether it goes on.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::time::Instant;
use veza_dr_core::{Cx, Result, SecretString};

use super::{Check, Finding, http::bearer, suite::seconds};
use crate::reach::HttpAddress;

/// Reads the beginning of an HTTP body that may have no end, and lets go.
#[derive(Debug, Clone)]
pub struct StreamCheck {
    name: String,
    address: HttpAddress,
    bytes: u64,
    first_byte_within: Duration,
    within: Duration,
    token: Option<SecretString>,
}

impl StreamCheck {
    /// The first of so many bytes within 2 s, all of them within 10 s.
    #[must_use]
    pub fn new(name: impl Into<String>, address: HttpAddress, bytes: u64) -> Self {
        let (first_byte_within, within) = (Duration::from_secs(2), Duration::from_secs(10));
        Self { name: name.into(), address, bytes, first_byte_within, within, token: None }
    }

    /// How soon the first byte of the body must be there, from the start of the connection.
    #[must_use]
    pub fn with_first_byte_within(mut self, within: Duration) -> Self {
        self.first_byte_within = within;
        self
    }

    /// How soon all of them must be there.
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Sends this bearer token.
    #[must_use]
    pub fn with_token(mut self, token: SecretString) -> Self {
        self.token = Some(token);
        self
    }

    /// What came, and when; kept outside so that it is known also when time runs out.
    async fn read(&self, seen: &mut Seen, started: Instant) -> Result<Option<Finding>> {
        let headers = bearer(self.token.as_ref())?;
        let mut connection = match self.address.connect().await {
            Ok(connection) => connection,
            Err(e) => return Finding::of_unreachable(e).map(Some),
        };
        let mut answer = match connection.get(&headers).await {
            Ok(answer) => answer,
            Err(e) => return Finding::of_unreachable(e).map(Some),
        };
        let status = answer.status();
        if !status.is_success() {
            let text = format!("{} answered {}", self.address, status.as_u16());
            return Ok(Some(Finding::fail(format!("status {}", status.as_u16()), text)));
        }
        while seen.bytes < self.bytes {
            let Some(frame) = answer.frame().await else {
                let text = format!("the stream ended after {} bytes", seen.bytes);
                return Ok(Some(Finding::fail(seen.told(), text)));
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(e) => {
                    let text = format!("the stream broke off after {} bytes: {e}", seen.bytes);
                    return Ok(Some(Finding::fail(seen.told(), text)));
                }
            };
            let data = frame.data_ref().map_or(0, |d| d.len() as u64);
            if data > 0 && seen.first.is_none() {
                seen.first = Some(started.elapsed());
            }
            seen.bytes += data;
        }
        Ok(None)
    }
}

#[derive(Debug, Default)]
struct Seen {
    bytes: u64,
    first: Option<Duration>,
}

impl Seen {
    fn told(&self) -> String {
        match self.first {
            Some(first) => format!("{} bytes, the first after {}", self.bytes, seconds(first)),
            None => "no byte".to_owned(),
        }
    }
}

#[async_trait]
impl Check for StreamCheck {
    fn name(&self) -> &str {
        &self.name
    }

    fn tolerance(&self) -> String {
        let (first, all) = (seconds(self.first_byte_within), seconds(self.within));
        format!("first byte within {first}, {} bytes within {all}", self.bytes)
    }

    fn deadline(&self) -> Duration {
        self.within + Duration::from_secs(2)
    }

    async fn run(&self, _: &Cx) -> Result<Finding> {
        let (started, mut seen) = (Instant::now(), Seen::default());
        let ended = tokio::time::timeout(self.within, self.read(&mut seen, started)).await;
        let found = match ended {
            Ok(Ok(Some(failed))) => failed,
            Ok(Err(e)) => return Err(e),
            Err(_) => {
                Finding::fail(seen.told(), format!("only {} bytes came within {}", seen.bytes, seconds(self.within)))
            }
            Ok(Ok(None)) if seen.first.is_some_and(|f| f > self.first_byte_within) => {
                Finding::fail(seen.told(), "the first byte came too late")
            }
            Ok(Ok(None)) => Finding::pass(seen.told()),
        };
        let first = seen.first.map(|f| f.as_secs_f64());
        Ok(found.with_evidence(json!({
            "address": self.address.to_string(), "bytes": seen.bytes, "first_byte_seconds": first,
        })))
    }
}
