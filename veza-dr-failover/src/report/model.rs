//! The report and its parts that are neither measured nor said by people.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Availability, ClockPoints, Communication, Consistency, Decision, Exclusion, Finding, Person, RecoveryPoint,
    RecoveryTime, Retest, SignOff,
};
use crate::runbook::StepStatus;

/// The version of the form that this build writes. Older ones are read; newer ones are refused.
pub const VERSION: u32 = 1;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReportKind {
    /// People talked it through; nothing was run.
    TableTop,
    /// A recovery in containers without a way out.
    IsolatedDrill,
    /// A recovery into private servers, without containers.
    ProcessDrill,
    /// A recovery from nothing but the store, the key and stock tools.
    ColdStartDrill,
    /// A drill with a damaged copy, which must be found out.
    NegativeControl,
    /// The real sites changed places, planned.
    LiveSwitchover,
    /// A recovery in earnest.
    Recovery,
}

impl ReportKind {
    /// Everything but a recovery in earnest.
    #[must_use]
    pub fn is_drill(self) -> bool {
        self != Self::Recovery
    }
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// As it must be.
    Passed,
    /// Not as it must be.
    Failed,
    /// It could not be told: never a pass.
    #[default]
    Unknown,
    /// It was left out.
    NotDone,
}

/// What is in the exercise and what is not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Scope {
    /// Components that were recovered.
    pub components: Vec<String>,
    /// Sites that took part.
    pub sites: Vec<String>,
    /// Where it took place, and what kept it apart from production.
    pub place: Option<String>,
    /// What was left out, and why.
    pub exclusions: Vec<Exclusion>,
    /// Others that took part: providers, suppliers.
    pub third_parties: Vec<String>,
    /// The risk or the business impact analysis that the scenario comes from.
    pub risk_reference: Option<String>,
}

/// One thing that decides between passed and failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Criterion {
    /// A short name.
    pub id: String,
    /// What is demanded.
    pub text: String,
    /// What passes.
    pub target: String,
    /// What was found; absent when nothing was.
    pub measured: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Criterion {
    /// A criterion of which nothing is known yet.
    #[must_use]
    pub fn new(id: impl Into<String>, text: impl Into<String>, target: impl Into<String>) -> Self {
        Self { id: id.into(), text: text.into(), target: target.into(), measured: None, outcome: Outcome::Unknown }
    }

    /// It ended like this, and this was found.
    #[must_use]
    pub fn ended(mut self, outcome: Outcome, measured: impl Into<String>) -> Self {
        (self.outcome, self.measured) = (outcome, Some(measured.into()));
        self
    }

    /// It is met.
    #[must_use]
    pub fn met(self, measured: impl Into<String>) -> Self {
        self.ended(Outcome::Passed, measured)
    }

    /// It is not met.
    #[must_use]
    pub fn missed(self, measured: impl Into<String>) -> Self {
        self.ended(Outcome::Failed, measured)
    }
}

/// What decides, and since when that stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Criteria {
    /// When they were fixed; a time after the start shows that they were made to fit. Absent: unknown.
    pub fixed_at: Option<DateTime<Utc>>,
    /// Where they come from.
    pub source: Option<String>,
    /// Each of them.
    pub list: Vec<Criterion>,
}

/// The plan that was run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PlanLine {
    /// Its name.
    pub name: String,
    /// Its hash: what people approved.
    pub sha256: Option<String>,
    /// Steps that were left out of it from the start, and why.
    pub left_out: Vec<String>,
}

/// The version of a tool or a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Of what.
    pub what: String,
    /// Which; absent when it could not be told.
    pub version: Option<String>,
}

impl Version {
    /// A version that is known.
    #[must_use]
    pub fn new(what: impl Into<String>, version: impl Into<String>) -> Self {
        Self { what: what.into(), version: Some(version.into()) }
    }

    /// One that could not be told.
    #[must_use]
    pub fn unknown(what: impl Into<String>) -> Self {
        Self { what: what.into(), version: None }
    }
}

