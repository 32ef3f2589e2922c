//! `drills:` how recoveries are rehearsed, and when.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{ScheduleSetting, Text};

/// How recoveries are rehearsed. All of it may be left out.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DrillSettings {
    /// Where private servers and folders are made, about twice the plain size of the backups; the system's folder for
    /// temporary files where it is left out.
    #[serde(default)]
    pub scratch_dir: Option<Text>,
    /// Every so many drills of a scenario, damaged copies are tried first and must fail; 4 where it is left out, 0 for
    /// never.
    #[serde(default)]
    pub negative_control_every: Option<u32>,
    /// Whether the rows of production's tables are counted before and after, which reads all of them; `true` where it is
    /// left out. Without it, what a disaster would lose is unknown.
    #[serde(default)]
    pub count_rows: Option<bool>,
    /// When `veza-dr serve` runs a drill of each scenario.
    #[serde(default)]
    pub schedule: DrillSchedules,
}

/// When each scenario is rehearsed: `database: "0 3 1 */3 *"` is every quarter, at three in the morning.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DrillSchedules {
    /// The database is lost.
    #[serde(default)]
    pub database: Option<ScheduleSetting>,
    /// Backend services are down.
    #[serde(default)]
    pub backend: Option<ScheduleSetting>,
    /// The whole site is down.
    #[serde(default)]
    pub infrastructure: Option<ScheduleSetting>,
    /// Data was tampered with.
    #[serde(default)]
    pub security: Option<ScheduleSetting>,
}
