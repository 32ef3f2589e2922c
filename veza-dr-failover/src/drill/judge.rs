//! What a drill comes to, from what it found.

use veza_dr_core::{Severity, Verdict};

use super::model::{
    CleanUpState, ControlVerdict, DrillFinding, DrillOutcome, DrillRecord, Loss, PartRecord, ProductionVerdict,
    StageRecord,
};
use super::plan_record;
use crate::validate;

/// Sets the outcome and the findings of a record whose other parts are complete.
pub(super) fn judge(record: &mut DrillRecord, interrupted: bool) {
    let mut findings = std::mem::take(&mut record.findings);
    let control = record.control.as_ref().map(|c| c.verdict);
    parts(&record.parts, &mut findings);
    if let Some(control) = &record.control {
        for part in control.parts.iter().filter(|p| p.verdict != ControlVerdict::Caught) {
            let (severity, what) = match part.verdict {
                ControlVerdict::Missed => (Severity::Critical, "passed"),
                _ => (Severity::High, "says nothing"),
            };
            let text = format!("the damaged copy of {} ({}) {what}: {}", part.component, part.damage, part.how);
            findings.push(finding(
                severity,
                text,
                "what drills say of good copies cannot be relied on: look into it first",
            ));
        }
    }
    let objectives = record.objectives;
    let late = record.rta_ms.is_some_and(|rta| rta > objectives.rto_ms);
    let old = record.rpa_ms.is_some_and(|rpa| rpa > objectives.rpo_ms);
    if late {
        let text =
            format!("recovered after {}, the objective is {}", span(record.rta_ms), span(Some(objectives.rto_ms)));
        findings.push(finding(Severity::High, text, "make the recovery faster, or the objective longer"));
    }
    if old {
        let text = format!(
            "the recovered data were {} old, the objective is {}",
            span(record.rpa_ms),
            span(Some(objectives.rpo_ms))
        );
        findings.push(finding(Severity::High, text, "back up more often; see: veza-dr check"));
    }
    for change in &record.production.changed {
        let show = |v: &Option<String>| v.clone().unwrap_or_else(|| "nothing".to_owned());
        let text =
            format!("production changed: {}: {} became {}", change.what, show(&change.before), show(&change.after));
        findings.push(finding(Severity::Critical, text, "was it somebody else? then run the drill again"));
    }
    for unseen in &record.production.unknown {
        let text = format!("it is not known whether production changed: {}: {}", unseen.what, unseen.why);
        findings.push(finding(Severity::Medium, text, "make it reachable from here, and run the drill again"));
    }
    if record.cleanup.state != CleanUpState::Cleaned {
        for left in &record.cleanup.left {
            let text = format!("left behind: {}: {}", left.what, left.why);
            findings.push(finding(Severity::High, text, "remove what is in the way; then: veza-dr drill clean"));
        }
    }
    findings.extend(plan_record::gaps(record));
    let failed_checks = checks(record, &mut findings);
    // What the disaster left where it was is not recovered: that it differs leaves open whether anything was lost.
    let equal = |p: &PartRecord| p.recovery.as_ref().is_some_and(StageRecord::is_equal);
    let compared = |p: &PartRecord| p.recovery.as_ref().is_some_and(|r| r.error.is_none() && r.verdict.is_some());
    let recovered = record.parts.iter().all(|p| equal(p) || (p.standing && compared(p)));
    let moved = record.parts.iter().any(|p| p.standing && compared(p) && !equal(p));
    let open = moved
        || record.plan.as_ref().is_some_and(|p| !p.is_whole() || !p.beyond.is_empty())
        || record.validation.iter().any(|v| v.report.verdict() != validate::Verdict::Pass);
    let unverified = |s: &Option<StageRecord>| {
        s.as_ref().is_some_and(|s| s.error.is_none() && s.verdict == Some(Verdict::Unverified))
    };
    let only_unverified = !record.parts.is_empty()
        && record.parts.iter().all(|p| {
            let stage = if p.recovery.is_some() { &p.recovery } else { &p.baseline };
            stage.as_ref().is_some_and(StageRecord::is_equal) || unverified(stage)
        })
        && record.parts.iter().any(|p| unverified(&p.recovery) || unverified(&p.baseline));
    record.outcome = if record.production.verdict == ProductionVerdict::Changed {
        DrillOutcome::ProductionChanged
    } else if control == Some(ControlVerdict::Missed) {
        DrillOutcome::ControlMissed
    } else if interrupted {
        DrillOutcome::Interrupted
    } else if only_unverified {
        DrillOutcome::Unproven
    } else if !recovered || failed_checks || record.parts.is_empty() || record.rta_ms.is_none() {
        DrillOutcome::Failed
    } else if open
        || record.rpa_ms.is_none()
        || control == Some(ControlVerdict::Unclear)
        || record.production.verdict == ProductionVerdict::Unknown
    {
        DrillOutcome::Unproven
    } else if late || old {
        DrillOutcome::TargetMissed
    } else {
        DrillOutcome::Passed
    };
    record.findings = findings;
}

