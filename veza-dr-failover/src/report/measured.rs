//! What was measured. An absent number is one that nobody knows.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Outcome, conclude::worst};
use crate::measure::DataLoss;

/// Seconds from one instant to another; absent when one is.
pub(super) fn seconds_between(from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Option<f64> {
    let millis = (to? - from?).num_milliseconds();
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of centuries fit")]
    Some(millis as f64 / 1000.0)
}

/// `Passed` when what was measured is no more than the target; unknown when either is.
fn within(target: Option<f64>, actual: Option<f64>) -> Outcome {
    match (target, actual) {
        (Some(target), Some(actual)) if actual <= target => Outcome::Passed,
        (Some(_), Some(_)) => Outcome::Failed,
        _ => Outcome::Unknown,
    }
}

/// The clock points of a recovery; docs/runbooks.md says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "UPPERCASE")]
pub struct ClockPoints {
    /// The outage began.
    pub t0: Option<DateTime<Utc>>,
    /// It was detected.
    pub t1: Option<DateTime<Utc>>,
    /// It was declared a disaster.
    pub t2: Option<DateTime<Utc>>,
    /// The decision to recover.
    pub t3: Option<DateTime<Utc>>,
    /// The plan began.
    pub t4: Option<DateTime<Utc>>,
    /// The recovered site passed validation by its own address.
    pub t5: Option<DateTime<Utc>>,
    /// Users are served.
    pub t6: Option<DateTime<Utc>>,
    /// Redundancy is back.
    pub t7: Option<DateTime<Utc>>,
    /// The way back is done.
    pub t8: Option<DateTime<Utc>>,
}

impl ClockPoints {
    /// All nine, in order, with their names.
    #[must_use]
    pub fn all(&self) -> [(&'static str, Option<DateTime<Utc>>); 9] {
        [
            ("T0", self.t0),
            ("T1", self.t1),
            ("T2", self.t2),
            ("T3", self.t3),
            ("T4", self.t4),
            ("T5", self.t5),
            ("T6", self.t6),
            ("T7", self.t7),
            ("T8", self.t8),
        ]
    }

    /// Sets one by its name; another name is passed over.
    pub fn set(&mut self, name: &str, at: Option<DateTime<Utc>>) {
        match name {
            "T0" => self.t0 = at,
            "T1" => self.t1 = at,
            "T2" => self.t2 = at,
            "T3" => self.t3 = at,
            "T4" => self.t4 = at,
            "T5" => self.t5 = at,
            "T6" => self.t6 = at,
            "T7" => self.t7 = at,
            "T8" => self.t8 = at,
            _ => {}
        }
    }
}

/// Recovery time, in seconds. Which of the three counts is a matter of definition: a single number would mislead.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RecoveryTime {
    /// The objective (RTO).
    pub target_seconds: Option<f64>,
    /// From the beginning of the outage until users are served (RTA): T6 − T0.
    pub actual_seconds: Option<f64>,
    /// From the decision: T6 − T3.
    pub since_decision_seconds: Option<f64>,
    /// From the first step: T6 − T4.
    pub since_plan_seconds: Option<f64>,
}

impl RecoveryTime {
    /// What the clock points say, against this target.
    #[must_use]
    pub fn of(points: &ClockPoints, target_seconds: Option<f64>) -> Self {
        Self {
            target_seconds,
            actual_seconds: seconds_between(points.t0, points.t6),
            since_decision_seconds: seconds_between(points.t3, points.t6),
            since_plan_seconds: seconds_between(points.t4, points.t6),
        }
    }

    /// Whether the objective was met; unknown when either number is. A time that is known in part decides when that
    /// part alone is more than the objective.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match within(self.target_seconds, self.actual_seconds) {
            Outcome::Unknown => {
                let at_least = self.since_decision_seconds.or(self.since_plan_seconds);
                if within(self.target_seconds, at_least) == Outcome::Failed {
                    Outcome::Failed
                } else {
                    Outcome::Unknown
                }
            }
            told => told,
        }
    }
}

/// Data loss.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RecoveryPoint {
    /// The objective (RPO), in seconds.
    pub target_seconds: Option<f64>,
    /// The time span whose data is lost (RPA), in seconds.
    pub actual_seconds: Option<f64>,
    /// Rows, keys and files that are lost.
    pub records_lost: Option<u64>,
    /// The commit time of the newest data that is proven to be there.
    pub newest_at: Option<DateTime<Utc>>,
    /// How it was measured.
    pub method: Option<String>,
}

