//! What is kept of one recovery or drill.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Availability, ClockPoints, DataLoss, seconds};
use crate::runbook::{RunReport, RunStatus, StepStatus};

/// In earnest or rehearsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecoveryKind {
    /// A recovery in earnest.
    Recovery,
    /// A drill.
    Drill,
}

impl std::fmt::Display for RecoveryKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Recovery => "recovery",
            Self::Drill => "drill",
        })
    }
}

/// How long one step took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepTime {
    /// The step.
    pub id: String,
    /// How it ended.
    pub status: StepStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// When its last try began.
    #[serde(default)]
    pub began: Option<DateTime<Utc>>,
    /// When that ended.
    #[serde(default)]
    pub ended: Option<DateTime<Utc>>,
    /// Its outcome was lost and found out afterwards: its times say nothing of how long it takes.
    #[serde(default)]
    pub recovered: bool,
}

impl StepTime {
    /// How long its last try took, where it was done and watched.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        let done = self.status == StepStatus::Done && !self.recovered;
        (self.ended? - self.began?).to_std().ok().filter(|_| done)
    }
}

/// One recovery or drill, measured. Kept in the store as one immutable object; written once it has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecoveryRecord {
    /// The form of this document: 1.
    pub format: u32,
    /// The name of this object: that of the run or drill, and `-r2` and so on for a revision.
    pub id: String,
    /// The name of the run or drill. Names begin with the time and sort by it.
    pub run: String,
    /// 1; more when something of it became known, or changed, after it had ended: the highest counts.
    #[serde(default = "first")]
    pub revision: u32,
    /// In earnest or rehearsed.
    pub kind: RecoveryKind,
    /// The scenario, where it is for one.
    #[serde(default)]
    pub scenario: Option<String>,
    /// The plan's name.
    pub plan: String,
    /// The plan's hash.
    pub plan_sha: String,
    /// The machine that ran it.
    pub host: String,
    /// Who ran it.
    pub who: String,
    /// The version of this software.
    pub tool_version: String,
    /// How it ended.
    pub status: RunStatus,
    /// When it began.
    pub began: DateTime<Utc>,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// The recovery time objective that it was held to.
    #[serde(default)]
    pub rto_seconds: Option<f64>,
    /// The recovery point objective that it was held to.
    #[serde(default)]
    pub rpo_seconds: Option<f64>,
    /// The clock points.
    pub points: ClockPoints,
    /// What was lost.
    #[serde(default)]
    pub data_loss: DataLoss,
    /// How available the service was from the outage's beginning to the record's end; `None`: nobody looked.
    #[serde(default)]
    pub availability: Option<Availability>,
    /// The steps, in the plan's order.
    #[serde(default)]
    pub steps: Vec<StepTime>,
    /// Rules that a person went on without.
    #[serde(default)]
    pub overrides: Vec<String>,
}

fn first() -> u32 {
    1
}