/// One step as it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TimelineStep {
    /// Its name within the plan.
    pub id: String,
    /// The kind of action.
    pub action: Option<String>,
    /// How it ended.
    pub status: StepStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// When its last try began.
    pub began: Option<DateTime<Utc>>,
    /// When that ended.
    pub ended: Option<DateTime<Utc>>,
    /// What it achieved, or why not.
    pub text: String,
    /// The clock point that its success is.
    pub marks: Option<String>,
    /// Its outcome was lost and found out afterwards.
    pub recovered: bool,
    /// The facts behind it.
    pub evidence: Value,
}

impl TimelineStep {
    /// A step with nothing but its name and status.
    #[must_use]
    pub fn new(id: impl Into<String>, status: StepStatus) -> Self {
        Self {
            id: id.into(),
            action: None,
            status,
            attempts: 0,
            began: None,
            ended: None,
            text: String::new(),
            marks: None,
            recovered: false,
            evidence: Value::Null,
        }
    }

    /// Its last try took place between these two.
    #[must_use]
    pub fn between(mut self, began: DateTime<Utc>, ended: DateTime<Utc>) -> Self {
        (self.began, self.ended, self.attempts) = (Some(began), Some(ended), self.attempts.max(1));
        self
    }

    /// What it achieved, with the facts behind it.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>, evidence: Value) -> Self {
        (self.text, self.evidence) = (text.into(), evidence);
        self
    }

    /// How long its last try took, in seconds.
    #[must_use]
    pub fn took_seconds(&self) -> Option<f64> {
        super::measured::seconds_between(self.began, self.ended)
    }
}

/// One check of a validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckLine {
    /// Its name.
    pub name: String,
    /// Which site or part it looked at.
    pub site: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// What passes.
    pub tolerance: Option<String>,
    /// What was measured.
    pub measured: Option<String>,
    /// Why it is no pass.
    pub reason: Option<String>,
    /// How long it took, in seconds.
    pub took_seconds: Option<f64>,
}

impl CheckLine {
    /// A check with nothing but its name and outcome.
    #[must_use]
    pub fn new(name: impl Into<String>, outcome: Outcome) -> Self {
        Self {
            name: name.into(),
            site: None,
            outcome,
            tolerance: None,
            measured: None,
            reason: None,
            took_seconds: None,
        }
    }
}

/// One thing that was cleaned up, or proven to be untouched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanUpItem {
    /// What.
    pub what: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How that is known: a count, a digest before and after.
    pub proof: String,
}

impl CleanUpItem {
    /// An item.
    #[must_use]
    pub fn new(what: impl Into<String>, outcome: Outcome, proof: impl Into<String>) -> Self {
        Self { what: what.into(), outcome, proof: proof.into() }
    }
}

/// What became of everything that the exercise made, and that production is as before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CleanUp {
    /// When it was done.
    pub at: Option<DateTime<Utc>>,
    /// Each thing that was removed.
    pub removed: Vec<CleanUpItem>,
    /// Each thing of production that was compared before and after.
    pub production: Vec<CleanUpItem>,
}

impl CleanUp {
    /// Failed when anything failed, passed only when something was looked at and all of it passed.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        super::conclude::worst(self.removed.iter().chain(&self.production).map(|i| i.outcome))
    }
}

/// The place of a report in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Counted from 1, without a gap.
    pub seq: u64,
    /// The SHA-256 of the report before; absent in the first.
    pub previous_sha256: Option<String>,
}

