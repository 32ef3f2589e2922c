//! Reports of recoveries and drills, in the form that was asked for.

use std::path::Path;

use serde_json::json;
use veza_dr_core::{Error, ErrorKind, Result};
use veza_dr_failover::report::RecoveryReport;

use super::Session;
use crate::{
    Exit,
    args::{ReportFormat, ReportPlace},
};

/// Writes a report to its file, or to standard output.
///
/// # Errors
/// `Config` when the file cannot be written; what was there stays then.
pub(crate) fn write_report(
    session: &Session,
    report: &RecoveryReport,
    format: ReportFormat,
    place: &ReportPlace,
) -> Result<()> {
    let text = match format {
        ReportFormat::Html => report.html(place.language),
        ReportFormat::Md => report.markdown(place.language),
        ReportFormat::Json => report.json()?,
    };
    let Some(file) = &place.output else {
        session.out.raw(&text);
        return Ok(());
    };
    write(file, &text)?;
    let shown = file.display().to_string();
    session.out.result(
        || json!({ "report": report.id, "outcome": report.outcome, "sha256": report.sha256, "file": shown }),
        |_| {
            let sealed = report.sha256.as_deref().unwrap_or("not sealed: the run has not ended");
            format!("Report {}: {shown}\nSHA-256: {sealed}", report.id)
        },
    );
    Ok(())
}

/// Tells whether the chain of this host's reports is whole.
///
/// # Errors
/// `Corrupt` naming each report that was changed, lost or put in between.
pub(crate) fn verify_chain(session: &Session) -> Result<Exit> {
    let folder = session.wiring()?.reports()?;
    let check = folder.verify()?;
    if !check.is_whole() {
        let told: Vec<String> = check.problems.iter().map(|p| format!("{} {}: {}", p.at, p.id, p.text)).collect();
        let text = format!("the chain of reports in {} is damaged", folder.path().display());
        return Err(Error::new(ErrorKind::Corrupt, text)
            .with_source(told.join("; "))
            .with_help("put back what was there, from a copy of the folder"));
    }
    session.out.result(
        || json!({ "reports": check.reports, "head": check.head, "whole": true }),
        |paint| {
            let head = check.head.as_deref().unwrap_or("none");
            let whole = paint.good("whole");
            format!("{} reports, chain {whole}\nSHA-256 of the newest: {head}\nIt shows no missing end: compare it with a copy kept elsewhere.", check.reports)
        },
    );
    Ok(Exit::Ok)
}

/// Whole, or not at all.
fn write(file: &Path, text: &str) -> Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let half = file.with_file_name(format!(".{name}.{}.half", std::process::id()));
    let written = std::fs::write(&half, text).and_then(|()| std::fs::rename(&half, file));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&half);
        Error::new(ErrorKind::Config, format!("{} cannot be written", file.display()))
            .with_source(e)
            .with_help("give --output a file in a folder that exists")
    })
}
