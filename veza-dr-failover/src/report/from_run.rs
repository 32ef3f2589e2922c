//! A report from what a run's journal tells.

use std::path::Path;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};
use veza_dr_core::{Error, ErrorKind, Result, Scenario};

use super::{
    Availability, CheckLine, ClockPoints, Criterion, Decision, Language, Outcome, Person, RecoveryPoint,
    RecoveryReport, RecoveryTime, ReportKind, TimelineStep, Version,
};
use crate::{
    measure::{DataLoss, RecoveryRecord},
    runbook::{Entry, Plan, Record, RunReport, RunStatus, StepOutcome, StepStatus, read_journal},
    validate::{CheckResult, ValidationReport, Verdict},
};

/// What a journal does not tell. What is left out is unknown.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct RunFacts {
    /// The objectives of the scenario.
    pub scenario: Option<Scenario>,
    /// When the objectives were fixed.
    pub criteria_fixed_at: Option<DateTime<Utc>>,
    /// Tools and servers.
    pub versions: Vec<Version>,
    /// The components that take part.
    pub components: Vec<String>,
    /// The sites that take part.
    pub sites: Vec<String>,
    /// What probes from outside saw.
    pub availability: Option<Availability>,
    /// The data that was lost, where it was measured; else it is told by the journal.
    pub recovery_point: Option<RecoveryPoint>,
    /// What was done; a recovery where it is left out.
    pub kind: Option<ReportKind>,
    /// Clock points that something beside the journal knows: when probes saw the outage begin, and users served.
    pub points: ClockPoints,
}

impl RunFacts {
    /// With what was measured of the run.
    #[must_use]
    pub fn with_record(mut self, record: &RecoveryRecord) -> Self {
        for (name, at) in record.points.named() {
            self.points.set(name, at);
        }
        self.recovery_point = Some(RecoveryPoint::of_loss(&record.data_loss));
        self.availability = record.availability.as_ref().map(|seen| {
            let mut told = Availability::new(seen.from, seen.to, seen.good, seen.counted());
            told.percent = seen.percent();
            told.missing = seen.missing;
            told.outage_seconds = Some(seen.outage_seconds);
            told.longest_gap_seconds = Some(seen.longest_gap_seconds);
            told.degraded_seconds = Some(seen.degraded_seconds);
            told.vantage_points.clone_from(&seen.vantage_points);
            told
        });
        self
    }
}

impl RecoveryReport {
    /// The report of a run, from its journal.
    ///
    /// ```no_run
    /// # fn f(engine: &veza_dr_failover::runbook::Engine) -> veza_dr_core::Result<()> {
    /// use veza_dr_failover::report::{RecoveryReport, ReportFolder, RunFacts};
    /// let run = engine.report("20261127T101500Z-7f3a9c")?;
    /// let report = RecoveryReport::of_run(&run, &engine.path(&run.run), &RunFacts::default())?;
    /// ReportFolder::new("/var/lib/veza-dr/reports").keep(report)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound` without such a journal; `Corrupt` when it is damaged.
    pub fn of_run(run: &RunReport, journal: &Path, facts: &RunFacts) -> Result<Self> {
        let entries = read_journal(journal)?;
        let bytes = std::fs::read(journal).map_err(|e| {
            Error::new(ErrorKind::Unavailable, format!("{} cannot be read", journal.display())).with_source(e)
        })?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut report = Self::new(&run.run, facts.kind.unwrap_or(ReportKind::Recovery), run.started);
        report.run = Some(run.run.clone());
        report.journal_sha256 = Some(hex::encode(Sha256::digest(&bytes[..whole])));
        report.ended_at = has_ended(run.status).then_some(run.last);
        report.plan.name.clone_from(&run.plan);
        report.plan.sha256 = Some(run.plan_sha.clone());
        report.versions.clone_from(&facts.versions);
        report.scope.components.clone_from(&facts.components);
        report.scope.sites.clone_from(&facts.sites);
        report.availability.clone_from(&facts.availability);
        if let Some(Record::Started { plan, .. }) = entries.first().map(|e| &e.record) {
            report.scenario = Some(plan.scenario.clone().unwrap_or_else(|| plan.name.clone()));
            report.about.clone_from(&plan.about);
            report.steps = steps(run, plan, &entries);
        }
        for (name, at) in &run.points {
            report.clock.set(name, *at);
        }
        for (name, at) in facts.points.all().into_iter().filter(|(_, at)| at.is_some()) {
            report.clock.set(name, at);
        }
        report.told_by_people(&entries);
        report.strayed(run, &entries);
        report.validation = validation(&report.steps);
        report.measure(run, &entries, facts);
        report.judge(run, facts);
        report.conclude();
        Ok(report)
    }

