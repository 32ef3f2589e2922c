//! Reports of recoveries and drills, in the form that was asked for; `veza-dr report`.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use chrono::{Local, Utc};
use serde_json::json;
use veza_dr_core::{Cx, Error, ErrorKind, Result};
use veza_dr_failover::report::{Addition, ChainProblem, Finding, RecoveryReport, ReportFolder, Retest, SignOff};

use super::Session;
use crate::{
    Exit,
    args::{ReportCommand, ReportFormat, ReportPlace, Reports},
    render::{findings_json, findings_text, reports_text, revised_text},
    wiring::{Access, Wiring},
};

/// As long as a command stays for its report to be copied.
const LAST_WORDS: Duration = Duration::from_secs(20);

pub(crate) async fn report(session: &Session, args: &Reports) -> Result<Exit> {
    use ReportCommand as C;
    let (one, addition) = match &args.command {
        C::List => return list(session),
        C::Show { one, format, place } => {
            let report = session.wiring()?.reports()?.newest(&one.report)?;
            write_report(session, &report, *format, place)?;
            return Ok(Exit::Ok);
        }
        C::Findings => return findings(session),
        C::Verify => return verify(session).await,
        C::Find { one, finding, severity, text } => {
            (one, Addition::Finding(Finding::new(finding, (*severity).into(), text)))
        }
        C::Assign { one, finding, owner, due } => {
            (one, Addition::Owner { finding: finding.clone(), owner: owner.clone(), due: *due })
        }
        C::Retest { one, of, finding, outcome, text } => {
            let of = of.as_ref().unwrap_or(&one.report);
            (one, Addition::Retest(Retest::new(of, finding, (*outcome).into(), text)))
        }
        C::Note { one, lesson: Some(text), .. } => (one, Addition::Lesson(text.clone())),
        C::Note { one, plan_change, .. } => (one, Addition::PlanChange(plan_change.clone().unwrap_or_default())),
        C::Sign { one, name, role, statement } => {
            let mut signature = SignOff::new(name, role, Utc::now());
            signature.statement.clone_from(statement);
            (one, Addition::SignOff(signature))
        }
    };
    let wiring = session.wiring()?;
    let revised = wiring.reports()?.amend(&one.report, addition)?;
    copied(session, &wiring).await;
    session.out.result(
        || json!({ "report": revised.id, "revises": revised.revises, "sha256": revised.sha256 }),
        |paint| revised_text(&revised, paint),
    );
    Ok(Exit::Ok)
}

/// Copies reports to the store. That it cannot be is told, and changes nothing about them: `serve` tries again.
pub(crate) async fn copied(session: &Session, wiring: &Wiring) {
    // Also where the command was stopped, or its time has run out: the report is there.
    let cx = Cx::background().with_deadline(SystemTime::now() + LAST_WORDS);
    if let Err(e) = cx.run("copy the report to the store", wiring.copy_reports(&cx, session.store())).await {
        session.out.warn(&Error::new(e.kind(), "the store has no copy of the report yet").with_source(e.chain()));
    }
}

/// The chain, and the copies of it in the store.
async fn verify(session: &Session) -> Result<Exit> {
    let wiring = session.wiring()?;
    let folder = wiring.reports()?;
    let compared = async {
        let archive = wiring.report_archive(&session.cx, session.store(), Access::Read).await?;
        archive.compare(&session.cx, &folder).await
    };
    match compared.await {
        Ok(problems) => refuse(&folder, &problems)?,
        Err(e) => {
            verify_chain(session)?;
            session
                .out
                .warn(&Error::new(e.kind(), "the copies in the store were not looked at").with_source(e.chain()));
            return Ok(Exit::Unverified);
        }
    }
    verify_chain(session)
}

fn refuse(folder: &ReportFolder, problems: &[ChainProblem]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = problems.iter().map(|p| format!("{} {}: {}", p.at, p.id, p.text)).collect();
    let text = format!("the chain of reports in {} is damaged", folder.path().display());
    Err(Error::new(ErrorKind::Corrupt, text)
        .with_source(told.join("; "))
        .with_help("put back what was there, from a copy of the folder: failover/reports/ in the store has one"))
}

fn list(session: &Session) -> Result<Exit> {
    let folder = session.wiring()?.reports()?;
    let (reports, check) = folder.survey()?;
    session.out.result(|| json!(reports), |paint| reports_text(&reports, paint));
    refuse(&folder, &check.problems)?;
    Ok(Exit::Ok)
}

fn findings(session: &Session) -> Result<Exit> {
    let open = session.wiring()?.reports()?.open_findings()?;
    let today = Local::now().date_naive();
    session.out.result(|| findings_json(&open, today), |paint| findings_text(&open, today, paint));
    Ok(Exit::Ok)
}

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
    refuse(&folder, &check.problems)?;
    session.out.result(
        || json!({ "reports": check.reports, "head": check.head, "whole": true }),
        |paint| {
            let head = check.head.as_deref().unwrap_or("none");
            let whole = paint.good("whole");
            format!("{} reports, chain {whole}\nSHA-256 of the newest: {head}\nWhat was taken off its end only copies kept elsewhere show: veza-dr report verify", check.reports)
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
