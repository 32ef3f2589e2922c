//! Reports in short, and what they leave to be mended.

use chrono::NaiveDate;
use comfy_table::{Cell, Color};
use serde_json::{Value, json};
use veza_dr_failover::report::{OpenFinding, Outcome, RecoveryReport, ReportSummary};

use super::{
    Paint,
    human::{right, table},
    words::{local, many, took},
};

/// A word of the report's own form, for people.
fn word(value: impl serde::Serialize) -> String {
    json!(value).as_str().unwrap_or_default().replace('_', " ")
}

fn seconds(seconds: Option<f64>) -> String {
    let time = seconds.and_then(|s| std::time::Duration::try_from_secs_f64(s).ok());
    time.map_or_else(|| "unknown".to_owned(), took)
}

/// `report list`.
pub(crate) fn reports_text(reports: &[ReportSummary], paint: Paint) -> String {
    if reports.is_empty() {
        return "No reports yet.\nnext: veza-dr drill run".to_owned();
    }
    let mut out = table(paint, &["report", "kind", "scenario", "began", "outcome", "recovery time", "loss", "records"]);
    for report in reports {
        let outcome = Cell::new(word(report.outcome));
        let outcome = match report.outcome {
            Outcome::Passed => outcome.fg(Color::Green),
            Outcome::Failed => outcome.fg(Color::Red),
            _ => outcome,
        };
        out.add_row([
            Cell::new(&report.id),
            Cell::new(word(report.kind)),
            Cell::new(report.scenario.as_deref().unwrap_or("-")),
            Cell::new(local(report.started_at)),
            outcome,
            right(seconds(report.rto_actual_seconds)),
            right(seconds(report.rpo_actual_seconds)),
            right(report.records_lost.map_or_else(|| "unknown".to_owned(), |n| n.to_string())),
        ]);
    }
    format!("{}\nnext: veza-dr report show latest", out.trim_fmt())
}

/// `report findings`.
pub(crate) fn findings_json(open: &[OpenFinding], today: NaiveDate) -> Value {
    let one = |found: &OpenFinding| {
        let mut value = json!(found);
        value["overdue"] = json!(found.is_overdue(today));
        value
    };
    open.iter().map(one).collect()
}

/// `report findings`.
pub(crate) fn findings_text(open: &[OpenFinding], today: NaiveDate, paint: Paint) -> String {
    if open.is_empty() {
        return "Nothing is to be mended.".to_owned();
    }
    let mut out = table(paint, &["due", "owner", "severity", "finding", "report", "what"]);
    for found in open {
        let due = match found.finding.due {
            Some(due) if found.is_overdue(today) => Cell::new(format!("{due} OVERDUE")).fg(Color::Red),
            Some(due) => Cell::new(due),
            None => Cell::new("no day set"),
        };
        let owner = found.finding.owner.as_deref().unwrap_or("nobody");
        out.add_row([
            due,
            Cell::new(owner),
            Cell::new(word(found.finding.severity)),
            Cell::new(&found.finding.id),
            Cell::new(&found.report),
            Cell::new(&found.finding.text),
        ]);
    }
    let overdue = open.iter().filter(|f| f.is_overdue(today)).count();
    let (first, count) = (&open[0], many(open.len() as u64, "finding", "findings"));
    let next = match &first.finding.owner {
        None => "assign REPORT --finding NAME --owner WHO --due DAY".to_owned(),
        Some(_) => format!(
            "retest latest --of {} --finding {} --outcome passed --text 'what was seen'",
            first.report, first.finding.id
        ),
    };
    format!("{}\n{count} open, {overdue} overdue\nnext: veza-dr report {next}", out.trim_fmt())
}

/// What a person added is sealed.
pub(crate) fn revised_text(report: &RecoveryReport, paint: Paint) -> String {
    format!(
        "Sealed as {}\nSHA-256: {}\nnext: veza-dr report show {} --format html --output report.html",
        paint.strong(&report.id),
        report.sha256.as_deref().unwrap_or_default(),
        report.id,
    )
}
