//! How ready each scenario is, and why.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use veza_dr_core::{
    Scenario,
    status::{Protection, Status},
};

use crate::report::{Outcome, ReportKind, ReportSummary};

/// A recovery that was last rehearsed longer ago than this is no longer known to work: a quarter and a week.
const STALE: TimeDelta = TimeDelta::days(98);

/// How ready a scenario is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ready {
    /// The data is young enough, and a recovery was lately shown to meet the objectives.
    Ready,
    /// It may well work, but something is missing.
    AtRisk,
    /// It would miss an objective, by what is known.
    NotReady,
    /// It cannot be told.
    Unknown,
}

/// Why a scenario is not more ready.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The stores were not looked at yet.
    NotLookedAt,
    /// A component that it needs is not known to the daemon.
    NoSuchComponent(String),
    /// How a component is protected cannot be told.
    ComponentUnknown(String),
    /// A component has no backup at all.
    NoBackup(String),
    /// A component's newest backup is older than the objective.
    TooOld {
        /// The component.
        component: String,
        /// How old its data is.
        age: Duration,
    },
    /// An objective of no loss at all: no backup can meet it.
    NoBackupCanMeetIt,
    /// A component is not protected as it should be, for this reason.
    Weak {
        /// The component.
        component: String,
        /// In the daemon's words.
        why: String,
    },
    /// No drill and no recovery was ever reported.
    NeverShown,
    /// The last one was too long ago.
    ShownLongAgo(DateTime<Utc>),
    /// The last one failed.
    LastFailed(String),
    /// What the last one came to is not known.
    LastUnknown(String),
    /// The last one took longer than the objective.
    TooSlow {
        /// The report.
        report: String,
        /// How long it took, in seconds.
        actual_seconds: f64,
    },
    /// The last one lost more than the objective.
    LostTooMuch {
        /// The report.
        report: String,
        /// The time span whose data was lost, in seconds.
        actual_seconds: f64,
    },
}

/// A scenario and how ready it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Readiness {
    /// The scenario.
    pub scenario: Scenario,
    /// How ready it is.
    pub ready: Ready,
    /// Why it is not more ready; empty: it is.
    pub reasons: Vec<Reason>,
    /// How old the oldest of the newest backups that it needs is; absent when one is not known.
    pub data_age: Option<Duration>,
    /// The last drill or recovery of it.
    pub last: Option<ReportSummary>,
}

/// How ready each scenario is, by what the stores hold and what was last shown to work. `reports` are the oldest first.
///
/// ```
/// use veza_dr_core::Scenario;
/// use veza_dr_failover::dashboard::{Ready, readiness};
/// let found = readiness(&Scenario::guide(&[]), None, &[], chrono::Utc::now());
/// assert_eq!(found[0].ready, Ready::Unknown, "nothing was looked at yet");
/// ```
#[must_use]
pub fn readiness(
    scenarios: &[Scenario],
    status: Option<&Status>,
    reports: &[ReportSummary],
    now: DateTime<Utc>,
) -> Vec<Readiness> {
    scenarios.iter().map(|s| of(s, status, reports, now)).collect()
}

fn of(scenario: &Scenario, status: Option<&Status>, reports: &[ReportSummary], now: DateTime<Utc>) -> Readiness {
    let mut found = Findings::default();
    let data_age = match status {
        None => {
            found.add(Ready::Unknown, Reason::NotLookedAt);
            None
        }
        Some(status) => data(scenario, status, now, &mut found),
    };
    let name = scenario.kind.to_string();
    // People talking, and a copy that was damaged on purpose, show nothing of this.
    let counts = |r: &&ReportSummary| {
        r.scenario.as_deref() == Some(&name) && !matches!(r.kind, ReportKind::TableTop | ReportKind::NegativeControl)
    };
    let last = reports.iter().rev().find(counts).cloned();
    shown(scenario, last.as_ref(), now, &mut found);
    Readiness { scenario: scenario.clone(), ready: found.worst, reasons: found.reasons, data_age, last }
}

