//! `escalation:` who is called about an outage or a recovery, and when.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Span, Text};

/// Who is called about an outage or a recovery, and when. The four levels of the operations guide where it is left out,
/// told to every channel of `notify`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EscalationSettings {
    /// People: a short name of your choice for each.
    #[serde(default)]
    pub contacts: BTreeMap<String, ContactSettings>,
    /// The levels, the first first.
    #[serde(default)]
    pub levels: Option<Vec<LevelSettings>>,
    /// While nobody acknowledges, the level that was reached is called again this often; 30m by default.
    #[serde(default)]
    pub repeat: Option<Span>,
    /// An acknowledgement holds for so long, then, if it still goes on, the level is called again; 1h by default.
    #[serde(default)]
    pub acknowledged_for: Option<Span>,
}

/// Somebody who can be called.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ContactSettings {
    /// What they do.
    #[serde(default)]
    pub role: Option<String>,
    /// Their address: mail channels among `channels` write to it instead of to their own receivers.
    #[serde(default)]
    pub mail: Option<Text>,
    /// The channels of `notify` that reach them: the first that works is used.
    #[schemars(length(min = 1))]
    pub channels: Vec<String>,
}

/// One level. It begins with the first of its conditions.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LevelSettings {
    /// Who that is, for people.
    pub name: String,
    /// So long after the outage began.
    #[serde(default)]
    pub after: Option<Span>,
    /// When so many of a hundred parts of the recovery time objective have passed.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub rto_share: Option<u32>,
    /// When the recovery will probably miss its objective.
    #[serde(default)]
    pub on_predicted_breach: bool,
    /// Who is called, by their names under `contacts`.
    #[serde(default)]
    pub contacts: Vec<String>,
    /// What they may decide, told with the call: fail over, accept loss.
    #[serde(default)]
    pub authority: Option<String>,
}
