//! A drill's record as the report that people and auditors read.

use serde_json::json;
use veza_dr_core::{Outcome as StepEnd, Severity, Verdict};

use super::model::{
    CleanUpState, ControlVerdict, DrillKind, DrillOutcome, DrillRecord, PartRecord, ProductionVerdict, StageRecord,
};
use super::plan_record::{PlanStep, StepFate};
use crate::{
    report::{
        CheckLine, CleanUp, CleanUpItem, Comparison, Criterion, Exclusion, Finding, FindingSeverity, Language, Outcome,
        Person, RecoveryPoint, RecoveryReport, RecoveryTime, ReportKind, TimelineStep, Version,
    },
    runbook::StepStatus,
};

impl DrillRecord {
    /// The report of this drill, concluded and not yet sealed.
    ///
    /// ```no_run
    /// # fn f(record: &veza_dr_failover::drill::DrillRecord) -> veza_dr_core::Result<()> {
    /// use veza_dr_failover::report::{Language, ReportFolder};
    /// let sealed = ReportFolder::new("/var/lib/veza-dr/reports").append(record.report())?;
    /// std::fs::write("drill.html", sealed.html(Language::English)).unwrap();
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn report(&self) -> RecoveryReport {
        let kind = match self.kind {
            DrillKind::ColdStart => ReportKind::ColdStartDrill,
            DrillKind::Compose => ReportKind::IsolatedDrill,
            DrillKind::Processes => ReportKind::ProcessDrill,
        };
        let mut report = RecoveryReport::new(self.id.as_str(), kind, self.started_at);
        report.ended_at = Some(self.ended_at);
        report.scenario = Some(self.scenario.to_string());
        report.about = format!("Rehearsal of scenario {} from backups, in isolation.", self.scenario);
        report.scope.components = self.parts.iter().map(|p| p.component.to_string()).collect();
        report.scope.sites = vec![self.host.clone()];
        report.scope.place = Some(match (self.kind, &self.plan) {
            (DrillKind::Compose, Some(plan)) => format!(
                "a copy of the Compose project of site {} in networks without a way out, removed afterwards",
                plan.copy_of
            ),
            (DrillKind::Compose, None) => {
                "a Compose project of its own in networks without a way out, removed afterwards".to_owned()
            }
            _ => "private servers and folders on 127.0.0.1, removed afterwards".to_owned(),
        });
        report.scope.exclusions = self
            .exclusions
            .iter()
            .map(|e| {
                let (what, why) = e.split_once(": ").unwrap_or((e.as_str(), ""));
                Exclusion::new(what, why)
            })
            .collect();
        report.objectives.clone_from(&self.criteria);
        report.plan.name = format!("drill of scenario {}", self.scenario);
        report.plan.sha256 = Some(self.plan_sha256.clone()).filter(|s| !s.is_empty());
        if let Some(plan) = &self.plan {
            report.about.push_str(&format!(" Plan {} is followed; the disaster takes {}.", plan.name, plan.lost));
            report.plan.name.clone_from(&plan.name);
            report.plan.sha256 = Some(plan.sha256.clone());
            report.plan.left_out.clone_from(&plan.not_in_plan);
            report.deviations.clone_from(&plan.beyond);
        }
        report.versions = vec![Version::new(&self.tool.name, &self.tool.version)];
        report.people = vec![Person::new(&self.by, "began", Some(self.started_at))];
        for point in &self.clock {
            report.clock.set(&point.point, Some(point.at));
        }
        self.tell_steps(&mut report);
        self.tell_measures(&mut report);
        self.tell_criteria(&mut report);
        for part in &self.parts {
            compared(part, &mut report);
        }
        for one in &self.validation {
            let by = one.step.clone().unwrap_or_else(|| "drill".to_owned());
            report.validation.extend(one.report.checks.iter().map(|check| CheckLine::of(check, &by)));
        }
        report.consistency.against = Some("the manifests of the backups".to_owned());
        report.clean_up = Some(self.clean_up());
        report.findings = self.findings.iter().enumerate().map(|(n, f)| finding(n, f.severity, &f.text)).collect();
        report.conclude();
        report
    }