struct Findings {
    worst: Ready,
    reasons: Vec<Reason>,
}

impl Default for Findings {
    fn default() -> Self {
        Self { worst: Ready::Ready, reasons: Vec::new() }
    }
}

impl Findings {
    fn add(&mut self, ready: Ready, reason: Reason) {
        // Not to know whether it is ready weighs less than to know that it is not.
        let weight = |r: Ready| match r {
            Ready::Ready => 0,
            Ready::AtRisk => 1,
            Ready::Unknown => 2,
            Ready::NotReady => 3,
        };
        if weight(ready) > weight(self.worst) {
            self.worst = ready;
        }
        self.reasons.push(reason);
    }
}

fn data(scenario: &Scenario, status: &Status, now: DateTime<Utc>, found: &mut Findings) -> Option<Duration> {
    let mut oldest = Some(Duration::ZERO);
    if scenario.rpo.0.is_zero() && !scenario.needs.is_empty() {
        found.add(Ready::AtRisk, Reason::NoBackupCanMeetIt);
    }
    for need in &scenario.needs {
        let name = need.to_string();
        let Some(component) = status.components.iter().find(|c| c.component == *need) else {
            found.add(Ready::Unknown, Reason::NoSuchComponent(name));
            oldest = None;
            continue;
        };
        let age = component.newest().map(|b| (now - b.shows).to_std().unwrap_or_default());
        oldest = oldest.zip(age).map(|(a, b)| a.max(b));
        match (component.protection, age) {
            (Protection::Unknown, _) => found.add(Ready::Unknown, Reason::ComponentUnknown(name)),
            (_, None) => found.add(Ready::NotReady, Reason::NoBackup(name)),
            (_, Some(age)) if !scenario.rpo.0.is_zero() && age > scenario.rpo.0 => {
                found.add(Ready::NotReady, Reason::TooOld { component: name, age });
            }
            (Protection::Weak | Protection::Broken, _) => {
                let why = component.reasons.first().cloned().unwrap_or_default();
                found.add(Ready::AtRisk, Reason::Weak { component: name, why });
            }
            (Protection::Good, _) => {}
        }
    }
    oldest.filter(|_| !scenario.needs.is_empty())
}

fn shown(scenario: &Scenario, last: Option<&ReportSummary>, now: DateTime<Utc>, found: &mut Findings) {
    let Some(last) = last else {
        found.add(Ready::AtRisk, Reason::NeverShown);
        return;
    };
    let report = || last.id.clone();
    if now - last.started_at > STALE {
        found.add(Ready::AtRisk, Reason::ShownLongAgo(last.started_at));
    }
    let over = |actual: Option<f64>, target: Duration| actual.filter(|a| *a > target.as_secs_f64());
    let slow = over(last.rto_actual_seconds, scenario.rto.0);
    let lossy = over(last.rpo_actual_seconds, scenario.rpo.0);
    if let Some(actual_seconds) = slow {
        found.add(Ready::NotReady, Reason::TooSlow { report: report(), actual_seconds });
    }
    if let Some(actual_seconds) = lossy {
        found.add(Ready::NotReady, Reason::LostTooMuch { report: report(), actual_seconds });
    }
    match last.outcome {
        Outcome::Passed => {}
        Outcome::Failed if slow.is_none() && lossy.is_none() => {
            found.add(Ready::NotReady, Reason::LastFailed(report()));
        }
        Outcome::Failed => {}
        _ => found.add(Ready::AtRisk, Reason::LastUnknown(report())),
    }
}

#[cfg(test)]
mod tests {
    use veza_dr_core::{
        Rpo,
        status::{BackupSummary, ComponentStatus, StoreStatus},
    };

    use super::*;
    use crate::report::RecoveryReport;

    fn now() -> DateTime<Utc> {
        "2026-11-27T10:00:00Z".parse().unwrap()
    }