impl RecoveryRecord {
    /// What the report of a run tells; objectives, loss and availability are added by the `with_…` methods.
    #[must_use]
    pub fn of_run(report: &RunReport, kind: RecoveryKind, host: impl Into<String>) -> Self {
        let steps = report.steps.iter().map(|s| StepTime {
            id: s.id.clone(),
            status: s.status,
            attempts: s.attempts,
            began: s.began,
            ended: s.ended,
            recovered: s.recovered,
        });
        Self {
            format: 1,
            id: report.run.clone(),
            run: report.run.clone(),
            revision: 1,
            kind,
            scenario: report.scenario.clone(),
            plan: report.plan.clone(),
            plan_sha: report.plan_sha.clone(),
            host: host.into(),
            who: report.who.clone(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            status: report.status,
            began: report.started,
            ended: report.last,
            rto_seconds: None,
            rpo_seconds: None,
            points: ClockPoints::of(&report.points),
            data_loss: DataLoss::default(),
            availability: None,
            steps: steps.collect(),
            overrides: report.overrides.iter().map(|o| o.rule.to_string()).collect(),
        }
    }

    /// Of the run or drill of this name.
    #[must_use]
    pub fn named(mut self, run: impl Into<String>) -> Self {
        self.run = run.into();
        let revision = self.revision;
        self.revised(revision)
    }

    /// As this revision, counted from 1.
    #[must_use]
    pub fn revised(mut self, revision: u32) -> Self {
        self.revision = revision.max(1);
        self.id = if self.revision == 1 { self.run.clone() } else { format!("{}-r{}", self.run, self.revision) };
        self
    }

    /// Held to these objectives.
    #[must_use]
    pub fn with_objectives(mut self, rto: Duration, rpo: Duration) -> Self {
        (self.rto_seconds, self.rpo_seconds) = (Some(rto.as_secs_f64()), Some(rpo.as_secs_f64()));
        self
    }

    /// With these clock points where the run itself does not know them.
    #[must_use]
    pub fn with_points(mut self, points: ClockPoints) -> Self {
        self.points = self.points.or(points);
        self
    }

    /// With what was lost.
    #[must_use]
    pub fn with_data_loss(mut self, loss: DataLoss) -> Self {
        self.data_loss = loss;
        self
    }

    /// With how available the service was.
    #[must_use]
    pub fn with_availability(mut self, availability: Option<Availability>) -> Self {
        self.availability = availability;
        self
    }

    /// The recovery time in seconds (T6 − T0).
    #[must_use]
    pub fn recovery_time(&self) -> Option<f64> {
        self.points.recovery_time().map(|d| d.as_secs_f64())
    }

    /// Whether the recovery time objective was met; `None` when that is not known. A recovery that ended without users
    /// being served did not meet it.
    #[must_use]
    pub fn rto_met(&self) -> Option<bool> {
        let rto = self.rto_seconds?;
        match (self.points.t0, self.points.t6) {
            (Some(from), Some(to)) => Some(seconds(from, to) <= rto),
            // Every step is done: users may have been served at any time before.
            (_, None) if matches!(self.status, RunStatus::Completed | RunStatus::CompletedWithSkips) => None,
            (from, None) => {
                // The outage lasted until the end at least.
                let at_least = seconds(from.or(self.points.t3)?, self.ended);
                (at_least > rto).then_some(false)
            }
            (None, Some(_)) => None,
        }
    }

    /// Whether the recovery point objective was met; `None` when what was lost is not known.
    #[must_use]
    pub fn rpo_met(&self) -> Option<bool> {
        let rpo = self.rpo_seconds?;
        if self.data_loss.is_nothing() {
            return Some(true);
        }
        self.data_loss.span().map(|span| span.as_secs_f64() <= rpo)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use chrono::TimeDelta;

    use super::*;

    /// A recovery of this scenario that took so many minutes.
    pub(crate) fn record(id: &str, scenario: &str, minutes: i64) -> RecoveryRecord {
        let t0 = DateTime::UNIX_EPOCH + TimeDelta::days(400);
        RecoveryRecord {
            format: 1,
            id: id.to_owned(),
            run: id.to_owned(),
            revision: 1,
            kind: RecoveryKind::Recovery,
            scenario: Some(scenario.to_owned()),
            plan: scenario.to_owned(),
            plan_sha: "ab".to_owned(),
            host: "here".to_owned(),
            who: "ops".to_owned(),
            tool_version: "0".to_owned(),
            status: RunStatus::Completed,
            began: t0,
            ended: t0 + TimeDelta::minutes(minutes),
            rto_seconds: Some(7200.0),
            rpo_seconds: Some(3600.0),
            points: ClockPoints {
                t0: Some(t0),
                t3: Some(t0),
                t6: Some(t0 + TimeDelta::minutes(minutes)),
                ..ClockPoints::default()
            },
            data_loss: DataLoss::default(),
            availability: None,
            steps: Vec::new(),
            overrides: Vec::new(),
        }
    }

    #[test]
    fn objectives_are_met_missed_or_not_known() {
        let mut r = record("a", "database", 119);
        assert_eq!((r.rto_met(), r.rpo_met()), (Some(true), None));
        r.points.t6 = r.points.t6.map(|t| t + TimeDelta::minutes(2));
        assert_eq!(r.rto_met(), Some(false));
        // Never served: late once the objective has passed, and not known before.
        (r.points.t6, r.status) = (None, RunStatus::Abandoned);
        assert_eq!(r.rto_met(), None);
        r.ended += TimeDelta::minutes(10);
        assert_eq!(r.rto_met(), Some(false));
        r.data_loss = DataLoss::of(vec![super::super::LossPart::new("database", "rows").with_records(0)]);
        assert_eq!(r.rpo_met(), Some(true));
        // No row is missing, but some have values of an hour and more ago.
        let at = DateTime::UNIX_EPOCH;
        let part = super::super::LossPart::new("database", "rows").with_records(0).with_changed(5);
        r.data_loss = DataLoss::of(vec![part.with_times(at, at + TimeDelta::minutes(61))]);
        assert_eq!(r.rpo_met(), Some(false));
    }

    #[test]
    fn a_record_comes_back_as_it_was_and_what_is_new_is_ignored() {
        let r = record("20261123T104500Z-7f3a9c", "backend", 5);
        let mut json = serde_json::to_value(&r).unwrap();
        assert_eq!(json["points"]["T1"], serde_json::Value::Null);
        json["later"] = true.into();
        assert_eq!(serde_json::from_value::<RecoveryRecord>(json).unwrap(), r);
    }
}
