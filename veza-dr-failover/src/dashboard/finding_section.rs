//! What drills and recoveries left to be mended: who does it, and by when.

use std::fmt::Write;

use super::{
    look::{Asked, tag},
    overview::{row, table_head},
};
use crate::report::{FindingSeverity, OpenFinding, escape_html as escape};

/// So many are on the first page.
const SHOWN: usize = 10;

/// Those that are due first; nothing where nothing is to be mended.
pub(super) fn section(out: &mut String, asked: &Asked, open: &[OpenFinding]) {
    if open.is_empty() {
        return;
    }
    let heading = asked.t("To be mended", "À corriger");
    let _ = write!(out, "<section aria-labelledby=\"findings\"><h2 id=\"findings\">{heading}</h2>");
    let heads = [
        asked.t("Due", "Échéance"),
        asked.t("Owner", "Responsable"),
        asked.t("Severity", "Gravité"),
        asked.t("Finding", "Constat"),
        asked.t("Report", "Rapport"),
    ];
    table_head(out, "findings", asked.t("Findings that are not mended yet", "Constats non corrigés"), &heads);
    let today = asked.now.date_naive();
    for found in open.iter().take(SHOWN) {
        let finding = &found.finding;
        let due = match finding.due {
            Some(due) if found.is_overdue(today) => {
                format!("{} {}", tag("bad", asked.t("overdue", "en retard")), asked.language.date(due))
            }
            Some(due) => asked.language.date(due),
            None => tag("unknown", asked.t("no day set", "sans échéance")),
        };
        let owner = match &finding.owner {
            Some(owner) => escape(owner),
            None => tag("unknown", asked.t("nobody", "personne")),
        };
        let severity = asked.language.severity(finding.severity);
        let severity = match finding.severity {
            FindingSeverity::High | FindingSeverity::Critical => tag("bad", severity),
            _ => escape(severity),
        };
        let link = asked.link(&format!("/reports/{}", found.report));
        let when = asked.language.date(found.found_at.date_naive());
        let report = format!("<a href=\"{}\">{when}</a>", escape(&link));
        row(out, &heads, &[due, owner, severity, escape(&finding.text), report]);
    }
    out.push_str("</tbody></table></div>");
    if let Some(more) = open.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let said = asked.t("more: veza-dr report findings", "de plus : veza-dr report findings");
        let _ = write!(out, "<p>{more} {said}</p>");
    }
    out.push_str("</section>");
}
