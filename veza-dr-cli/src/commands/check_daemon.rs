//! `veza-dr check`: can notifications be set up, and what would rest while a component is read. Nobody is told anything,
//! and nothing is stopped.

use std::time::Duration;

use veza_dr_core::{Outcome, Report};

use super::{Checked, Session};
use crate::wiring::Wiring;

pub(crate) async fn check_daemon(session: &Session, wiring: &Wiring) -> Vec<Checked> {
    let mut checks = Vec::new();
    for (name, tried) in wiring.try_channels(&session.cx).await {
        let mut report = Report::default();
        match tried {
            Ok(()) => report.push("settings", Outcome::Ok, "complete; nothing was sent", Duration::ZERO),
            Err(e) => report.push_error("settings", &e),
        }
        checks.push(Checked { what: "channel", name, kind: "notify", location: None, report });
    }
    let mut report = Report::default();
    for text in wiring.contradictions() {
        report.push("objectives", Outcome::Warning, text, Duration::ZERO);
    }
    if !report.steps.is_empty() {
        let name = "alerts and levels".to_owned();
        checks.push(Checked { what: "alarms", name, kind: "recovery", location: None, report });
    }
    if !wiring.loaded.config.backup.values().any(|p| p.quiesce.is_some()) {
        return checks;
    }
    for component in wiring.components() {
        let mut report = Report::default();
        match wiring.quiescer(false) {
            Ok(Some(quiescer)) if quiescer.has_plan(&component) => {
                match quiescer.preview(&session.cx, &component).await {
                    Ok(lines) => report.push("would", Outcome::Ok, lines.join("; "), Duration::ZERO),
                    Err(e) => report.push_error("look", &e),
                }
            }
            Ok(_) => continue,
            Err(e) => report.push_error("settings", &e),
        }
        checks.push(Checked { what: "hooks", name: component.to_string(), kind: "quiesce", location: None, report });
    }
    checks
}
