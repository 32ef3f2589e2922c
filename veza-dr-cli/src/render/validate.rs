//! `validate`, for people and as JSON.

use comfy_table::Cell;
use serde_json::{Value, json};
use veza_dr_failover::validate::{Group, PlannedCheck, ValidationReport, Verdict};

use super::{Paint, human::table};

fn group(group: Group) -> &'static str {
    match group {
        Group::Connectivity => "connectivity",
        Group::Data => "data",
        Group::Load => "load",
        _ => "other",
    }
}

fn painted(verdict: Verdict, paint: Paint) -> String {
    match verdict {
        Verdict::Pass => paint.good("pass"),
        Verdict::Fail => paint.bad("FAIL"),
        Verdict::Skipped => paint.warn("skipped"),
        _ => paint.bad("ERROR"),
    }
}

/// The option that names the site again.
fn again(site: Option<&str>) -> String {
    site.map(|s| format!(" --site {s}")).unwrap_or_default()
}

/// A table of checks, why some are no pass, the verdict, and what to do next.
pub(crate) fn validate_text(site: Option<&str>, report: &ValidationReport, paint: Paint) -> String {
    let mut out = table(paint, &["check", "group", "verdict", "measured", "tolerance", "took"]);
    for check in &report.checks {
        out.add_row(vec![
            Cell::new(&check.name),
            Cell::new(group(check.group)),
            Cell::new(painted(check.verdict, paint)),
            Cell::new(check.measured.as_deref().unwrap_or("-")),
            Cell::new(&check.tolerance),
            Cell::new(format!("{:.2} s", check.took_seconds)),
        ]);
    }
    let mut text = out.trim_fmt();
    text.push('\n');
    for check in report.checks.iter().filter(|c| c.verdict != Verdict::Pass) {
        let reason = check.reason.as_deref().unwrap_or("no reason is known");
        text.push_str(&format!("\n{}: {reason}", paint.strong(&check.name)));
    }
    let verdict = report.verdict();
    let (passed, all) = (report.count(Verdict::Pass), report.checks.len());
    text.push_str(&format!("\nvalidation: {}, {passed} of {all} checks passed", painted(verdict, paint)));
    text.push_str(&match (verdict, report.checks.iter().find(|c| c.verdict != Verdict::Pass)) {
        (Verdict::Pass, _) => "\nnext: veza-dr dns show".to_owned(),
        (_, Some(first)) => format!("\nnext: veza-dr validate{} --only {}", again(site), entry(&first.name)),
        (_, None) => "\nnext: add checks under `validation` in the configuration".to_owned(),
    });
    text
}

/// The check of the configuration that a check is part of.
fn entry(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

pub(crate) fn validate_json(site: Option<&str>, report: &ValidationReport) -> Value {
    json!({
        "site": site,
        "verdict": report.verdict(),
        "started_at": report.started_at,
        "took_seconds": report.took_seconds,
        "passed": report.count(Verdict::Pass),
        "failed": report.count(Verdict::Fail),
        "errors": report.count(Verdict::Error),
        "skipped": report.count(Verdict::Skipped),
        "checks": report.checks,
    })
}

pub(crate) fn validate_plan_text(site: Option<&str>, plan: &[PlannedCheck], paint: Paint) -> String {
    let mut out = table(paint, &["check", "group", "tolerance", "ended after"]);
    for check in plan {
        let limit = format!("{} s", check.deadline_seconds);
        out.add_row(vec![check.name.as_str(), group(check.group), check.tolerance.as_str(), limit.as_str()]);
    }
    format!("{}\nnothing was asked\nnext: veza-dr validate{}", out.trim_fmt(), again(site))
}

pub(crate) fn validate_plan_json(site: Option<&str>, plan: &[PlannedCheck]) -> Value {
    json!({ "site": site, "checks": plan })
}