/// A recovery or a drill, told whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// The version of this form.
    pub version: u32,
    /// Its name, unlike that of any other report: letters, digits, `.`, `_`, `-`.
    pub id: String,
    /// What was done.
    pub kind: ReportKind,
    /// The report that this one takes the place of, by its SHA-256: after a sign-off, a finding that was mended.
    pub revises: Option<String>,
    /// The disaster that it was about.
    pub scenario: Option<String>,
    /// What it was for, in a few lines.
    pub about: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// The verdict; see [`RecoveryReport::conclude`].
    pub outcome: Outcome,
    /// Why the verdict is not better, one line each.
    pub reasons: Vec<String>,
    /// What is in and what is not.
    pub scope: Scope,
    /// What was to be shown.
    pub objectives: Vec<String>,
    /// What had to hold before it began.
    pub preconditions: Vec<Criterion>,
    /// What decides.
    pub criteria: Criteria,
    /// What was run.
    pub plan: PlanLine,
    /// The name of the run, where a runbook was run.
    pub run: Option<String>,
    /// The SHA-256 of the run's journal, byte for byte.
    pub journal_sha256: Option<String>,
    /// Tools and servers.
    pub versions: Vec<Version>,
    /// Who did, approved, declared what.
    pub people: Vec<Person>,
    /// The steps, in the plan's order.
    pub steps: Vec<TimelineStep>,
    /// What did not go as the plan says.
    pub deviations: Vec<String>,
    /// Steps that a person left out.
    pub skips: Vec<Decision>,
    /// Rules that a person went on without.
    pub overrides: Vec<Decision>,
    /// The clock points.
    pub clock: ClockPoints,
    /// Recovery time: target and actual.
    pub recovery_time: RecoveryTime,
    /// Data loss: target and actual.
    pub recovery_point: RecoveryPoint,
    /// Service availability; absent when it was not measured.
    pub availability: Option<Availability>,
    /// What was compared with the backup's record.
    pub consistency: Consistency,
    /// What validation found.
    pub validation: Vec<CheckLine>,
    /// Messages that were sent, or rehearsed.
    pub communication: Vec<Communication>,
    /// What became of what the exercise made; absent when there was nothing to clean up.
    pub clean_up: Option<CleanUp>,
    /// What is to be mended.
    pub findings: Vec<Finding>,
    /// Findings of earlier reports, looked at again.
    pub retests: Vec<Retest>,
    /// What was learnt.
    pub lessons: Vec<String>,
    /// What changes in the plan.
    pub plan_changes: Vec<String>,
    /// Who stands behind it.
    pub sign_off: Vec<SignOff>,
    /// When the next one is due.
    pub next_due: Option<DateTime<Utc>>,
    /// Its place in the chain; absent before it is sealed.
    pub chain: Option<Link>,
    /// The SHA-256 of all of the above in canonical form; absent before it is sealed.
    pub sha256: Option<String>,
}

impl Default for RecoveryReport {
    fn default() -> Self {
        Self::new("", ReportKind::Recovery, DateTime::<Utc>::UNIX_EPOCH)
    }
}

impl RecoveryReport {
    /// A report in which everything is still unknown.
    #[must_use]
    pub fn new(id: impl Into<String>, kind: ReportKind, started_at: DateTime<Utc>) -> Self {
        Self {
            version: VERSION,
            id: id.into(),
            kind,
            revises: None,
            scenario: None,
            about: String::new(),
            started_at,
            ended_at: None,
            outcome: Outcome::Unknown,
            reasons: Vec::new(),
            scope: Scope::default(),
            objectives: Vec::new(),
            preconditions: Vec::new(),
            criteria: Criteria::default(),
            plan: PlanLine::default(),
            run: None,
            journal_sha256: None,
            versions: Vec::new(),
            people: Vec::new(),
            steps: Vec::new(),
            deviations: Vec::new(),
            skips: Vec::new(),
            overrides: Vec::new(),
            clock: ClockPoints::default(),
            recovery_time: RecoveryTime::default(),
            recovery_point: RecoveryPoint::default(),
            availability: None,
            consistency: Consistency::default(),
            validation: Vec::new(),
            communication: Vec::new(),
            clean_up: None,
            findings: Vec::new(),
            retests: Vec::new(),
            lessons: Vec::new(),
            plan_changes: Vec::new(),
            sign_off: Vec::new(),
            next_due: None,
            chain: None,
            sha256: None,
        }
    }

    /// The report as JSON, indented.
    ///
    /// # Errors
    /// `Unexpected` when it cannot be written as JSON.
    pub fn json(&self) -> veza_dr_core::Result<String> {
        let settled = serde_json::to_value(self).and_then(|mut value| {
            // As it was hashed: the hash can be worked out again from this form, too.
            super::canonical::settle(&mut value);
            serde_json::to_string_pretty(&value)
        });
        settled.map(|text| text + "\n").map_err(|e| {
            veza_dr_core::Error::new(veza_dr_core::ErrorKind::Unexpected, "the report cannot be written as JSON")
                .with_source(e)
        })
    }
}
