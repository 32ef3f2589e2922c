//! `serve:` how the daemon runs.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{SecretText, Span, Text};

/// How `veza-dr serve` runs. All of it may be left out.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ServeSettings {
    /// The address and port of the dashboard, /metrics, /healthz and /livez; `127.0.0.1:9464` where it is left out.
    #[serde(default)]
    pub listen: Option<Text>,
    /// Whoever asks must send `Authorization: Bearer <token>`, or a browser fill it in once; needed unless `listen` is this machine's own address.
    #[serde(default)]
    pub token: Option<SecretText>,
    /// A file whose first line is the token.
    #[serde(default)]
    pub token_file: Option<Text>,
    /// A command, as a list of program and arguments, whose first line of output is the token.
    #[serde(default)]
    pub token_command: Option<Vec<Text>>,
    /// The address of the page as people reach it, behind whatever proxy is in front: `https://dr.example.org`. Calls
    /// then carry a link that acknowledges them.
    #[serde(default)]
    pub public_url: Option<Text>,
    /// How much later than its schedule a backup may be before /healthz and `status` call it late; 10m by default.
    #[serde(default)]
    pub grace: Option<Span>,
    /// How often the stores are looked at for /metrics and /healthz; 1m by default, and after every backup.
    #[serde(default)]
    pub refresh: Option<Span>,
    /// How long backups that are being made may take to finish when the daemon is asked to end; by default they are
    /// stopped at once, with nothing half-made left.
    #[serde(default)]
    pub finish_within: Option<Span>,
    /// The site that runs on this machine: the daemon renews its lease (`sites.NAME.fence.lease`) and closes the site
    /// when it cannot.
    #[serde(default)]
    pub site: Option<String>,
}

impl ServeSettings {
    /// Where the daemon listens when nothing is said.
    pub const LISTEN: &str = "127.0.0.1:9464";

    /// `text` as an address and port.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn address(text: &str) -> Result<SocketAddr, String> {
        let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        text.parse().map_err(|_| format!("`{text}` is not an address and port such as {}", Self::LISTEN))
    }
}
