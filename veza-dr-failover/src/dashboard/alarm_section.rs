//! What is wrong now, and the button of whoever takes care: the one thing that the page changes.

use std::fmt::Write;

use axum::{
    body::to_bytes,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use url::form_urlencoded;
use veza_dr_core::{ErrorKind, Severity};

use super::{
    Dashboard,
    look::{Asked, tag},
    overview::{row, table_head},
};
use crate::{
    alarm::{AlarmView, AlertView},
    report::escape_html as escape,
};

/// A name, and what forms put around it.
const LARGEST: usize = 1024;
/// A name.
const LONGEST: usize = 100;

/// The incident and the alerts that are open; nothing where there are none.
pub(super) fn section(out: &mut String, asked: &Asked, alarms: &AlarmView) {
    if alarms.incident.is_none() && alarms.alerts.is_empty() {
        return;
    }
    let heading = asked.t("Open now", "En cours");
    let _ = write!(out, "<section aria-labelledby=\"alarms\"><h2 id=\"alarms\">{heading}</h2>");
    let heads = [
        asked.t("What", "Quoi"),
        asked.t("Severity", "Gravité"),
        asked.t("Since", "Depuis"),
        asked.t("Text", "Texte"),
        asked.t("Who takes care", "Pris en charge"),
    ];
    table_head(out, "alarms", asked.t("What waits for somebody", "Ce qui attend quelqu'un"), &heads);
    if let Some(one) = &alarms.incident {
        let incident = &one.incident;
        let level = format!("{} {}", asked.t("level called:", "niveau appelé :"), one.level);
        let held = one.acknowledged_until.filter(|until| *until > asked.now);
        let who = held.and(one.acknowledged_by.as_deref());
        let until = held.map(|at| format!(" ({} {})", asked.t("until", "jusqu'au"), asked.language.instant(at)));
        let cells = [
            escape(asked.t("incident: users are not served", "incident : utilisateurs non servis")),
            tag("bad", &severity(asked, Severity::Critical)),
            asked.when(incident.began),
            escape(&level),
            care(asked, &incident.id, who, &until.unwrap_or_default()),
        ];
        row(out, &heads, &cells);
    }
    for alert in &alarms.alerts {
        let (class, what) = shown(asked, alert);
        let cells = [
            escape(&alert.alert),
            tag(class, &what),
            asked.when(alert.since),
            escape(&alert.text),
            care(asked, &alert.id, alert.acknowledged_by.as_deref(), ""),
        ];
        row(out, &heads, &cells);
    }
    out.push_str("</tbody></table></div></section>");
}

fn shown(asked: &Asked, alert: &AlertView) -> (&'static str, String) {
    if alert.missing {
        return ("unknown", asked.t("cannot be told", "impossible à établir").to_owned());
    }
    let class = if alert.severity >= Severity::High { "bad" } else { "unknown" };
    (class, severity(asked, alert.severity))
}

fn severity(asked: &Asked, severity: Severity) -> String {
    match severity {
        Severity::Critical => asked.t("critical", "critique"),
        Severity::High => asked.t("high", "élevée"),
        Severity::Medium => asked.t("medium", "moyenne"),
        _ => asked.t("low", "faible"),
    }
    .to_owned()
}

/// Who takes care, or the form for it.
fn care(asked: &Asked, id: &str, who: Option<&str>, until: &str) -> String {
    if let Some(who) = who {
        return format!("{}{}", tag("good", who), escape(until));
    }
    let action = asked.link(&format!("/alarms/{id}"));
    let (name, button) = (asked.t("Your name", "Votre nom"), asked.t("I take care of it", "Je m'en occupe"));
    format!(
        "<form method=\"post\" action=\"{}\"><label>{name} <input name=\"by\" required maxlength=\"{LONGEST}\" \
         autocomplete=\"name\"></label> <button type=\"submit\" aria-label=\"{}\">{button}</button></form>",
        escape(&action),
        escape(&format!("{button} ({id})")),
    )
}

/// Takes note of who takes care, and leads back to the first page. The server in front has seen that the form is its
/// own.
pub(super) async fn acknowledge(dashboard: Dashboard, asked: Asked, id: String, request: Request) -> Response {
    let title = asked.t("Not noted", "Non noté");
    let Ok(body) = to_bytes(request.into_body(), LARGEST).await else {
        return asked.problem(StatusCode::PAYLOAD_TOO_LARGE, title, asked.t("too long", "trop long"));
    };
    let by = form_urlencoded::parse(&body).find(|(name, _)| name == "by").map(|(_, by)| by.trim().to_owned());
    let by = by.filter(|by| !by.is_empty() && by.chars().count() <= LONGEST && !by.chars().any(char::is_control));
    let Some(by) = by else {
        let text =
            asked.t("Say who takes care: a name of at most 100 letters.", "Indiquez un nom (100 lettres au plus).");
        return asked.problem(StatusCode::BAD_REQUEST, title, text);
    };
    let Some(desk) = dashboard.desk().cloned() else {
        return asked.problem(StatusCode::NOT_FOUND, title, asked.t("No alarms are kept here.", "Aucune alarme ici."));
    };
    let noted = tokio::task::spawn_blocking(move || {
        let done = desk.acknowledge(&id, &by);
        // Whoever is led back sees it.
        dashboard.look(false);
        done
    });
    match noted.await {
        Ok(Ok(_)) => (StatusCode::SEE_OTHER, [(header::LOCATION, asked.link("/"))]).into_response(),
        Ok(Err(e)) => {
            let known = e.kind() == ErrorKind::NotFound;
            let status = if known { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
            asked.problem(status, title, &e.chain())
        }
        Err(_) => asked.problem(StatusCode::INTERNAL_SERVER_ERROR, title, "veza-dr status --acknowledge ID"),
    }
}
