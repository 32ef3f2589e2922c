//! Plans and runs of a failover.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::{Value, json};
use veza_dr_failover::runbook::{
    Bound, Entry, Prediction, Question, Record, RunReport, RunStatus, Safety, StepOutcome, StepStatus, Violation,
    Watcher, loss_in_words,
};

use super::{SharedWriter, output::Paint, words::local};

pub(crate) struct PlanView<'a> {
    pub(crate) bound: &'a Bound,
    pub(crate) left_out: &'a [String],
    pub(crate) known: &'a BTreeMap<String, Prediction>,
    pub(crate) violations: &'a [Violation],
}

pub(crate) fn plan_json(view: &PlanView<'_>) -> Value {
    let steps = view.bound.plan().steps.iter().map(|step| {
        let commands = |ungraceful| view.bound.action(&step.id, ungraceful).map(|a| a.commands());
        let ungraceful = step.ungraceful.as_ref().and_then(|_| commands(true));
        let took = view.known.get(&step.id);
        json!({
            "id": step.id, "do": step.action, "needs": step.needs, "commands": commands(false),
            "ungraceful_commands": ungraceful, "approval": step.approval, "skippable": step.skippable,
            "timeout_seconds": step.timeout.as_secs_f64(),
            "p50_seconds": took.map(|t| t.p50.as_secs_f64()), "p95_seconds": took.map(|t| t.p95.as_secs_f64()),
            "samples": took.map_or(0, |t| t.samples),
        })
    });
    json!({
        "plan": view.bound.plan().name, "about": view.bound.plan().about, "sha256": view.bound.sha256(),
        "steps": steps.collect::<Vec<_>>(), "left_out": view.left_out, "violations": view.violations,
    })
}

pub(crate) fn plan_text(view: &PlanView<'_>, paint: Paint) -> String {
    let plan = view.bound.plan();
    let mut text = format!("{}\n{}\n\n", paint.strong(&plan.name), plan.about);
    for step in &plan.steps {
        let needs = if step.needs.is_empty() { String::new() } else { format!(" after {}", step.needs.join(", ")) };
        let gate = if step.approval { ", waits for approval" } else { "" };
        let took = match view.known.get(&step.id) {
            Some(t) => {
                let (p50, p95) = (t.p50.as_secs_f64(), t.p95.as_secs_f64());
                format!("p50 {p50:.1} s, p95 {p95:.1} s of {} runs", t.samples)
            }
            None => "duration unknown".to_owned(),
        };
        let _ = writeln!(text, "  {}{needs}{gate} ({took})", paint.strong(&step.id));
        for command in view.bound.action(&step.id, false).map(|a| a.commands()).unwrap_or_default() {
            let _ = writeln!(text, "      {command}");
        }
    }
    if !view.left_out.is_empty() {
        let _ = writeln!(text, "\nLeft out, as nothing is configured for it: {}", view.left_out.join(", "));
    }
    for v in view.violations {
        let _ = writeln!(text, "{} {}: step {}: {}", paint.bad("Refused by rule"), v.rule, v.step, v.text);
    }
    let _ = writeln!(text, "\nHash: {}", view.bound.sha256());
    text
}

pub(crate) fn run_json(report: &RunReport, holder: Option<&str>) -> Value {
    let mut document = serde_json::to_value(report).unwrap_or_default();
    document["held_by"] = json!(holder);
    document["next"] = json!(next(report));
    document
}