    fn told_by_people(&mut self, entries: &[Entry]) {
        for entry in entries {
            let at = Some(entry.at);
            let person = match &entry.record {
                Record::Started { who, .. } => Person::new(who, "began", at),
                Record::Resumed { who, .. } => Person::new(who, "resumed", at),
                Record::ModeChanged { who, mode } => {
                    Person::new(who, "changed the mode", at).about(format!("{mode:?}").to_lowercase())
                }
                Record::Approved { step, who, comment } => {
                    let said = comment.as_ref().map_or_else(|| step.clone(), |comment| format!("{step}: {comment}"));
                    Person::new(who, "approved", at).about(said)
                }
                Record::Attested { attestation } => {
                    Person::new(&attestation.by, "attested", at).about(&attestation.statement)
                }
                Record::RestorePoint { at: point, who } => {
                    Person::new(who, "named the time", at).about(point.to_rfc3339())
                }
                Record::Settled { step, took_place, who } => {
                    let told = if *took_place { "took place" } else { "did not take place" };
                    Person::new(who, "settled", at).about(format!("{step}: {told}"))
                }
                Record::RollbackBegun { who } => Person::new(who, "rolled back", at),
                Record::Overridden { rule, who, why } => {
                    self.overrides.push(Decision::new(rule.to_string(), who, why, at));
                    continue;
                }
                Record::Outcome { step, outcome: StepOutcome::Skipped { who, why }, .. } => {
                    self.skips.push(Decision::new(step, who, why, at));
                    continue;
                }
                _ => continue,
            };
            self.people.push(person);
        }
    }

    fn strayed(&mut self, run: &RunReport, entries: &[Entry]) {
        for step in &self.steps {
            if step.attempts > 1 {
                self.deviations.push(format!("step {} took {} tries", step.id, step.attempts));
            }
            if step.recovered {
                self.deviations.push(format!("the outcome of step {} was lost and found out afterwards", step.id));
            }
        }
        for entry in entries {
            if let Record::Reopened { step, why } = &entry.record {
                self.deviations.push(format!("step {step} was done again: {why}"));
            }
        }
        self.deviations.extend(run.warnings.iter().cloned());
        self.deviations.extend(run.why.clone());
    }

    fn measure(&mut self, run: &RunReport, entries: &[Entry], facts: &RunFacts) {
        let target = |of: &dyn Fn(&Scenario) -> f64| facts.scenario.as_ref().map(of);
        self.recovery_time = RecoveryTime::of(&self.clock, target(&|s| s.rto.0.as_secs_f64()));
        self.recovery_point = match (&facts.recovery_point, entries.first().map(|e| &e.record)) {
            (Some(measured), _) => measured.clone(),
            (None, Some(Record::Started { plan, .. })) => {
                RecoveryPoint::of_loss(&DataLoss::of_run(run, entries, plan, self.clock.t0))
            }
            (None, _) => RecoveryPoint::default(),
        };
        let known = self.recovery_point.target_seconds.take();
        self.recovery_point.target_seconds = known.or_else(|| target(&|s| s.rpo.0.as_secs_f64()));
    }

