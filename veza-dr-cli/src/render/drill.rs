//! Drills, for people and programs.

use std::time::Duration;

use chrono::Local;
use serde_json::{Value, json};
use veza_dr_core::{Outcome, Severity};
use veza_dr_failover::{
    drill::{
        CleanUpState, ControlVerdict, DrillOutcome, DrillRecord, DrillWatcher, PartRecord, ProductionVerdict, Reaped,
        RehearsedPlan, StageRecord, StepFate, TimelineEntry, Unseen, text_of,
    },
    validate::Verdict,
};

use crate::commands::Rehearsed;

use super::{
    Paint, SharedWriter,
    words::{count, many, nouns, took},
};

/// Prints each step as it ends.
#[derive(Debug)]
pub(crate) struct DrillLines(pub(crate) SharedWriter);

impl DrillWatcher for DrillLines {
    fn step(&self, entry: &TimelineEntry) {
        let mark = match entry.outcome {
            Outcome::Ok => "ok",
            Outcome::Failed => "FAILED",
            _ => "note",
        };
        self.0.line(&format!("  {mark} {}: {} ({})", entry.what, entry.detail, span(entry.took_ms)));
    }
}

fn span(ms: u64) -> String {
    took(Duration::from_millis(ms))
}

fn known(ms: Option<u64>) -> String {
    ms.map_or_else(|| "unknown".to_owned(), span)
}

/// One drill's record.
pub(crate) fn drill_text(record: &DrillRecord, paint: Paint) -> String {
    let o = &record.objectives;
    let mut text = format!(
        "{}\n  {} by {} on {}, {}\n",
        paint.strong(&format!("Drill {} of scenario {}", record.id, record.scenario)),
        record.started_at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S"),
        record.by,
        record.host,
        record.kind,
    );
    for part in &record.parts {
        text.push_str(&part_text(part, paint));
    }
    if let Some(plan) = &record.plan {
        text.push_str(&plan_text(plan, paint));
    }
    for one in &record.validation {
        let (passed, all) = (one.report.count(Verdict::Pass), one.report.checks.len());
        let by = one.step.as_ref().map_or_else(String::new, |step| format!(" (step {step})"));
        let line = format!("validation{by}: {passed} of {all} checks passed on the copy");
        let whole = one.report.verdict() == Verdict::Pass;
        text.push_str(&format!("  {}\n", if whole { line } else { paint.bad(&line) }));
    }
    let missed = |actual: Option<u64>, objective: u64| actual.is_some_and(|a| a > objective);
    let judged = |line: String, missed: bool| if missed { paint.bad(&line) } else { line };
    let rta = format!("recovery time {} (objective {})", known(record.rta_ms), span(o.rto_ms));
    let rpa = format!("age of the data {} (objective {})", known(record.rpa_ms), span(o.rpo_ms));
    text.push_str(&format!("  {}\n", judged(rta, missed(record.rta_ms, o.rto_ms))));
    text.push_str(&format!("  {}\n", judged(rpa, missed(record.rpa_ms, o.rpo_ms))));
    if let Some(control) = &record.control {
        let each = control.parts.iter().map(|p| format!("{} {}", p.component, p.damage)).collect::<Vec<_>>().join(", ");
        text.push_str(&match control.verdict {
            ControlVerdict::Caught => format!("  damaged copies refused ({each})\n"),
            ControlVerdict::Missed => format!("  {} ({each})\n", paint.bad("a DAMAGED copy passed")),
            ControlVerdict::Unclear => format!("  {} ({each})\n", paint.bad("the damaged copies prove nothing")),
        });
    }
    let proof = &record.production;
    text.push_str(&match proof.verdict {
        ProductionVerdict::Unchanged => format!("  production unchanged: {}\n", many(proof.facts, "fact", "facts")),
        ProductionVerdict::Changed => format!("  {}\n", paint.bad("production CHANGED")),
        ProductionVerdict::Unknown => format!("  {}\n", paint.warn("not known whether production changed")),
    });
    for moved in &proof.moved {
        let show = |v: &Option<String>| v.clone().unwrap_or_else(|| "nothing".to_owned());
        let (before, after) = (show(&moved.before), show(&moved.after));
        text.push_str(&format!("    moved by production itself: {}: {before} -> {after}\n", moved.what));
    }
    text.push_str(&match record.cleanup.state {
        CleanUpState::Cleaned => "  nothing is left of it\n".to_owned(),
        state => format!("  {}\n", paint.bad(&state.to_string())),
    });
    for finding in &record.findings {
        let line = format!("{}: {}", finding.severity, finding.text);
        let line = if finding.severity >= Severity::High { paint.bad(&line) } else { paint.warn(&line) };
        text.push_str(&format!("  {line}\n"));
        if let Some(help) = &finding.help {
            text.push_str(&format!("    {help}\n"));
        }
    }
    text.push_str(&format!("{}\n", outcome_text(record.outcome, paint)));
    text.push_str(&format!("next: veza-dr drill report {}\n", record.id));
    text
}

