//! The record of a drill: what was tried, what came of it, and what was left behind.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::{BackupId, ComponentName, Finding, Outcome, ScenarioKind, Severity, Verdict, manifest::Tool};

use super::plan_record::RehearsedPlan;
use crate::validate::ValidationReport;

/// The newest format of drill records that this build writes and reads.
pub const RECORD_FORMAT: u32 = 1;

/// How a drill is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DrillKind {
    /// Private servers of this host, on the loopback interface.
    Processes,
    /// A Compose project of its own, in a network without a way out.
    Compose,
    /// A clean folder, the objects of the store, the key and stock tools, by the backups' own recipes.
    ColdStart,
}

impl std::fmt::Display for DrillKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Processes => "processes",
            Self::Compose => "compose",
            Self::ColdStart => "cold_start",
        })
    }
}

/// What a drill came to. Only [`DrillOutcome::Passed`] is a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DrillOutcome {
    /// Recovered within the objectives, equal to the manifest, nothing left behind, production unchanged.
    Passed,
    /// Recovered and equal, but later or with older data than the objectives allow.
    TargetMissed,
    /// Something could not be told: a comparison, or whether production changed.
    Unproven,
    /// Not recovered, or what was recovered differs.
    Failed,
    /// A damaged copy passed: what this drill, or an earlier one, says of good copies is worth nothing.
    ControlMissed,
    /// Something of production is not as it was before.
    ProductionChanged,
    /// Stopped, or killed, before its end.
    Interrupted,
}

impl std::fmt::Display for DrillOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::TargetMissed => "target_missed",
            Self::Unproven => "unproven",
            Self::Failed => "failed",
            Self::ControlMissed => "control_missed",
            Self::ProductionChanged => "production_changed",
            Self::Interrupted => "interrupted",
        })
    }
}

/// What the recovery has to keep to, fixed before the drill begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objectives {
    /// The recovery time objective, in milliseconds.
    pub rto_ms: u64,
    /// The recovery point objective, in milliseconds.
    pub rpo_ms: u64,
}

/// A moment of a recovery, by its number: `T0` the last good answer before the disaster, `T1` noticed, `T2` declared,
/// `T3` decided, `T4` recovery begun, `T5` validated by its own address, `T6` served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockPoint {
    /// `T0` to `T6`.
    pub point: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// How long it took, in milliseconds, by a clock that is never set.
    pub took_ms: u64,
    /// What.
    pub what: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What there is to say about it.
    pub detail: String,
}

/// One restore of one component into its private place.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StageRecord {
    /// How long it took, in milliseconds, from an empty place to the comparison's end.
    pub took_ms: u64,
    /// What the comparison with the manifest came to; absent when there was none.
    pub verdict: Option<Verdict>,
    /// Things compared and found equal: tables, databases, trees.
    pub equal: u64,
    /// Rows, keys or files that those cover.
    pub rows: u64,
    /// What is not proven equal; the first twenty.
    pub findings: Vec<Finding>,
    /// Why it failed.
    pub error: Option<String>,
}

impl StageRecord {
    /// Restored, compared and equal.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.error.is_none() && self.verdict == Some(Verdict::Equal)
    }
}

/// How many records of one table (or key space) production has more than the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLoss {
    /// Its name.
    pub name: String,
    /// How many production had when the drill began.
    pub live: u64,
    /// How many the recovered copy has.
    pub restored: u64,
}

/// What a disaster at the time of the drill would have cost a component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Records that production had and the recovered copy lacks, counted by table; absent when it is unknown.
    pub records: Option<u64>,
    /// How it was counted, or why it is unknown.
    pub basis: String,
    /// The tables that differ.
    pub tables: Vec<TableLoss>,
}

/// What became of one component.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PartRecord {
    /// The component.
    pub component: ComponentName,
    /// Its engine.
    pub engine: String,
    /// The store that it came from.
    pub store: String,
    /// The backup.
    pub backup: BackupId,
    /// The instant that the backup shows.
    pub shows: DateTime<Utc>,
    /// Plain bytes of the backup.
    pub bytes: u64,
    /// Rows, keys or files of the backup.
    pub rows: u64,
    /// The restore that made the place which the disaster then took.
    pub baseline: Option<StageRecord>,
    /// The restore after the disaster.
    pub recovery: Option<StageRecord>,
    /// The disaster left it where it was: it was restored beforehand, and `recovery` only compares it afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standing: bool,
    /// How old the recovered data were when the disaster came, in milliseconds: the recovery point actual.
    pub rpa_ms: Option<u64>,
    /// What was lost.
    pub loss: Loss,
}

/// Whether a damaged copy was told from a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlVerdict {
    /// It was refused because of the damage.
    Caught,
    /// It was taken for good.
    Missed,
    /// It failed for another reason: nothing is known.
    Unclear,
}

