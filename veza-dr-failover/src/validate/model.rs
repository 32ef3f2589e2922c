//! What a validation found.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use veza_dr_core::{Error, ErrorKind, Result};

use super::Group;

/// How a check, or all of them, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// Within the tolerance.
    Pass,
    /// Not within the tolerance.
    Fail,
    /// It could not be told: never a pass.
    Error,
    /// Not asked, for the reason given.
    Skipped,
}

/// A check before it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlannedCheck {
    /// Its name.
    pub name: String,
    /// When it runs.
    pub group: Group,
    /// What passes.
    pub tolerance: String,
    /// How long it may take, in seconds.
    pub deadline_seconds: f64,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckResult {
    /// Its name.
    pub name: String,
    /// When it ran.
    pub group: Group,
    /// How it ended.
    pub verdict: Verdict,
    /// What passes.
    pub tolerance: String,
    /// What was measured; absent when nothing was.
    pub measured: Option<String>,
    /// Why it is no pass.
    pub reason: Option<String>,
    /// How long it took, in seconds.
    pub took_seconds: f64,
    /// The facts behind it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub evidence: Value,
}

impl CheckResult {
    /// A check that could not be asked: nobody can tell whether it would pass.
    #[must_use]
    pub fn not_asked(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            group: Group::Connectivity,
            verdict: Verdict::Error,
            tolerance: "it is asked".to_owned(),
            measured: None,
            reason: Some(why.into()),
            took_seconds: 0.0,
            evidence: Value::Null,
        }
    }
}

/// What a suite found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ValidationReport {
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took, in seconds.
    pub took_seconds: f64,
    /// Each check, in the order of the suite.
    pub checks: Vec<CheckResult>,
}

impl ValidationReport {
    pub(super) fn new(started_at: DateTime<Utc>, took: Duration, checks: Vec<CheckResult>) -> Self {
        Self { started_at, took_seconds: took.as_secs_f64(), checks }
    }

    /// How many checks ended so.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|c| c.verdict == verdict).count()
    }

    /// The verdict of all checks together: a failure counts most, then what could not be told. A suite in which nothing
    /// passed is an error, also when it is empty.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.count(Verdict::Fail) > 0 {
            Verdict::Fail
        } else if self.count(Verdict::Error) > 0 || self.count(Verdict::Pass) == 0 {
            Verdict::Error
        } else {
            Verdict::Pass
        }
    }

    /// The report, if it is a pass: what a step of a runbook demands before names lead to a site.
    ///
    /// # Errors
    /// `Mismatch` when a check failed, `Unverified` when one could not tell or none passed; both name the checks.
    pub fn passed(self) -> Result<Self> {
        let kind = match self.verdict() {
            Verdict::Pass => return Ok(self),
            Verdict::Fail => ErrorKind::Mismatch,
            _ => ErrorKind::Unverified,
        };
        let told: Vec<String> = self
            .checks
            .iter()
            .filter(|c| matches!(c.verdict, Verdict::Fail | Verdict::Error))
            .map(|c| format!("{}: {}", c.name, c.reason.as_deref().unwrap_or("no reason is known")))
            .collect();
        let why = if told.is_empty() { "no check passed".to_owned() } else { told.join("; ") };
        Err(Error::new(kind, "validation did not pass").with_source(why).with_help("run it alone: veza-dr validate"))
    }
}
