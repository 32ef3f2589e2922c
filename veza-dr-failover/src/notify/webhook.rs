//! Events as JSON to an address of the operator's own.

use async_trait::async_trait;
use serde_json::json;
use veza_dr_core::{Clock, Cx, Error, ErrorKind, Event, EventSink, Result, SecretString, SystemClock};

use super::{
    http_client::{HookUrl, client, send},
    signature::sign,
    wording::{event_json, subject},
};

/// Posts each event as one JSON document: the event's fields, and `subject`, a line for people.
///
/// With a key, the header `Veza-Signature: t=<unix seconds>,v1=<hex>` carries the HMAC-SHA-256 of `<t>.<body>`: the
/// receiver computes the same, compares, and refuses old times.
#[derive(Debug)]
pub struct Webhook {
    url: HookUrl,
    key: Option<SecretString>,
    client: reqwest::Client,
}

impl Webhook {
    /// Posts to this address.
    ///
    /// # Errors
    /// `Unexpected` when the HTTP client cannot be set up.
    pub fn new(url: HookUrl) -> Result<Self> {
        Ok(Self { url, key: None, client: client()? })
    }

    /// Signs with this key.
    #[must_use]
    pub fn signed_with(mut self, key: SecretString) -> Self {
        self.key = Some(key);
        self
    }
}

#[async_trait]
impl EventSink for Webhook {
    /// # Errors
    /// `Unavailable` or `Throttled` when it may pass later, else what the receiver's status says.
    async fn tell(&self, cx: &Cx, event: &Event) -> Result<()> {
        let mut document = event_json(event);
        document["subject"] = json!(subject(event));
        let body = serde_json::to_vec(&document)
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the event as JSON").with_source(e))?;
        let mut request = self.client.post(self.url.below("")).header("content-type", "application/json");
        if let Some(key) = &self.key {
            let at = SystemClock.now().timestamp();
            let mut signed = format!("{at}.").into_bytes();
            signed.extend_from_slice(&body);
            request = request.header("veza-signature", format!("t={at},v1={}", sign(key, &signed)));
        }
        send(cx, &self.url, request.body(body)).await
    }
}
