//! What steps of each kind say.

use std::time::Duration;

use serde::Deserialize;

use super::LeadBy;
use crate::runbook::span;

fn grace() -> Duration {
    Duration::from_secs(30)
}

fn patience() -> Duration {
    Duration::from_secs(240)
}

fn proof() -> Duration {
    Duration::from_secs(1800)
}

fn yes() -> bool {
    true
}

/// `fence`: makes sure that a site takes no writes, by the first rung of the ladder that holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FenceSays {
    pub(super) site: String,
    /// How long services may take to stop before they are killed.
    #[serde(default = "grace", with = "span")]
    pub(super) grace: Duration,
    /// Whether the site is asked to stop at all: not where that is known to hang.
    #[serde(default = "yes")]
    pub(super) stop: bool,
    /// A command on this machine that closes the site off; it must be safe to repeat.
    #[serde(default)]
    pub(super) hook: Option<String>,
    /// The command that opens it again.
    #[serde(default)]
    pub(super) hook_undo: Option<String>,
    /// The lease that the site must renew to go on serving, in the store of the runs.
    #[serde(default)]
    pub(super) lease: Option<String>,
    /// Whether the word of two people is enough.
    #[serde(default = "yes")]
    pub(super) attestation: bool,
    /// How long a proof is believed.
    #[serde(default = "proof", with = "span")]
    pub(super) valid_for: Duration,
}

/// `unfence`, `validate`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SiteSays {
    pub(super) site: String,
}

/// `up`, `start`, `stop`, `wait_healthy`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServicesSay {
    pub(super) site: String,
    #[serde(default)]
    pub(super) services: Vec<String>,
    #[serde(default = "grace", with = "span")]
    pub(super) grace: Duration,
    #[serde(default = "patience", with = "span")]
    pub(super) within: Duration,
}

/// `restore`, `backup`, `verify_backup`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ComponentSays {
    pub(super) component: String,
}

/// `dns`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DnsSays {
    pub(super) to: String,
    #[serde(default)]
    pub(super) by: Option<LeadBy>,
    #[serde(default)]
    pub(super) percent: Option<u8>,
    #[serde(default, with = "span::optional")]
    pub(super) confirm_within: Option<Duration>,
}

/// `dns_ttl`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TtlSays {
    #[serde(default)]
    pub(super) lower: Option<u32>,
    #[serde(default)]
    pub(super) restore: bool,
}

/// `command`: a shell command, here or on a site.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandSays {
    pub(super) run: String,
    #[serde(default)]
    pub(super) site: Option<String>,
    /// Succeeds when the command took place, fails with 1 when it did not; anything else is unclear.
    #[serde(default)]
    pub(super) probe: Option<String>,
    #[serde(default)]
    pub(super) undo: Option<String>,
    #[serde(default)]
    pub(super) idempotent: bool,
    #[serde(default)]
    pub(super) at_most_once: bool,
    /// It makes the site take writes.
    #[serde(default)]
    pub(super) writes: bool,
    /// It replaces or deletes data.
    #[serde(default)]
    pub(super) destructive: bool,
}

/// `promote_postgres`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PromoteSays {
    pub(super) site: String,
    /// What runs `psql` there, ready for a query: `docker exec veza-postgres psql -U postgres -Atqc`.
    pub(super) psql: String,
}

/// `wait`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitSays {
    #[serde(rename = "for", with = "span")]
    pub(super) time: Duration,
}

/// `notify`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifySays {
    pub(super) text: String,
    /// Who is told; everybody when nobody is named.
    #[serde(default)]
    pub(super) channels: Vec<String>,
}

/// `note`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TextSays {
    pub(super) text: String,
}