fn parts(parts: &[PartRecord], findings: &mut Vec<DrillFinding>) {
    for part in parts {
        let stages = [("before the disaster", &part.baseline), ("after the disaster", &part.recovery)];
        for (when, stage) in stages.into_iter().filter_map(|(w, s)| s.as_ref().map(|s| (w, s))) {
            let why = match (&stage.error, stage.verdict) {
                (Some(e), _) => e.clone(),
                (None, Some(Verdict::Equal)) => continue,
                (None, _) => stage
                    .findings
                    .first()
                    .map_or_else(|| "nothing could be compared".to_owned(), |f| format!("{}: {}", f.what, f.why)),
            };
            if part.standing && when == "after the disaster" {
                let text = format!("{} is not as its backup shows after the disaster: {why}", part.component);
                let help = "do services write to it as soon as they start? then its loss cannot be told";
                findings.push(finding(Severity::Medium, text, help));
                continue;
            }
            let text = format!("backup {} of {} was not brought back {when}: {why}", part.backup, part.component);
            let help = format!("veza-dr verify {} --backup {} --level restore", part.component, part.backup);
            findings.push(finding(Severity::High, text, &help));
        }
    }
}

/// Tells of each check that did not pass where it was last asked; whether one failed.
fn checks(record: &DrillRecord, findings: &mut Vec<DrillFinding>) -> bool {
    let mut failed = false;
    for one in &record.validation {
        for check in one.report.checks.iter().filter(|c| c.verdict != validate::Verdict::Pass) {
            let why = check.reason.as_deref().unwrap_or("no reason is known");
            let (severity, what) = match check.verdict {
                validate::Verdict::Fail => (Severity::High, "failed on the copy"),
                validate::Verdict::Skipped => (Severity::Medium, "was not asked"),
                _ => (Severity::Medium, "could not tell"),
            };
            failed |= check.verdict == validate::Verdict::Fail;
            let text = format!("check {} {what}: {why}", check.name);
            findings.push(finding(severity, text, "see what it asks: validation in the configuration"));
        }
    }
    failed
}

fn finding(severity: Severity, text: String, help: &str) -> DrillFinding {
    DrillFinding { severity, text, help: Some(help.to_owned()) }
}

/// What production as it is now tells of what a disaster costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reference {
    /// The disaster is now.
    Now,
    /// The disaster was earlier: what there was then is not known.
    Earlier,
    /// The recovery goes back to an earlier time, and gives up all that came since.
    GoneBackFrom,
}

/// What production had at the disaster and the recovered copy lacks.
pub(super) fn loss(
    live: Option<&std::collections::BTreeMap<String, u64>>,
    restored: &[veza_dr_core::manifest::ContentRecord],
    reference: Reference,
) -> Loss {
    if reference == Reference::Earlier {
        let basis = "unknown: an earlier instant than the newest was asked for".to_owned();
        return Loss { records: None, basis, tables: Vec::new() };
    }
    let Some(live) = live.filter(|l| !l.is_empty()) else {
        let basis = "unknown: production could not be counted".to_owned();
        return Loss { records: None, basis, tables: Vec::new() };
    };
    let mut names: std::collections::BTreeSet<&str> = live.keys().map(String::as_str).collect();
    names.extend(restored.iter().filter(|c| live.contains_key(&c.name)).map(|c| c.name.as_str()));
    let (mut records, mut tables) = (0u64, Vec::new());
    for name in names {
        let here = live.get(name).copied().unwrap_or(0);
        let there = restored.iter().filter(|c| c.name == name).map(|c| c.rows).sum::<u64>();
        if here != there {
            records = records.saturating_add(here.saturating_sub(there));
            tables.push(super::model::TableLoss { name: name.to_owned(), live: here, restored: there });
        }
    }
    let mut basis =
        "counted in production at the beginning of the drill, by table; changed records are not seen".to_owned();
    if reference == Reference::GoneBackFrom {
        basis.push_str("; with what came after the time that was gone back to");
    }
    Loss { records: Some(records), basis, tables }
}