    fn judge(&mut self, run: &RunReport, facts: &RunFacts) {
        self.criteria.fixed_at = facts.criteria_fixed_at;
        self.criteria.source =
            Some("the plan (by its hash) and the objectives of the configuration at the time of the report".to_owned());
        let every = Criterion::new("steps", "every step of the plan is done", "all");
        let done = self.steps.iter().filter(|s| s.status == StepStatus::Done).count();
        let told = format!("{done}/{}", self.steps.len());
        self.criteria.list.push(match run.status {
            RunStatus::Completed => every.met(told),
            RunStatus::RolledBack | RunStatus::Failed | RunStatus::Abandoned | RunStatus::Refused => every.missed(told),
            // Left out, or not at its end yet: what was not done showed nothing.
            _ => every.ended(Outcome::Unknown, told),
        });
        let span = |seconds: f64| Language::English.span(seconds);
        if let Some(target) = self.recovery_time.target_seconds {
            let mut one =
                Criterion::new("rto", "recovery time within the objective (RTO)", format!("≤ {}", span(target)));
            (one.outcome, one.measured) = (self.recovery_time.outcome(), self.recovery_time.actual_seconds.map(span));
            self.criteria.list.push(one);
        }
        if let Some(target) = self.recovery_point.target_seconds {
            let mut one = Criterion::new("rpo", "data loss within the objective (RPO)", format!("≤ {}", span(target)));
            (one.outcome, one.measured) = (self.recovery_point.outcome(), self.recovery_point.actual_seconds.map(span));
            self.criteria.list.push(one);
        }
    }
}

fn has_ended(status: RunStatus) -> bool {
    matches!(
        status,
        RunStatus::Completed | RunStatus::CompletedWithSkips | RunStatus::RolledBack | RunStatus::Abandoned
    )
}

fn steps(run: &RunReport, plan: &Plan, entries: &[Entry]) -> Vec<TimelineStep> {
    let steps = run.steps.iter().map(|step| {
        let planned = plan.step(&step.id);
        // Of several tries the last one that told something counts.
        let evidence = entries.iter().rev().find_map(|e| match &e.record {
            Record::Outcome { step: id, outcome: StepOutcome::Ok { done, .. }, .. } if *id == step.id => {
                Some(done.evidence.clone())
            }
            _ => None,
        });
        TimelineStep {
            action: planned.map(|p| p.action.clone()),
            attempts: step.attempts,
            began: step.began,
            ended: step.ended,
            text: step.text.clone(),
            marks: planned.and_then(|p| p.marks.clone()),
            recovered: step.recovered,
            evidence: evidence.unwrap_or(Value::Null),
            ..TimelineStep::new(&step.id, step.status)
        }
    });
    steps.collect()
}

/// What the checks found, where a step ran them.
fn validation(steps: &[TimelineStep]) -> Vec<CheckLine> {
    let mut lines = Vec::new();
    for step in steps.iter().filter(|s| s.action.as_deref() == Some("validate")) {
        // Another program's validation may tell its evidence in its own way.
        let Ok(report) = serde_json::from_value::<ValidationReport>(step.evidence.clone()) else { continue };
        lines.extend(report.checks.iter().map(|check| CheckLine::of(check, &step.id)));
    }
    lines
}

impl CheckLine {
    /// What a check found that was run by a step.
    pub(crate) fn of(check: &CheckResult, step: &str) -> Self {
        Self {
            site: Some(step.to_owned()),
            tolerance: Some(check.tolerance.clone()),
            measured: check.measured.clone(),
            reason: check.reason.clone(),
            took_seconds: Some(check.took_seconds),
            ..Self::new(&check.name, outcome(check.verdict))
        }
    }
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Pass => Outcome::Passed,
        Verdict::Fail => Outcome::Failed,
        Verdict::Skipped => Outcome::NotDone,
        Verdict::Error => Outcome::Unknown,
    }
}