    fn status(minutes: Option<i64>, protection: Protection) -> Status {
        let shows = now() - TimeDelta::minutes(minutes.unwrap_or_default());
        let last_success = minutes.map(|_| BackupSummary {
            id: "20261123T104500Z-7f3a9c".parse().unwrap(),
            shows,
            finished_at: shows,
            took: Duration::ZERO,
            bytes: 1,
            stored_bytes: 1,
        });
        let store = StoreStatus {
            store: "local".into(),
            unknown: None,
            on_schedule: None,
            last_success,
            last_attempt: None,
            last_proof: None,
            last_proven_restore: None,
            backups: 1,
            stored_bytes: 1,
        };
        let component = ComponentStatus {
            component: "database".parse().unwrap(),
            engine: "postgres".into(),
            protection,
            reasons: vec!["no restore was ever proven".into()],
            rpo: None,
            on_schedule: None,
            expected_interval: None,
            next_run: None,
            running: false,
            stores: vec![store],
        };
        Status { at: now(), components: vec![component] }
    }

    fn report(outcome: Outcome, days: i64, rta: Option<f64>) -> ReportSummary {
        let mut r = RecoveryReport::new("r1", ReportKind::IsolatedDrill, now() - TimeDelta::days(days));
        (r.outcome, r.scenario, r.recovery_time.actual_seconds) = (outcome, Some("database".into()), rta);
        ReportSummary::from(&r)
    }

    fn found(status: Option<&Status>, reports: &[ReportSummary]) -> (Ready, usize) {
        let one = readiness(&Scenario::guide(&["database".parse().unwrap()])[..1], status, reports, now()).remove(0);
        (one.ready, one.reasons.len())
    }

    #[test]
    fn ready_is_young_data_and_a_recovery_that_was_shown_and_nothing_else() {
        let (good, passed) = (status(Some(30), Protection::Good), [report(Outcome::Passed, 10, Some(3600.0))]);
        assert_eq!(found(Some(&good), &passed), (Ready::Ready, 0));
        assert_eq!(found(Some(&good), &[]), (Ready::AtRisk, 1));
        assert_eq!(found(None, &passed), (Ready::Unknown, 1));
        assert_eq!(found(Some(&status(Some(61), Protection::Good)), &passed), (Ready::NotReady, 1));
        assert_eq!(found(Some(&status(None, Protection::Broken)), &passed), (Ready::NotReady, 1));
        assert_eq!(found(Some(&status(Some(5), Protection::Weak)), &passed), (Ready::AtRisk, 1));
        assert_eq!(found(Some(&status(Some(5), Protection::Unknown)), &passed), (Ready::Unknown, 1));
        assert_eq!(found(Some(&good), &[report(Outcome::Passed, 99, None)]), (Ready::AtRisk, 1));
        assert_eq!(found(Some(&good), &[report(Outcome::Failed, 1, Some(14401.0))]), (Ready::NotReady, 1));
        assert_eq!(found(Some(&good), &[report(Outcome::Failed, 1, None)]), (Ready::NotReady, 1));
        assert_eq!(found(Some(&good), &[report(Outcome::Unknown, 1, None)]), (Ready::AtRisk, 1));
        // What is known to be missed outweighs what is not known.
        assert_eq!(
            found(Some(&status(Some(5), Protection::Unknown)), &[report(Outcome::Failed, 1, None)]).0,
            Ready::NotReady
        );
        let mut table_top = report(Outcome::Passed, 1, None);
        table_top.kind = ReportKind::TableTop;
        assert_eq!(found(Some(&good), &[table_top]), (Ready::AtRisk, 1), "talking proves nothing");
        let mut none = Scenario::guide(&["database".parse().unwrap()]);
        none[0].rpo = Rpo(Duration::ZERO);
        assert!(readiness(&none[..1], Some(&good), &passed, now())[0].reasons.contains(&Reason::NoBackupCanMeetIt));
        let mut elsewhere = none.clone();
        elsewhere[0].needs = vec!["mail".parse().unwrap()];
        assert_eq!(readiness(&elsewhere[..1], Some(&good), &passed, now())[0].ready, Ready::Unknown);
    }
}