fn span(ms: Option<u64>) -> String {
    let Some(ms) = ms else { return "an unknown time".to_owned() };
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s}.{} s", ms % 1000 / 100),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

/// One line about a drill, for notifications and logs.
#[must_use]
pub fn text_of(record: &DrillRecord) -> String {
    let what = match record.outcome {
        DrillOutcome::Passed => "passed",
        DrillOutcome::TargetMissed => "recovered, and missed its objective",
        DrillOutcome::Unproven => "could not be proven",
        DrillOutcome::Failed => "FAILED",
        DrillOutcome::ControlMissed => "let a damaged copy pass",
        DrillOutcome::ProductionChanged => "ended with production changed",
        DrillOutcome::Interrupted => "was stopped before its end",
    };
    let lost: Option<u64> = record.parts.iter().map(|p| p.loss.records).sum();
    let lost = lost.map_or_else(|| "records lost unknown".to_owned(), |n| format!("{n} records lost"));
    let mut text = format!("drill {} of scenario {} {what}", record.id, record.scenario);
    if record.rta_ms.is_some() {
        text.push_str(&format!(": recovered in {}, data {} old, {lost}", span(record.rta_ms), span(record.rpa_ms)));
    } else if let Some(first) = record.findings.first() {
        text.push_str(&format!(": {}", first.text));
    }
    if record.cleanup.state != CleanUpState::Cleaned {
        text.push_str(&format!("; {}", record.cleanup.state));
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use veza_dr_core::{BackupId, Clock, ScenarioKind, SystemClock, manifest::ContentRecord, manifest::Tool};

    use super::*;
    use crate::drill::{
        CleanUp, ControlPart, ControlRecord, DrillKind, DrillValidation, Objectives, ProductionProof, RECORD_FORMAT,
        RehearsedPlan, StepFate, Unseen,
    };

    fn stage(verdict: Verdict) -> Option<StageRecord> {
        Some(StageRecord { verdict: Some(verdict), equal: 1, rows: 1, ..StageRecord::default() })
    }

    /// A drill that passes.
    pub(crate) fn good() -> DrillRecord {
        let now = SystemClock.now();
        let part = PartRecord {
            component: "database".parse().unwrap(),
            engine: "postgres".to_owned(),
            store: "local".to_owned(),
            backup: BackupId::new(&SystemClock),
            shows: now,
            bytes: 1,
            rows: 1,
            baseline: stage(Verdict::Equal),
            recovery: stage(Verdict::Equal),
            standing: false,
            rpa_ms: Some(5),
            loss: Loss::default(),
        };
        DrillRecord {
            format: RECORD_FORMAT,
            id: BackupId::new(&SystemClock),
            tool: Tool { name: "veza-dr".to_owned(), version: "1".to_owned() },
            host: "h".to_owned(),
            by: "b".to_owned(),
            kind: DrillKind::Processes,
            scenario: ScenarioKind::Database,
            number: Some(1),
            outcome: DrillOutcome::Interrupted,
            started_at: now,
            ended_at: now,
            wanted: None,
            objectives: Objectives { rto_ms: 10, rpo_ms: 10 },
            criteria: Vec::new(),
            plan_sha256: String::new(),
            steps: Vec::new(),
            exclusions: Vec::new(),
            clock: Vec::new(),
            rta_ms: Some(5),
            rpa_ms: Some(5),
            parts: vec![part],
            control: None,
            plan: None,
            validation: Vec::new(),
            timeline: Vec::new(),
            production: ProductionProof {
                verdict: ProductionVerdict::Unchanged,
                facts: 1,
                digest_before: String::new(),
                digest_after: String::new(),
                changed: Vec::new(),
                moved: Vec::new(),
                unknown: Vec::new(),
            },
            cleanup: CleanUp { state: CleanUpState::Cleaned, at: now, removed: Vec::new(), left: Vec::new() },
            findings: Vec::new(),
        }
    }

    fn control(verdict: ControlVerdict) -> Option<ControlRecord> {
        let (component, damage) = ("database".parse().unwrap(), "bit_flip".to_owned());
        Some(ControlRecord { verdict, parts: vec![ControlPart { component, damage, verdict, how: String::new() }] })
    }

    fn asked(verdict: validate::Verdict) -> Vec<DrillValidation> {
        let mut check = validate::CheckResult::not_asked("api", "why");
        check.verdict = verdict;
        let json = serde_json::json!({ "started_at": SystemClock.now(), "took_seconds": 0.1, "checks": [check] });
        vec![DrillValidation { step: None, report: serde_json::from_value(json).unwrap() }]
    }

    fn followed(fate: StepFate, beyond: &[&str]) -> Option<RehearsedPlan> {
        let step = serde_json::json!({ "id": "go", "action": "up", "fate": fate, "text": "", "tries": 0 });
        let json = serde_json::json!({
            "name": "p", "sha256": "00", "recovers": null, "copy_of": "a", "lost": "site", "steps": [step],
            "not_in_plan": [], "beyond": beyond,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn only_what_was_shown_in_full_passes() {
        use DrillOutcome::{ControlMissed, Failed, Interrupted, Passed, ProductionChanged, TargetMissed, Unproven};
        type Change = fn(&mut DrillRecord);
        let cases: [(Change, bool, DrillOutcome); 24] = [
            (|_| (), false, Passed),
            (|_| (), true, Interrupted),
            (|r| r.control = control(ControlVerdict::Caught), false, Passed),
            (|r| r.control = control(ControlVerdict::Missed), false, ControlMissed),
            (|r| r.control = control(ControlVerdict::Unclear), false, Unproven),
            (|r| r.rta_ms = Some(11), false, TargetMissed),
            (|r| r.rpa_ms = Some(11), false, TargetMissed),
            (|r| r.rta_ms = None, false, Failed),
            (|r| r.rpa_ms = None, false, Unproven),
            (|r| r.production.verdict = ProductionVerdict::Unknown, false, Unproven),
            (|r| r.production.verdict = ProductionVerdict::Changed, true, ProductionChanged),
            (|r| r.parts[0].recovery = stage(Verdict::Different), false, Failed),
            (|r| r.parts[0].recovery = stage(Verdict::Unverified), false, Unproven),
            (|r| r.parts[0].recovery = None, false, Failed),
            (|r| r.parts.clear(), false, Failed),
            (|r| r.validation = asked(validate::Verdict::Pass), false, Passed),
            (|r| r.validation = asked(validate::Verdict::Error), false, Unproven),
            (|r| r.validation = asked(validate::Verdict::Fail), false, Failed),
            (|r| r.plan = followed(StepFate::CarriedOut, &[]), false, Passed),
            (|r| r.plan = followed(StepFate::LeftOut, &[]), false, Passed),
            (|r| r.plan = followed(StepFate::Unknown, &[]), false, Unproven),
            (|r| r.plan = followed(StepFate::CarriedOut, &["files"]), false, Unproven),
            // What the disaster left is not recovered: that it differs leaves its loss open.
            (|r| (r.parts[0].standing, r.parts[0].rpa_ms) = (true, Some(0)), false, Passed),
            (|r| (r.parts[0].standing, r.parts[0].recovery) = (true, stage(Verdict::Different)), false, Unproven),
        ];
        for (n, (change, interrupted, expected)) in cases.into_iter().enumerate() {
            let mut record = good();
            change(&mut record);
            judge(&mut record, interrupted);
            assert_eq!(record.outcome, expected, "case {n}");
        }
        let mut record = good();
        record.control = control(ControlVerdict::Missed);
        judge(&mut record, false);
        assert_eq!(record.findings[0].severity, Severity::Critical, "a control that passes is itself alarmed");
        let mut record = good();
        record.cleanup.state = CleanUpState::CleanupIncomplete;
        record.cleanup.left = vec![Unseen { what: "folder".to_owned(), why: "busy".to_owned() }];
        judge(&mut record, false);
        assert!(text_of(&record).ends_with("; cleanup_incomplete"), "{}", text_of(&record));
        let report = good().report();
        assert_eq!(report.consistency.compared.len(), 2);
    }

    #[test]
    fn losses_are_counted_by_table_and_unknown_is_not_zero() {
        let content = |name: &str, rows| ContentRecord { name: name.to_owned(), rows, digest: None };
        let live = BTreeMap::from([("a".to_owned(), 10), ("b".to_owned(), 5), ("new".to_owned(), 2)]);
        let found = loss(Some(&live), &[content("a", 7), content("b", 6), content("functions", 1)], Reference::Now);
        assert_eq!(found.records, Some(5));
        assert_eq!(found.tables.len(), 3);
        assert_eq!(loss(None, &[], Reference::Now).records, None);
        assert_eq!(loss(Some(&BTreeMap::new()), &[], Reference::Now).records, None);
        assert_eq!(loss(Some(&live), &[], Reference::Earlier).records, None);
        let gone_back = loss(Some(&live), &[content("a", 7)], Reference::GoneBackFrom);
        assert_eq!(gone_back.records, Some(10));
        assert!(gone_back.basis.ends_with("the time that was gone back to"), "{}", gone_back.basis);
    }
}
