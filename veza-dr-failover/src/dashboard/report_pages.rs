//! The list of reports.

use std::fmt::Write;

use super::{
    Dashboard,
    look::{Asked, tag},
    overview::{row, table_head},
};
use crate::report::{Outcome, ReportSummary, escape_html as escape};

pub(super) fn outcome(asked: &Asked, outcome: Outcome) -> String {
    let class = match outcome {
        Outcome::Passed => "good",
        Outcome::Failed => "bad",
        _ => "unknown",
    };
    tag(class, asked.language.outcome(outcome))
}

/// A table of these reports.
pub(super) fn table(out: &mut String, asked: &Asked, caption: &str, reports: &[&ReportSummary]) {
    let l = asked.language;
    if reports.is_empty() {
        let _ = write!(out, "<p>{}</p>", asked.t("There is no report yet.", "Aucun rapport pour l'instant."));
        return;
    }
    let heads = [
        asked.t("Report", "Rapport"),
        asked.t("Type", "Type"),
        asked.t("Scenario", "Scénario"),
        asked.t("Verdict", "Verdict"),
        asked.t("Recovery time", "Temps de reprise"),
        asked.t("Data loss", "Perte de données"),
        asked.t("Records lost", "Enregistrements perdus"),
        asked.t("Forms", "Formats"),
    ];
    table_head(out, "reports", caption, &heads);
    for r in reports {
        let unknown = || asked.t("unknown", "inconnu").to_owned();
        let against = |actual: Option<f64>, target: Option<f64>| {
            let told = |s: Option<f64>| s.map_or_else(unknown, |s| l.span(s));
            format!("{} / {}", told(actual), told(target))
        };
        let path = format!("/reports/{}", r.id);
        let forms = ["json", "md"].map(|form| {
            let name = format!("{} {form}", r.id);
            format!(
                "<a href=\"{}\" aria-label=\"{}\">{form}</a>",
                escape(&asked.link(&format!("{path}.{form}"))),
                escape(&name)
            )
        });
        let cells = [
            format!(
                "<a href=\"{}\">{}</a> <span class=\"muted\">{}</span>",
                escape(&asked.link(&path)),
                escape(&r.id),
                l.instant(r.started_at)
            ),
            l.kind(r.kind).to_owned(),
            r.scenario.as_deref().map_or_else(unknown, |s| escape(l.scenario(s))),
            outcome(asked, r.outcome),
            against(r.rto_actual_seconds, r.rto_target_seconds),
            against(r.rpo_actual_seconds, r.rpo_target_seconds),
            r.records_lost.map_or_else(unknown, |n| l.count(n)),
            forms.join(" "),
        ];
        row(out, &heads, &cells);
    }
    out.push_str("</tbody></table></div>");
}

/// The page of all reports.
pub(super) fn list(asked: &Asked, dashboard: &Dashboard) -> (String, String) {
    let title = asked.t("Reports", "Rapports").to_owned();
    let mut out = format!("<h1>{title}</h1>");
    let seen = dashboard.seen();
    let text = match &seen.chain {
        Some(check) if check.is_whole() => {
            let said = asked.t("The chain of reports is whole.", "La chaîne des rapports est intacte.");
            let head =
                check.head.as_ref().map_or_else(String::new, |h| format!(" SHA-256: <code>{}</code>", escape(h)));
            format!("<p>{}{head}</p>", tag("good", said))
        }
        Some(check) => {
            let said = asked.t("The chain of reports is damaged.", "La chaîne des rapports est altérée.");
            let mut text = format!("<p role=\"alert\">{}</p><ul>", tag("bad", said));
            for p in &check.problems {
                let _ = write!(text, "<li>{} {}: {}</li>", p.at, escape(&p.id), escape(&p.text));
            }
            text + "</ul>"
        }
        None => format!(
            "<p role=\"alert\">{}</p>",
            tag(
                "unknown",
                asked.t(
                    "The chain of reports could not be looked at.",
                    "La chaîne des rapports n'a pas pu être examinée."
                )
            )
        ),
    };
    out.push_str(&text);
    let all: Vec<_> = seen.sealed.iter().rev().collect();
    table(
        &mut out,
        asked,
        asked.t("All reports, the newest first", "Tous les rapports, du plus récent au plus ancien"),
        &all,
    );
    (title, out)
}
