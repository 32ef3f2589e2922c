//! What was done, step by step: ordered, serialisable, honest about what failed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

/// How one step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// As it should.
    Ok,
    /// Done, but worth a look.
    Warning,
    /// Not done.
    Failed,
    /// Left out on purpose.
    Skipped,
}

/// One step of a report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What there is to say about it.
    pub detail: String,
    /// How long it took.
    pub took: Duration,
}

/// An ordered list of steps.
///
/// ```
/// use std::time::Duration;
/// use veza_dr_core::{Outcome, Report};
/// let mut report = Report::default();
/// report.push("connect", Outcome::Ok, "PostgreSQL 15.18", Duration::ZERO);
/// assert!(report.is_ok());
/// ```
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// The steps in the order they were made.
    pub steps: Vec<Step>,
}

impl Report {
    /// Adds a step.
    pub fn push(&mut self, name: impl Into<String>, outcome: Outcome, detail: impl Into<String>, took: Duration) {
        self.steps.push(Step { name: name.into(), outcome, detail: detail.into(), took });
    }

    /// Adds a failed step from an error, with its help.
    pub fn push_error(&mut self, name: impl Into<String>, error: &Error) {
        let detail = match error.help() {
            Some(help) => format!("{} ({help})", error.chain()),
            None => error.chain(),
        };
        self.push(name, Outcome::Failed, detail, Duration::ZERO);
    }

    /// True when no step failed.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.steps.iter().all(|s| s.outcome != Outcome::Failed)
    }

    /// Appends the steps of `other`.
    pub fn extend(&mut self, other: Self) {
        self.steps.extend(other.steps);
    }
}
