//! Events to a chat, by the incoming webhooks that Slack, Mattermost and Rocket.Chat share.

use async_trait::async_trait;
use serde_json::json;
use veza_dr_core::{Cx, Event, EventSink, Result};

use super::{
    http_client::{HookUrl, client, send},
    wording::{body, subject},
};

/// Posts each event as a message `{"text": …}`.
#[derive(Debug)]
pub struct Slack {
    url: HookUrl,
    client: reqwest::Client,
}

impl Slack {
    /// Posts to this incoming webhook.
    ///
    /// # Errors
    /// `Unexpected` when the HTTP client cannot be set up.
    pub fn new(url: HookUrl) -> Result<Self> {
        Ok(Self { url, client: client()? })
    }
}

/// What these chats read as markup must not come out of an error's text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[async_trait]
impl EventSink for Slack {
    /// # Errors
    /// As those of a webhook.
    async fn tell(&self, cx: &Cx, event: &Event) -> Result<()> {
        let text = format!("*{}*\n{}", escaped(&subject(event)), escaped(body(event).trim_end()));
        let request = self.client.post(self.url.below("")).json(&json!({ "text": text }));
        send(cx, &self.url, request).await
    }
}
