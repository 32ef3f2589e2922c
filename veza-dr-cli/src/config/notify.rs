//! `notify:` who is told when something happens, and `ping`: who watches that it does.

use schemars::JsonSchema;
use serde::Deserialize;
use veza_dr_core::Severity;

use super::{SecretText, Span, Text, monitoring::severity};

/// One channel: `webhook`, `slack`, `smtp` or `command`, and beside it which events it is told of.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "Spelled")]
#[schemars(with = "Spelled")]
#[non_exhaustive]
pub struct Notification {
    /// The kind of channel and its settings.
    pub channel: Channel,
    /// The least severity that is told.
    pub severity: Option<Severity>,
    /// Exactly these phases are told, whatever their severity.
    pub phases: Option<Vec<PhaseName>>,
    /// Only these components.
    pub components: Option<Vec<String>>,
    /// The same failure is told again after this long.
    pub repeat: Option<Span>,
    /// Whether the end of a failure is told.
    pub recovery: bool,
}

/// The kinds of channels.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Channel {
    /// JSON to an address.
    Webhook(WebhookSettings),
    /// A message to a chat.
    Slack(SlackSettings),
    /// Mail.
    Smtp(Box<SmtpSettings>),
    /// A program: its name and arguments.
    Command(Vec<Text>),
}

/// One channel: `webhook`, `slack`, `smtp` or `command`, and beside it which events it is told of.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    rename = "Notification",
    extend("oneOf" = [
        {"required": ["webhook"]}, {"required": ["slack"]}, {"required": ["smtp"]}, {"required": ["command"]}
    ])
)]
struct Spelled {
    /// Posts each event as JSON.
    #[serde(default)]
    webhook: Option<WebhookSettings>,
    /// Posts each event to an incoming webhook of Slack, Mattermost or Rocket.Chat.
    #[serde(default)]
    slack: Option<SlackSettings>,
    /// Mails each event.
    #[serde(default)]
    smtp: Option<Box<SmtpSettings>>,
    /// Runs a program, given as a list of its name and arguments, with the event as JSON on its standard input.
    #[serde(default)]
    command: Option<Vec<Text>>,
    /// The least severity that is told; `high` by default: failures.
    #[serde(default)]
    #[schemars(schema_with = "severity")]
    severity: Option<Severity>,
    /// Exactly these phases are told, whatever their severity.
    #[serde(default)]
    phases: Option<Vec<PhaseName>>,
    /// Only these components; all where it is left out.
    #[serde(default)]
    components: Option<Vec<String>>,
    /// The same failure is told again after this long; 4h by default.
    #[serde(default)]
    repeat: Option<Span>,
    /// Whether the success that ends a failure is told; true by default.
    #[serde(default)]
    recovery: Option<bool>,
}

impl TryFrom<Spelled> for Notification {
    type Error = &'static str;

    fn try_from(s: Spelled) -> Result<Self, Self::Error> {
        let channel = match (s.webhook, s.slack, s.smtp, s.command) {
            (Some(webhook), None, None, None) => Channel::Webhook(webhook),
            (None, Some(slack), None, None) => Channel::Slack(slack),
            (None, None, Some(smtp), None) => Channel::Smtp(smtp),
            (None, None, None, Some(command)) => Channel::Command(command),
            _ => return Err("a notification is exactly one of webhook, slack, smtp and command"),
        };
        let recovery = s.recovery.unwrap_or(true);
        let (severity, phases, components, repeat) = (s.severity, s.phases, s.components, s.repeat);
        Ok(Self { channel, severity, phases, components, repeat, recovery })
    }
}

/// How far something is, in the words of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PhaseName {
    /// It begins.
    Started,
    /// It is done.
    Succeeded,
    /// It failed and will be tried again.
    Retrying,
    /// It failed.
    Failed,
    /// Its time passed without it.
    Missed,
}

/// An address that events are posted to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WebhookSettings {
    /// The address; it may hold a secret and is never shown.
    #[serde(default)]
    pub url: Option<SecretText>,
    /// A file whose first line is the address.
    #[serde(default)]
    pub url_file: Option<Text>,
    /// Signs each message with this key: the header Veza-Signature then carries its HMAC-SHA-256.
    #[serde(default)]
    pub secret: Option<SecretText>,
    /// A file whose first line is the key.
    #[serde(default)]
    pub secret_file: Option<Text>,
}

/// A chat's incoming webhook.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SlackSettings {
    /// The address; it is a secret and is never shown.
    #[serde(default)]
    pub url: Option<SecretText>,
    /// A file whose first line is the address.
    #[serde(default)]
    pub url_file: Option<Text>,
}

/// A mail server and the addresses.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SmtpSettings {
    /// The server's name.
    pub host: Text,
    /// Its port; 587, 465 or 25 by default, as `tls` has it.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// How the connection is secured: `starttls` by default.
    #[serde(default)]
    pub tls: Option<SmtpTlsName>,
    /// The user to log in as.
    #[serde(default)]
    pub username: Option<Text>,
    /// The password. Prefer `password_file`, `password_command` or `${env:NAME}`.
    #[serde(default)]
    pub password: Option<SecretText>,
    /// A file whose first line is the password.
    #[serde(default)]
    pub password_file: Option<Text>,
    /// A command, as a list of program and arguments, whose first line of output is the password.
    #[serde(default)]
    pub password_command: Option<Vec<Text>>,
    /// The sender: `Veza DR <dr@example.org>`.
    pub from: Text,
    /// The receivers.
    #[schemars(length(min = 1))]
    pub to: Vec<Text>,
}

/// How a connection to a mail server is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SmtpTlsName {
    /// By STARTTLS, which the server must offer.
    Starttls,
    /// From the first byte on.
    Tls,
    /// Not at all: for a relay on this machine.
    None,
}

/// Where a component's backups are reported to, as healthchecks.io and others expect it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PingSettings {
    /// The address that is pinged at each success, with `/start` and `/fail` behind it for the others; never shown.
    #[serde(default)]
    pub url: Option<SecretText>,
    /// A file whose first line is the address.
    #[serde(default)]
    pub url_file: Option<Text>,
}