    fn tell_steps(&self, report: &mut RecoveryReport) {
        let mut followed = self.plan.iter().flat_map(|plan| &plan.steps).map(planned).collect::<Vec<_>>();
        for (n, entry) in self.timeline.iter().enumerate() {
            // Those of the plan are told in the plan's order, all of them.
            if self.plan.is_some() && entry.what.starts_with("step ") {
                report.steps.append(&mut followed);
                continue;
            }
            let status = match entry.outcome {
                StepEnd::Ok | StepEnd::Warning => StepStatus::Done,
                _ => StepStatus::Failed,
            };
            let took = chrono::TimeDelta::milliseconds(i64::try_from(entry.took_ms).unwrap_or(i64::MAX));
            let began = entry.at.checked_sub_signed(took).unwrap_or(entry.at);
            let name = if self.timeline[..n].iter().any(|e| e.what == entry.what) {
                format!("{} ({})", entry.what, n + 1)
            } else {
                entry.what.clone()
            };
            let step = TimelineStep::new(name, status).between(began, entry.at);
            report.steps.push(step.with_text(&entry.detail, serde_json::Value::Null));
        }
        report.steps.append(&mut followed);
    }

    fn tell_measures(&self, report: &mut RecoveryReport) {
        let known = self.objectives.rto_ms > 0 || self.objectives.rpo_ms > 0;
        report.recovery_time = RecoveryTime::of(&report.clock, known.then(|| seconds(self.objectives.rto_ms)));
        let lost: Option<u64> = self.parts.iter().map(|p| p.loss.records).sum();
        let basis: Vec<String> = self.parts.iter().map(|p| format!("{}: {}", p.component, p.loss.basis)).collect();
        report.recovery_point = RecoveryPoint {
            target_seconds: known.then(|| seconds(self.objectives.rpo_ms)),
            actual_seconds: self.rpa_ms.map(seconds),
            records_lost: lost.filter(|_| !self.parts.is_empty()),
            newest_at: self.parts.iter().map(|p| p.shows).min(),
            method: Some(basis.join("; ")).filter(|b| !b.is_empty()),
        };
    }

    fn tell_criteria(&self, report: &mut RecoveryReport) {
        let span = |s: f64| Language::English.span(s);
        report.criteria.fixed_at = Some(self.started_at);
        let mut source = "the scenario's objectives, fixed before the drill began".to_owned();
        if self.plan.is_some() && !self.plan_sha256.is_empty() {
            source.push_str(&format!(" (SHA-256 of objectives, criteria, backups and steps: {})", self.plan_sha256));
        }
        report.criteria.source = Some(source);
        let (time, point) = (&report.recovery_time, &report.recovery_point);
        let mut list = Vec::new();
        for (id, text, target, actual, outcome) in [
            (
                "rto",
                "recovery time within the objective (RTO)",
                time.target_seconds,
                time.actual_seconds,
                time.outcome(),
            ),
            (
                "rpo",
                "age of the data within the objective (RPO)",
                point.target_seconds,
                point.actual_seconds,
                point.outcome(),
            ),
        ] {
            let wanted = target.map_or_else(|| "unknown".to_owned(), |t| format!("≤ {}", span(t)));
            let mut one = Criterion::new(id, text, wanted);
            (one.outcome, one.measured) = (outcome, actual.map(span));
            list.push(one);
        }
        let proof = &self.production;
        list.push(Criterion::new("production", "nothing of production changed", "all facts equal").ended(
            match proof.verdict {
                ProductionVerdict::Unchanged => Outcome::Passed,
                ProductionVerdict::Changed => Outcome::Failed,
                ProductionVerdict::Unknown => Outcome::Unknown,
            },
            format!("{} facts, {} changed, {} not seen", proof.facts, proof.changed.len(), proof.unknown.len()),
        ));
        if let Some(plan) = &self.plan {
            let text = "every step of the plan carried out in the copy, or left out for a stated reason";
            let stopped = plan.count(StepFate::Failed) + plan.count(StepFate::NotReached) > 0;
            let outcome = match (stopped, plan.is_whole() && plan.beyond.is_empty()) {
                (true, _) => Outcome::Failed,
                (false, true) => Outcome::Passed,
                (false, false) => Outcome::Unknown,
            };
            list.push(Criterion::new("plan", text, "all").ended(outcome, plan.told()));
        }
        if let Some(control) = &self.control {
            let each: Vec<String> =
                control.parts.iter().map(|p| format!("{} ({}): {}", p.component, p.damage, p.how)).collect();
            list.push(Criterion::new("control", "every damaged copy is refused", "all refused").ended(
                match control.verdict {
                    ControlVerdict::Caught => Outcome::Passed,
                    ControlVerdict::Missed => Outcome::Failed,
                    ControlVerdict::Unclear => Outcome::Unknown,
                },
                each.join("; "),
            ));
        }
        if self.outcome == DrillOutcome::Interrupted {
            list.push(Criterion::new("end", "the drill runs to its end", "yes").ended(Outcome::Unknown, "stopped"));
        }
        report.criteria.list = list;
    }

