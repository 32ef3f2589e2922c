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
pub(crate) struct FenceSays {
    pub(crate) site: String,
    /// How long services may take to stop before they are killed.
    #[serde(default = "grace", with = "span")]
    pub(crate) grace: Duration,
    /// Whether the site is asked to stop at all: not where that is known to hang.
    #[serde(default = "yes")]
    pub(crate) stop: bool,
    /// A command on this machine that closes the site off; it must be safe to repeat.
    #[serde(default)]
    pub(crate) hook: Option<String>,
    /// The command that opens it again.
    #[serde(default)]
    pub(crate) hook_undo: Option<String>,
    /// The lease that the site must renew to go on serving, in the store of the runs.
    #[serde(default)]
    pub(crate) lease: Option<String>,
    /// Whether the word of two people is enough.
    #[serde(default = "yes")]
    pub(crate) attestation: bool,
    /// How long a proof is believed.
    #[serde(default = "proof", with = "span")]
    pub(crate) valid_for: Duration,
}

/// `unfence`, `validate`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteSays {
    pub(crate) site: String,
}

/// `up`, `start`, `stop`, `wait_healthy`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServicesSay {
    pub(crate) site: String,
    #[serde(default)]
    pub(crate) services: Vec<String>,
    /// Instead of naming services.
    #[serde(default)]
    pub(crate) part: Option<Part>,
    #[serde(default = "grace", with = "span")]
    pub(crate) grace: Duration,
    #[serde(default = "patience", with = "span")]
    pub(crate) within: Duration,
}

/// A part of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// The services that hold its data, by the configuration.
    Data,
    /// All others.
    Apps,
}

/// `backup`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ComponentSays {
    pub(crate) component: String,
    /// The site whose data it is; the component's own place where it is left out.
    #[serde(default)]
    pub(crate) site: Option<String>,
}

/// `final_backup`, `compare`, `count`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteComponentSays {
    pub(crate) component: String,
    pub(crate) site: String,
}

/// `verify_backup`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifySays {
    pub(crate) component: String,
    /// Which backup; the newest, or the one for the time that the run was told, where it is left out.
    #[serde(default)]
    pub(crate) at: Option<Point>,
}

/// `restore`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreSays {
    pub(crate) component: String,
    /// The site that is restored to; the component's own place where it is left out.
    #[serde(default)]
    pub(crate) site: Option<String>,
    /// As for `verify_backup`: the backup that was verified for it is the one that is restored.
    #[serde(default)]
    pub(crate) at: Option<Point>,
}

/// Which backup is meant: the newest that shows a time or an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
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
pub(crate) struct DnsSays {
    pub(crate) to: String,
    #[serde(default)]
    pub(crate) by: Option<LeadBy>,
    #[serde(default)]
    pub(crate) percent: Option<u8>,
    #[serde(default, with = "span::optional")]
    pub(crate) confirm_within: Option<Duration>,
}

/// `dns_ttl`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TtlSays {
    #[serde(default)]
    pub(crate) lower: Option<u32>,
    #[serde(default)]
    pub(crate) restore: bool,
}

/// `command`: a shell command, here or on a site.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandSays {
    pub(crate) run: String,
    #[serde(default)]
    pub(crate) site: Option<String>,
    /// Succeeds when the command took place, fails with 1 when it did not; anything else is unclear.
    #[serde(default)]
    pub(crate) probe: Option<String>,
    #[serde(default)]
    pub(crate) undo: Option<String>,
    #[serde(default)]
    pub(crate) idempotent: bool,
    #[serde(default)]
    pub(crate) at_most_once: bool,
    /// It makes the site take writes.
    #[serde(default)]
    pub(crate) writes: bool,
    /// It replaces or deletes data.
    #[serde(default)]
    pub(crate) destructive: bool,
}

/// `promote_postgres`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromoteSays {
    pub(crate) site: String,
    /// What runs `psql` there, ready for a query: `docker exec veza-postgres psql -U postgres -Atqc`.
    pub(crate) psql: String,
}

/// `wait`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitSays {
    #[serde(rename = "for", with = "span")]
    pub(crate) time: Duration,
}

/// `notify`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotifySays {
    pub(crate) text: String,
    /// Who is told; everybody when nobody is named.
    #[serde(default)]
    pub(crate) channels: Vec<String>,
}

/// `note`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextSays {
    pub(crate) text: String,
}