/// Each step of the plan, and what became of it.
fn plan_text(plan: &RehearsedPlan, paint: Paint) -> String {
    let mut text = format!(
        "  plan {} ({}) in a copy of site {}; the disaster took {}\n    {}\n",
        plan.name,
        plan.sha256,
        plan.copy_of,
        plan.lost,
        plan.told()
    );
    for step in &plan.steps {
        let took = step.took_ms.map_or_else(String::new, |ms| format!(" ({})", span(ms)));
        let (mark, line) = match step.fate {
            StepFate::CarriedOut => ("done", step.text.clone()),
            StepFate::LeftOut => ("left out", step.text.clone()),
            StepFate::Failed => ("FAILED", paint.bad(&step.text)),
            StepFate::NotReached => ("not reached", String::new()),
            _ => ("unknown", paint.warn(&step.text)),
        };
        text.push_str(&format!("    {mark:<12}{}: {line}{took}\n", step.id));
    }
    text
}

fn outcome_text(outcome: DrillOutcome, paint: Paint) -> String {
    match outcome {
        DrillOutcome::Passed => paint.good("passed"),
        DrillOutcome::Unproven => paint.warn("unproven: something could not be told, which is no pass"),
        DrillOutcome::TargetMissed => paint.warn("recovered, and missed its objective"),
        DrillOutcome::Interrupted => paint.warn("stopped before its end"),
        DrillOutcome::ControlMissed => paint.bad("a damaged copy passed"),
        DrillOutcome::ProductionChanged => paint.bad("production changed"),
        _ => paint.bad("FAILED"),
    }
}

fn part_text(part: &PartRecord, paint: Paint) -> String {
    let [_, _, item, items] = nouns(&part.engine);
    let stage = |s: &Option<StageRecord>| match s {
        None => "not done".to_owned(),
        Some(s) if s.is_equal() => format!("equal, {} in {}", many(s.rows, item, items), span(s.took_ms)),
        Some(s) => paint.bad(s.error.as_deref().unwrap_or("not proven equal")),
    };
    let lost = match part.loss.records {
        Some(n) => format!("{} {} would be lost", count(n), if n == 1 { item } else { items }),
        None => format!("lost {items} {}", part.loss.basis),
    };
    let shows = part.shows.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S");
    let mut text = format!(
        "  {} from backup {} of store {}, as of {shows}\n    before the disaster: {}\n    after it{}: {}\n    {lost}\n",
        part.component,
        part.backup,
        part.store,
        stage(&part.baseline),
        if part.standing { ", which left it" } else { "" },
        stage(&part.recovery),
    );
    for table in &part.loss.tables {
        text.push_str(&format!(
            "      {}: {} in production, {} restored\n",
            table.name,
            count(table.live),
            count(table.restored)
        ));
    }
    text
}