    fn clean_up(&self) -> CleanUp {
        let gone = |r: &String| CleanUpItem::new(r, Outcome::Passed, "looked up: it is gone");
        let mut clean = CleanUp {
            at: Some(self.cleanup.at),
            removed: self.cleanup.removed.iter().map(gone).collect(),
            production: Vec::new(),
        };
        if self.cleanup.removed.is_empty() && self.cleanup.state == CleanUpState::Cleaned {
            clean.removed.push(CleanUpItem::new("what the drill made", Outcome::Passed, "looked up: there is none"));
        }
        let left = self.cleanup.left.iter();
        clean.removed.extend(left.map(|l| CleanUpItem::new(&l.what, Outcome::Failed, &l.why)));
        if self.cleanup.state == CleanUpState::CleanupPending {
            clean.removed.push(CleanUpItem::new("what the drill made", Outcome::Unknown, "not removed yet"));
        }
        let p = &self.production;
        let digests = format!("SHA-256 before {}, after {}", p.digest_before, p.digest_after);
        clean.production.push(match p.verdict {
            ProductionVerdict::Unchanged => CleanUpItem::new(format!("{} facts", p.facts), Outcome::Passed, digests),
            ProductionVerdict::Changed => CleanUpItem::new(format!("{} facts", p.facts), Outcome::Failed, digests),
            ProductionVerdict::Unknown => CleanUpItem::new(format!("{} facts", p.facts), Outcome::Unknown, digests),
        });
        for change in &p.changed {
            let told = json!({ "before": change.before, "after": change.after });
            clean.production.push(CleanUpItem::new(&change.what, Outcome::Failed, told.to_string()));
        }
        clean.production.extend(p.unknown.iter().map(|u| CleanUpItem::new(&u.what, Outcome::Unknown, &u.why)));
        clean
    }
}

fn compared(part: &PartRecord, report: &mut RecoveryReport) {
    let after = if part.standing { "after the disaster, which left it" } else { "after the disaster" };
    let stages = [("before the disaster", &part.baseline), (after, &part.recovery)];
    for (when, stage) in stages.into_iter().filter_map(|(w, s)| s.as_ref().map(|s| (w, s))) {
        let outcome = match (&stage.error, stage.verdict) {
            // Services may have written to it: whether anything was lost is open.
            (None, Some(Verdict::Different)) if part.standing && when == after => Outcome::Unknown,
            (Some(_), _) | (None, Some(Verdict::Different)) => Outcome::Failed,
            (None, Some(Verdict::Equal)) => Outcome::Passed,
            _ => Outcome::Unknown,
        };
        let mut line = Comparison::new(part.component.as_str(), when, outcome);
        if stage.is_equal() {
            line = line.counted(part.rows, stage.rows);
            // Equal is what counts and digests of all of it say.
            (line.missing, line.extra, line.different) = (Some(0), Some(0), Some(0));
        }
        line.text = why(stage);
        report.consistency.compared.push(line);
    }
    if part.recovery.is_none() {
        report.consistency.compared.push(Comparison::new(
            part.component.as_str(),
            "after the disaster",
            Outcome::Unknown,
        ));
    }
}

/// A step of the plan, carried out or not.
fn planned(step: &PlanStep) -> TimelineStep {
    let status = match step.fate {
        StepFate::CarriedOut => StepStatus::Done,
        StepFate::LeftOut => StepStatus::Skipped,
        StepFate::Failed => StepStatus::Failed,
        StepFate::NotReached => StepStatus::Waiting,
        StepFate::Unknown => StepStatus::Unknown,
    };
    let mut told = TimelineStep::new(&step.id, status).with_text(&step.text, serde_json::Value::Null);
    (told.action, told.attempts) = (Some(step.action.clone()), step.tries);
    (told.began, told.ended) = (step.began, step.ended);
    told.marks.clone_from(&step.marks);
    told
}

fn why(stage: &StageRecord) -> Option<String> {
    let first = || stage.findings.first().map(|f| format!("{}: {}", f.what, f.why));
    stage.error.clone().or_else(first)
}

fn finding(n: usize, severity: Severity, text: &str) -> Finding {
    let severity = match severity {
        Severity::Info => FindingSeverity::Info,
        Severity::Low => FindingSeverity::Low,
        Severity::Medium => FindingSeverity::Medium,
        Severity::High => FindingSeverity::High,
        _ => FindingSeverity::Critical,
    };
    Finding::new(format!("F{}", n + 1), severity, text)
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}
