//! What an assessment found: data, for pages, scripts and the journal.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::ScenarioKind;

use super::ServiceKind;
use crate::site::SiteRole;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Condition {
    /// Does what it should.
    Healthy,
    /// Answers, but not as it should.
    Degraded,
    /// It cannot be told. Never to be read as healthy, nor as down.
    Unknown,
    /// Does not answer, or says that it is down.
    Down,
    /// There is no such service on this site.
    Absent,
}

/// What one probe said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// The probe.
    pub probe: String,
    /// What it found; unknown when it could not tell.
    pub condition: Condition,
    /// The evidence, in words.
    pub detail: String,
    /// How long the look took.
    pub took: Duration,
    /// Whether anything came back from the machine asked; absent when the probe itself failed.
    pub reached: Option<bool>,
}

/// One service on one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceFinding {
    /// The service.
    pub service: String,
    /// What `recover` calls it.
    pub alias: Option<String>,
    /// What it is for.
    pub kind: ServiceKind,
    /// The verdict over its probes.
    pub condition: Condition,
    /// Why it is not better, one line each.
    pub reasons: Vec<String>,
    /// Each probe.
    pub probes: Vec<Finding>,
}

/// One site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SiteFinding {
    /// The site.
    pub site: String,
    /// What it is for while nothing is wrong.
    pub role: SiteRole,
    /// Whether anything came back from it, by any way; `None` when nothing was asked.
    pub reachable: Option<bool>,
    /// Its worst service; for a standby, whether it could be used.
    pub condition: Condition,
    /// Each service.
    pub services: Vec<ServiceFinding>,
}

/// The disaster that this looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Suggestion {
    /// Which of the planned ones.
    pub scenario: ScenarioKind,
    /// Why, one line each.
    pub reasons: Vec<String>,
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Assessment {
    /// When it began.
    pub at: DateTime<Utc>,
    /// How long it took.
    pub took: Duration,
    /// The verdict over all.
    pub condition: Condition,
    /// Why it is not better, one line each.
    pub reasons: Vec<String>,
    /// What this looks like; absent while nothing that was planned for is seen.
    pub suggestion: Option<Suggestion>,
    /// Each site.
    pub sites: Vec<SiteFinding>,
    /// The way from here to the world.
    pub network: Vec<Finding>,
    /// Room on this machine.
    pub disks: Vec<Finding>,
    /// What could be recovered from.
    pub backups: Vec<Finding>,
    /// The commands that follow, most urgent first.
    pub next: Vec<String>,
}