impl RecoveryPoint {
    /// What was lost, as it was measured. What is unknown of one component is unknown of all; `method` says how each is
    /// known, or why it is not.
    #[must_use]
    pub fn of_loss(loss: &DataLoss) -> Self {
        let kept = || loss.parts.iter().map(|p| p.kept_until).collect::<Option<Vec<_>>>()?.into_iter().min();
        Self {
            target_seconds: None,
            actual_seconds: loss.span().map(|s| s.as_secs_f64()),
            records_lost: loss.records(),
            newest_at: kept(),
            method: loss.basis(),
        }
    }

    /// Whether the objective was met; unknown when either number is.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        within(self.target_seconds, self.actual_seconds)
    }
}

/// One span of an availability chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvailabilitySpan {
    /// Its beginning.
    pub from: DateTime<Utc>,
    /// Its end.
    pub to: DateTime<Utc>,
    /// Probes that were good.
    pub good: u64,
    /// Probes that should have been; 0: nothing is known of the span.
    pub total: u64,
}

/// Service availability over a window, by probes from outside at a fixed rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Availability {
    /// The window's beginning.
    pub from: DateTime<Utc>,
    /// Its end.
    pub to: DateTime<Utc>,
    /// Good probes of all, in percent; absent when nothing is known.
    pub percent: Option<f64>,
    /// The objective, in percent.
    pub target_percent: Option<f64>,
    /// Good probes.
    pub good: u64,
    /// Probes that should have been.
    pub total: u64,
    /// Of those: never sent or never answered; they count as bad.
    pub missing: u64,
    /// Probes a second.
    pub rate_per_second: Option<f64>,
    /// How long the service was away in all, in seconds.
    pub outage_seconds: Option<f64>,
    /// The longest time away, in seconds.
    pub longest_gap_seconds: Option<f64>,
    /// How long it was up but below what it must be, in seconds.
    pub degraded_seconds: Option<f64>,
    /// From where it was looked at.
    pub vantage_points: Vec<String>,
    /// What a chart is drawn from, in order.
    pub spans: Vec<AvailabilitySpan>,
}

impl Availability {
    /// What these counts come to. Without a single probe the percentage is unknown.
    #[must_use]
    pub fn new(from: DateTime<Utc>, to: DateTime<Utc>, good: u64, total: u64) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "probes of centuries fit")]
        let percent = (total > 0).then(|| good.min(total) as f64 * 100.0 / total as f64);
        Self {
            from,
            to,
            percent,
            target_percent: None,
            good,
            total,
            missing: 0,
            rate_per_second: None,
            outage_seconds: None,
            longest_gap_seconds: None,
            degraded_seconds: None,
            vantage_points: Vec::new(),
            spans: Vec::new(),
        }
    }

    /// Whether the objective was met; unknown when either number is.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        within(self.percent, self.target_percent)
    }
}

/// A table, key space or tree, compared with the backup's record or with production.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Comparison {
    /// The component.
    pub component: String,
    /// The table, database number or folder.
    pub what: String,
    /// Rows, keys or files that should be there.
    pub expected: Option<u64>,
    /// That are there.
    pub found: Option<u64>,
    /// That are lost.
    pub missing: Option<u64>,
    /// That are there and should not.
    pub extra: Option<u64>,
    /// That are there with another content.
    pub different: Option<u64>,
    /// The digest of the content that should be there.
    pub expected_digest: Option<String>,
    /// Of what is there.
    pub found_digest: Option<String>,
    /// What it came to.
    pub outcome: Outcome,
    /// What is worth knowing.
    pub text: Option<String>,
}

impl Comparison {
    /// A comparison of which only the outcome is known.
    #[must_use]
    pub fn new(component: impl Into<String>, what: impl Into<String>, outcome: Outcome) -> Self {
        Self {
            component: component.into(),
            what: what.into(),
            expected: None,
            found: None,
            missing: None,
            extra: None,
            different: None,
            expected_digest: None,
            found_digest: None,
            outcome,
            text: None,
        }
    }

    /// With the number that should be there and the one that is.
    #[must_use]
    pub fn counted(mut self, expected: u64, found: u64) -> Self {
        (self.expected, self.found) = (Some(expected), Some(found));
        self
    }

    /// With the digest that should be there and the one that is.
    #[must_use]
    pub fn digested(mut self, expected: impl Into<String>, found: impl Into<String>) -> Self {
        (self.expected_digest, self.found_digest) = (Some(expected.into()), Some(found.into()));
        self
    }
}

/// All comparisons.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Consistency {
    /// With what it was compared, and when.
    pub against: Option<String>,
    /// Each comparison.
    pub compared: Vec<Comparison>,
}

impl Consistency {
    /// Passed only when something was compared and all of it is equal.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        worst(self.compared.iter().map(|c| c.outcome))
    }
}
