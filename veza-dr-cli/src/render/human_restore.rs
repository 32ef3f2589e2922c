//! Plans and reports of restores, for people.

use veza_dr_core::{Report, RestorePlan, RestoreReport, Verdict};
#[cfg(feature = "postgres")]
use veza_dr_restore::postgres::{FoundRows, RowsPlan, RowsReport};

#[cfg(feature = "postgres")]
use super::words::count;
use super::{
    Paint,
    words::{many, nouns, took},
};

/// What a restore will do.
pub(crate) fn restore_plan_text(heading: &str, plan: &RestorePlan, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.strong(heading));
    for (at, step) in plan.steps.iter().enumerate() {
        let live =
            if step.changes_live { format!("  {}", paint.warn("<- changes what is live")) } else { String::new() };
        text.push_str(&format!("  {}. {}{live}\n", at + 1, step.what));
    }
    text + &remarks(&plan.warnings, &plan.blockers, paint)
}

fn remarks(warnings: &[String], blockers: &[String], paint: Paint) -> String {
    let warnings = warnings.iter().map(|w| format!("  {}: {w}\n", paint.warn("note")));
    let blockers = blockers.iter().map(|b| format!("  {}: {b}\n", paint.bad("in the way")));
    warnings.chain(blockers).collect()
}

/// What a restore did.
pub(crate) fn restore_text(engine: &str, report: &RestoreReport, paint: Paint) -> String {
    let mut text = steps_text(&report.report, paint);
    let found = &report.verification;
    let verdict = match found.verdict() {
        Verdict::Equal => {
            let [_, _, item, items] = nouns(engine);
            paint.good(&format!("{} equal to the backup, each of them", many(found.rows, item, items)))
        }
        Verdict::Different => paint.bad("DIFFERENT from the backup"),
        Verdict::Unverified => paint.warn("not all could be verified"),
    };
    text.push_str(&format!("restored {} into {}: {verdict}\n", report.backup, report.location));
    for finding in &found.findings {
        text.push_str(&format!("  {}: {}\n", finding.what, finding.why));
    }
    if let Some(kept) = &report.replaced {
        text.push_str(&format!("what it replaced is kept: {kept}\n"));
    }
    for next in &report.next {
        text.push_str(&format!("next: {next}\n"));
    }
    text
}

/// The steps of a report, one a line.
pub(crate) fn steps_text(report: &Report, paint: Paint) -> String {
    let step = |s: &veza_dr_core::Step| {
        let detail = if s.detail.is_empty() { String::new() } else { format!(": {}", s.detail) };
        format!("  {} {}{detail} ({})\n", paint.outcome(s.outcome), s.name, took(s.took))
    };
    report.steps.iter().map(step).collect()
}

/// The rows that a request found, with a sample of each table's.
#[cfg(feature = "postgres")]
pub(crate) fn rows_plan_text(heading: &str, plan: &RowsPlan, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.strong(heading));
    for found in &plan.tables {
        text.push_str(&format!(
            "  {} ({}): {}; missing {}, different {}, identical {}\n",
            paint.strong(&found.table),
            found.why,
            many(found.rows, "row", "rows"),
            count(found.missing),
            count(found.different),
            count(found.identical)
        ));
        text.push_str(&sample(found));
    }
    text + &remarks(&plan.warnings, &plan.blockers, paint)
}

#[cfg(feature = "postgres")]
fn sample(found: &FoundRows) -> String {
    let mut text = String::new();
    for row in &found.sample {
        let cells = found.columns.iter().zip(row).map(|(column, value)| match value {
            Some(value) => format!("{column}={}", shortened(value)),
            None => format!("{column}=NULL"),
        });
        text.push_str(&format!("    {}\n", cells.collect::<Vec<_>>().join("  ")));
    }
    let shown = found.sample.len() as u64;
    if shown > 0 && found.rows > shown {
        text.push_str(&format!("    … and {} more\n", count(found.rows - shown)));
    }
    text
}

#[cfg(feature = "postgres")]
fn shortened(value: &str) -> String {
    // Control characters could repaint the terminal that the operator decides by.
    let clean: String = value.chars().take(41).map(|c| if c.is_control() { '·' } else { c }).collect();
    match clean.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", &clean[..at]),
        None => clean,
    }
}

/// What was written, by table.
#[cfg(feature = "postgres")]
pub(crate) fn rows_text(report: &RowsReport, paint: Paint) -> String {
    let mut text = String::new();
    for done in &report.tables {
        text.push_str(&format!(
            "  {} {}: inserted {}, updated {}, left as they were {}\n",
            paint.good("ok"),
            done.table,
            count(done.inserted),
            count(done.updated),
            count(done.kept)
        ));
    }
    text
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use super::*;

    #[test]
    fn long_and_hostile_values_are_tamed() {
        assert_eq!(shortened(&"é".repeat(60)), format!("{}…", "é".repeat(40)));
        assert_eq!(shortened("a\u{1b}[2Jb"), "a·[2Jb");
    }
}
