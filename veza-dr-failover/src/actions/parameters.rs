//! What steps of each kind say.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, de};

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
    /// Instead of naming services.
    #[serde(default)]
    pub(super) part: Option<Part>,
    #[serde(default = "grace", with = "span")]
    pub(super) grace: Duration,
    #[serde(default = "patience", with = "span")]
    pub(super) within: Duration,
}

/// A part of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// The services that hold its data, by the configuration.
    Data,
    /// All others.
    Apps,
}

/// `backup`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ComponentSays {
    pub(super) component: String,
    /// The site whose data it is; the component's own place where it is left out.
    #[serde(default)]
    pub(super) site: Option<String>,
}

/// `final_backup`, `compare`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SiteComponentSays {
    pub(super) component: String,
    pub(super) site: String,
}

/// `verify_backup`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifySays {
    pub(super) component: String,
    /// Which backup; the newest, or the one for the time that the run was told, where it is left out.
    #[serde(default)]
    pub(super) at: Option<Point>,
}

/// `restore`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreSays {
    pub(super) component: String,
    /// The site that is restored to; the component's own place where it is left out.
    #[serde(default)]
    pub(super) site: Option<String>,
    /// As for `verify_backup`: the backup that was verified for it is the one that is restored.
    #[serde(default)]
    pub(super) at: Option<Point>,
}

/// Which backup is meant: the newest that shows a time or an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    /// The time that a person names while the plan runs; it waits for that.
    Asked,
    /// This time.
    Time(DateTime<Utc>),
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == "asked" {
            return Ok(Self::Asked);
        }
        let time = DateTime::parse_from_rfc3339(&text)
            .map_err(|_| de::Error::custom(format!("at: {text}: write `asked`, or a time as 2026-05-01T03:00:00Z")))?;
        Ok(Self::Time(time.with_timezone(&Utc)))
    }
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