/// A damaged copy of one component's backup, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlPart {
    /// The component.
    pub component: ComponentName,
    /// What was done to the copy: `bit_flip`, `truncated`, `wrong_key`.
    pub damage: String,
    /// Whether it was noticed.
    pub verdict: ControlVerdict,
    /// How it was noticed, or what happened instead.
    pub how: String,
}

/// The negative control: damaged copies must not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlRecord {
    /// The worst of the parts.
    pub verdict: ControlVerdict,
    /// One for each component.
    pub parts: Vec<ControlPart>,
}

/// Something of production before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What.
    pub what: String,
    /// Before the drill; absent when it was not there.
    pub before: Option<String>,
    /// After it; absent when it is no longer there.
    pub after: Option<String>,
}

/// Something of production that could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unseen {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// Whether production is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductionVerdict {
    /// Everything that was looked at is as it was, and everything could be looked at.
    Unchanged,
    /// Something is not as it was.
    Changed,
    /// Something could not be looked at. Not a pass.
    Unknown,
}

/// The state of production before and after a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductionProof {
    /// What it comes to.
    pub verdict: ProductionVerdict,
    /// How many facts were compared.
    pub facts: u64,
    /// SHA-256 of all facts that must not change, before.
    pub digest_before: String,
    /// The same after.
    pub digest_after: String,
    /// What must not change and did.
    pub changed: Vec<Change>,
    /// What production's own work moves: row counts, new backups. Told, and no sign of the drill.
    pub moved: Vec<Change>,
    /// What could not be looked at.
    pub unknown: Vec<Unseen>,
}

/// How far the removal of what a drill made is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CleanUpState {
    /// It is still to be done.
    CleanupPending,
    /// Something could not be removed; the next start tries again.
    CleanupIncomplete,
    /// Nothing is left, and that was looked at.
    Cleaned,
    /// Given up by force: what is left is named.
    Leaked,
}

impl std::fmt::Display for CleanUpState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CleanupPending => "cleanup_pending",
            Self::CleanupIncomplete => "cleanup_incomplete",
            Self::Cleaned => "cleaned",
            Self::Leaked => "leaked",
        })
    }
}

/// What became of what a drill made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanUp {
    /// How far it is.
    pub state: CleanUpState,
    /// When that was found.
    pub at: DateTime<Utc>,
    /// What was removed: folders, processes, projects.
    pub removed: Vec<String>,
    /// What is left, and why.
    pub left: Vec<Unseen>,
}

/// Something that somebody has to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillFinding {
    /// How much.
    pub severity: Severity,
    /// What.
    pub text: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// One run of the checks of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillValidation {
    /// The step of the plan that asked for it; absent when the drill did by itself.
    pub step: Option<String>,
    /// What each check found.
    pub report: ValidationReport,
}

/// The record of one drill, immutable once it is in a store.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DrillRecord {
    /// The format's version; a reader refuses a newer one.
    pub format: u32,
    /// The drill.
    pub id: BackupId,
    /// What carried it out.
    pub tool: Tool,
    /// The host that it ran on.
    pub host: String,
    /// Who asked for it: a person, or the schedule.
    pub by: String,
    /// How it was carried out.
    pub kind: DrillKind,
    /// The scenario that it rehearses.
    pub scenario: ScenarioKind,
    /// Which drill of this scenario it is, beginning with 1, by the store's own records; absent when they could not be
    /// read.
    pub number: Option<u64>,
    /// What it came to.
    pub outcome: DrillOutcome,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When its last part ended.
    pub ended_at: DateTime<Utc>,
    /// The instant that was asked for; absent when it was the newest backup.
    pub wanted: Option<DateTime<Utc>>,
    /// What the recovery has to keep to.
    pub objectives: Objectives,
    /// What must hold for a pass, written before the drill began.
    pub criteria: Vec<String>,
    /// SHA-256 of the objectives, criteria, backups and steps of the drill itself, as they were before it began.
    pub plan_sha256: String,
    /// What is rehearsed, step by step.
    pub steps: Vec<String>,
    /// What it leaves out.
    pub exclusions: Vec<String>,
    /// The moments of the recovery.
    pub clock: Vec<ClockPoint>,
    /// Recovery time actual, T6 less T0, in milliseconds; absent when it did not recover.
    pub rta_ms: Option<u64>,
    /// The oldest component's recovery point actual, in milliseconds; absent when it did not recover.
    pub rpa_ms: Option<u64>,
    /// Each component.
    pub parts: Vec<PartRecord>,
    /// The negative control, where there was one.
    pub control: Option<ControlRecord>,
    /// The plan that was followed, step by step, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<RehearsedPlan>,
    /// What the checks of the configuration found, asked of the copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validation: Vec<DrillValidation>,
    /// What happened, in order.
    pub timeline: Vec<TimelineEntry>,
    /// Whether production is as it was.
    pub production: ProductionProof,
    /// What became of what was made.
    pub cleanup: CleanUp,
    /// What somebody has to look at.
    pub findings: Vec<DrillFinding>,
}