pub(crate) fn run_text(report: &RunReport, holder: Option<&str>, paint: Paint) -> String {
    let word = word(report.status);
    let shown = match report.status {
        RunStatus::Completed | RunStatus::RolledBack => paint.good(word),
        RunStatus::CompletedWithSkips | RunStatus::Paused | RunStatus::Abandoned => paint.warn(word),
        _ => paint.bad(word),
    };
    let mut text = format!("Run {} of plan {}: {shown}\n", report.run, report.plan);
    if let Some(holder) = holder {
        let _ = writeln!(text, "Under way: {holder}");
    }
    for step in &report.steps {
        let mark = match step.status {
            StepStatus::Done => paint.good("done"),
            StepStatus::Waiting => "waiting".to_owned(),
            StepStatus::Skipped => paint.warn("skipped"),
            StepStatus::Undone => "undone".to_owned(),
            other => paint.bad(&format!("{other:?}").to_lowercase()),
        };
        let recovered = if step.recovered { " (found out afterwards)" } else { "" };
        let _ = writeln!(text, "  {:<24} {mark}{recovered}  {}", step.id, step.text);
    }
    let points = report.points.iter().map(|(name, at)| {
        format!("{name} {}", at.map_or_else(|| "unknown".to_owned(), |at| at.format("%H:%M:%SZ").to_string()))
    });
    let _ = writeln!(text, "Clock points: {}", points.collect::<Vec<_>>().join(", "));
    if let Some(words) = loss_in_words(&report.data_loss) {
        let _ = writeln!(text, "Data lost: {words}");
    }
    for a in &report.approvals {
        let comment = a.comment.as_ref().map(|c| format!(": {c}")).unwrap_or_default();
        let _ = writeln!(text, "Agreed to {} by {} at {}{comment}", a.step, a.who, local(a.at));
    }
    for o in &report.overrides {
        let _ = writeln!(text, "{} {} by {}: {}", paint.warn("Overridden:"), o.rule, o.who, o.why);
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "{} {warning}", paint.warn("Warning:"));
    }
    if let Some(why) = &report.why {
        let _ = writeln!(text, "{why}");
    }
    if let Some(next) = next(report) {
        let _ = writeln!(text, "Next: {next}");
    }
    text
}

/// What a person agrees to: the step, its commands, and what it touches.
pub(crate) fn question_text(question: &Question) -> String {
    let step = &question.step;
    let mut text = format!("\nStep {} of run {} waits for approval:\n", step.id, question.run);
    for command in &question.commands {
        let _ = writeln!(text, "    {command}");
    }
    let touches = question.safety.iter().filter_map(|s| match s {
        Safety::Writes => Some("lets a site take writes"),
        Safety::Dns => Some("leads names elsewhere"),
        Safety::Destructive => Some("replaces data"),
        Safety::Replaces => Some("replaces the data of a site"),
        Safety::Production => Some("acts on production"),
        _ => None,
    });
    let touches = question.site.iter().map(|s| format!("site {s}")).chain(touches.map(str::to_owned));
    let touches: Vec<String> = touches.collect();
    if !touches.is_empty() {
        let _ = writeln!(text, "  It touches: {}", touches.join(", "));
    }
    text.push_str(&format!("Type {} to agree, or no to let the run rest: ", step.id));
    text
}

fn word(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Completed => "completed",
        RunStatus::CompletedWithSkips => "completed with skips",
        RunStatus::RolledBack => "rolled back",
        RunStatus::Failed => "failed",
        RunStatus::NeedsHuman => "needs a human",
        RunStatus::Refused => "refused by a rule",
        RunStatus::Abandoned => "given up",
        RunStatus::Paused => "paused",
        _ => "not finished",
    }
}

fn next(report: &RunReport) -> Option<String> {
    match report.status {
        RunStatus::Completed | RunStatus::CompletedWithSkips => Some("veza-dr status".to_owned()),
        RunStatus::RolledBack | RunStatus::Abandoned => None,
        _ => Some(format!("veza-dr failover resume {}", report.run)),
    }
}

/// Says on standard error what happens while it happens.
#[derive(Debug)]
pub(crate) struct RunLines(pub(crate) SharedWriter);

impl Watcher for RunLines {
    fn told(&self, entry: &Entry) {
        let line = match &entry.record {
            Record::Started { run, .. } => format!("run {run} begins"),
            Record::Intent { step, attempt, .. } if *attempt > 1 => format!("{step}: begins, try {attempt}"),
            Record::Intent { step, .. } => format!("{step}: begins"),
            Record::Outcome { step, outcome, .. } => match outcome {
                StepOutcome::Ok { done, .. } => format!("{step}: {}", done.text),
                StepOutcome::Failed { error, .. } => format!("{step}: failed: {error}"),
                StepOutcome::TimedOut => format!("{step}: out of time"),
                StepOutcome::Unknown { why } => format!("{step}: unknown: {why}"),
                StepOutcome::Waits { why } => format!("{step}: waits: {why}"),
                StepOutcome::Skipped { why, .. } => format!("{step}: left out: {why}"),
                _ => return,
            },
            Record::UndoOutcome { step, error: None } => format!("{step}: undone"),
            Record::UndoOutcome { step, error: Some(why) } => format!("{step}: not undone: {why}"),
            Record::Approved { step, who, .. } => format!("{step}: agreed to by {who}"),
            Record::Warning { text } => format!("warning: {text}"),
            _ => return,
        };
        self.0.line(&format!("{} {line}", entry.at.format("%H:%M:%SZ")));
    }
}
