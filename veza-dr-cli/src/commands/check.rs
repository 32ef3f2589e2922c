//! `veza-dr check`: is the configuration valid, does each store take, give and keep what it must, can each source be
//! backed up, can its schedule meet what recovery must achieve.

use std::time::Duration;

use veza_dr_core::{Clock, ComponentName, ErrorKind, Outcome, Report, Result, SystemClock};

use super::{Session, check_daemon::check_daemon, check_store::check_store};
use crate::{
    Exit,
    render::{check_json, check_text},
    wiring::Wiring,
};

/// What was found about one store or source.
#[derive(Debug)]
pub(crate) struct Checked {
    /// `store`, `source`, `channel` or `hooks`.
    pub(crate) what: &'static str,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) location: Option<String>,
    pub(crate) report: Report,
}

pub(crate) async fn check(session: &Session) -> Result<Exit> {
    let wiring = session.wiring()?;
    let mut checks = Vec::new();
    for name in wiring.store_names(None, session.store())? {
        session.cx.check("check")?;
        checks.push(check_store(session, &wiring, name).await);
    }
    for component in wiring.components() {
        session.cx.check("check")?;
        checks.push(check_source(session, &wiring, &component).await?);
    }
    checks.extend(check_daemon(session, &wiring).await);
    session.cx.check("check")?;
    for scenario in wiring.scenarios().iter().filter(|s| s.needs.is_empty() && s.rpo.0.is_zero()) {
        session.out.remark(&format!(
            "scenario {}: an RPO of 0 cannot be met by periodic backups; it names no source that would need one",
            scenario.kind
        ));
    }
    if wiring.components().is_empty() {
        session.out.remark("the configuration names no source: nothing is protected");
    }
    let fine = checks.iter().all(|c| c.report.is_ok()) && !wiring.components().is_empty();
    let exit = if fine { Exit::Ok } else { Exit::CheckFailed };
    let file = wiring.loaded.file.display().to_string();
    session.out.result(|| check_json(&file, &checks, exit), |paint| check_text(&file, &checks, exit, paint));
    Ok(exit)
}

async fn check_source(session: &Session, wiring: &Wiring, component: &ComponentName) -> Result<Checked> {
    let mut report = Report::default();
    let mut location = None;
    match wiring.backup_target(&session.cx, component).await {
        Ok(target) => {
            location = Some(target.info().location.clone());
            match target.check(&session.cx).await {
                Ok(found) => report.extend(found),
                Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
                Err(e) => report.push_error("look", &e),
            }
        }
        Err(e) => report.push_error("settings", &e),
    }
    match wiring.loaded.config.backup.get(component.as_str()) {
        None => note(&mut report, "schedule", "no `backup` entry: backed up only by hand, kept for ever"),
        Some(policy) if policy.schedule.is_none() => note(&mut report, "schedule", "none: backed up only by hand"),
        Some(policy) => {
            if policy.retention.is_none() {
                note(&mut report, "retention", "none: backups are kept for ever");
            }
            report.extend(wiring.check_objectives(&session.cx, component, SystemClock.now()).await);
        }
    }
    let kind = wiring.source(component)?.engine();
    Ok(Checked { what: "source", name: component.to_string(), kind, location, report })
}

fn note(report: &mut Report, name: &str, detail: &str) {
    report.push(name, Outcome::Warning, detail, Duration::ZERO);
}