/// All drills, one a line.
pub(crate) fn drills_text(records: &[DrillRecord], unreadable: &[Unseen], paint: Paint) -> String {
    let mut text = String::new();
    for r in records {
        let outcome = match r.outcome {
            DrillOutcome::Passed => paint.good("passed"),
            other => paint.bad(&other.to_string()),
        };
        text.push_str(&format!(
            "{}  {}  {:<14} {:<9} recovery {}, data {} old, {}\n",
            r.id,
            r.started_at.with_timezone(&Local).format("%Y-%m-%d %H:%M"),
            r.scenario.to_string(),
            outcome,
            known(r.rta_ms),
            known(r.rpa_ms),
            r.cleanup.state,
        ));
    }
    if records.is_empty() {
        text.push_str("no drill yet; make one: veza-dr drill run\n");
    }
    for u in unreadable {
        text.push_str(&format!("{}: {}\n", paint.bad(&u.what), u.why));
    }
    text
}

/// The same for programs.
pub(crate) fn drills_json(records: &[DrillRecord], unreadable: &[Unseen]) -> Value {
    let one = |r: &DrillRecord| {
        json!({
            "id": r.id, "scenario": r.scenario, "kind": r.kind, "outcome": r.outcome, "started_at": r.started_at,
            "ended_at": r.ended_at, "rta_ms": r.rta_ms, "rpa_ms": r.rpa_ms, "cleanup": r.cleanup.state, "by": r.by,
            "host": r.host, "text": text_of(r),
        })
    };
    json!({ "drills": records.iter().map(one).collect::<Vec<_>>(), "unreadable": unreadable })
}

/// What was removed of an earlier drill.
pub(crate) fn reaped_text(found: &Reaped, paint: Paint) -> String {
    let state = match found.cleanup.state {
        CleanUpState::Cleaned => paint.good("cleaned"),
        state => paint.bad(&state.to_string()),
    };
    let mut text = format!("left by drill {}: {state}\n", found.id);
    for removed in &found.cleanup.removed {
        text.push_str(&format!("  removed {removed}\n"));
    }
    for left in &found.cleanup.left {
        text.push_str(&format!("  {}: {}\n", paint.bad(&left.what), left.why));
    }
    if let Some(e) = &found.problem {
        text.push_str(&format!("  {}\n", paint.bad(&e.chain())));
    }
    text
}

/// The same for programs.
pub(crate) fn reaped_json(all: &[Reaped]) -> Value {
    let one = |r: &Reaped| json!({ "id": r.id, "cleanup": r.cleanup, "problem": r.problem.as_ref().map(veza_dr_core::Error::chain) });
    json!({ "drills": all.iter().map(one).collect::<Vec<_>>() })
}

/// When each scenario was last proven by a drill.
pub(crate) fn rehearsed_text(all: &[Rehearsed], paint: Paint) -> String {
    let mut text = String::new();
    for one in all {
        let when = |r: &DrillRecord| r.ended_at.with_timezone(&Local).format("%Y-%m-%d %H:%M").to_string();
        let said = match (&one.last_passed, &one.unknown) {
            (Some(r), _) => format!("last proven {} by drill {}", when(r), r.id),
            (None, Some(why)) => paint.bad(&format!("not known whether a drill ever proved it: {why}")),
            (None, None) => paint.warn("never proven by a drill"),
        };
        text.push_str(&format!("\nscenario {}: {said}", one.scenario));
        if let Some(last) = one.last.as_ref().filter(|l| l.outcome != DrillOutcome::Passed) {
            text.push_str(&format!("; the last one, {}, {}", last.id, paint.bad(&last.outcome.to_string())));
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// The same for programs.
pub(crate) fn rehearsed_json(all: &[Rehearsed]) -> Value {
    let short = |r: &DrillRecord| json!({ "id": r.id, "outcome": r.outcome, "ended_at": r.ended_at, "rta_ms": r.rta_ms, "rpa_ms": r.rpa_ms });
    let one = |r: &Rehearsed| {
        json!({
            "scenario": r.scenario, "last": r.last.as_ref().map(short), "last_passed": r.last_passed.as_ref().map(short),
            "unknown": r.unknown,
        })
    };
    all.iter().map(one).collect()
}
