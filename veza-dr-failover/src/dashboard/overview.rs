//! The first page: readiness, components, the calendar, what comes next, the latest reports.

use std::fmt::Write;

use chrono::DateTime;
use veza_dr_core::status::{ComponentStatus, Protection, Status};

use super::{
    Dashboard, Readiness, Ready, Reason, alarm_section, calendar_view, finding_section,
    look::{Asked, tag},
    readiness, report_pages, run_page,
};
use crate::report::{Language, escape_html as escape};

/// So many reports are on the first page.
const REPORTS: usize = 10;

/// The page's title and content.
pub(super) fn overview(dashboard: &Dashboard, asked: &Asked) -> (String, String) {
    let (seen, status) = (dashboard.seen(), dashboard.0.metrics.status());
    let mut out = String::with_capacity(96 << 10);
    let title = asked.t("Recovery readiness", "État de préparation à la reprise");
    let _ = write!(out, "<h1>{title}</h1>");
    looked_at(&mut out, asked, status.as_ref());
    for problem in &seen.problems {
        let _ = write!(out, "<p role=\"alert\">{}</p>", tag("bad", problem));
    }
    if let Some(live) = &seen.live {
        run_page::banner(&mut out, asked, live, dashboard);
    }
    alarm_section::section(&mut out, asked, &seen.alarms);
    let found = readiness(&dashboard.0.config.scenarios, status.as_ref(), &seen.reports, asked.now);
    scenarios(&mut out, asked, &found);
    components(&mut out, asked, status.as_ref());
    calendar_view::section(&mut out, asked, &dashboard.0.calendar.days(), &seen.reports);
    next(&mut out, asked, status.as_ref(), &found);
    finding_section::section(&mut out, asked, &seen.findings);
    let heading = asked.t("Latest reports", "Derniers rapports");
    let _ = write!(out, "<section aria-labelledby=\"reports\"><h2 id=\"reports\">{heading}</h2>");
    let newest: Vec<_> = seen.reports.iter().rev().take(REPORTS).collect();
    report_pages::table(&mut out, asked, heading, &newest);
    out.push_str("</section>");
    (title.to_owned(), out)
}

fn looked_at(out: &mut String, asked: &Asked, status: Option<&Status>) {
    let text = match status {
        None => asked.t("The stores were not looked at yet.", "Les dépôts n'ont pas encore été examinés.").to_owned(),
        Some(status) => {
            let said = asked.t("The stores were looked at", "Dépôts examinés");
            format!("{said} {} ({})", asked.ago(status.at), asked.language.instant(status.at))
        }
    };
    let _ = write!(out, "<p class=\"muted\">{text}</p>");
}

fn word(asked: &Asked, ready: Ready) -> String {
    match ready {
        Ready::Ready => tag("good", asked.t("ready", "prêt")),
        Ready::AtRisk => tag("unknown", asked.t("at risk", "fragile")),
        Ready::NotReady => tag("bad", asked.t("not ready", "pas prêt")),
        Ready::Unknown => tag("unknown", asked.t("unknown", "inconnu")),
    }
}

fn scenarios(out: &mut String, asked: &Asked, found: &[Readiness]) {
    let l = asked.language;
    let heading = asked.t("Scenarios", "Scénarios");
    let _ = write!(out, "<section aria-labelledby=\"scenarios\"><h2 id=\"scenarios\">{heading}</h2>");
    let heads = [
        asked.t("Scenario", "Scénario"),
        asked.t("State", "État"),
        asked.t("RTO: target, last actual", "RTO : cible, dernier réalisé"),
        asked.t("RPO: target, data age now", "RPO : cible, âge des données"),
        asked.t("Last shown", "Dernière preuve"),
        asked.t("Why", "Pourquoi"),
    ];
    let caption = asked.t("How ready each scenario is", "État de préparation par scénario");
    table_head(out, "ready", caption, &heads);
    for one in found {
        let unknown = || asked.t("unknown", "inconnu").to_owned();
        let rta = one.last.as_ref().and_then(|r| r.rto_actual_seconds).map_or_else(unknown, |s| l.span(s));
        let age = match one.data_age {
            Some(age) => l.span(age.as_secs_f64().round()),
            None if one.scenario.needs.is_empty() => asked.t("needs no component", "aucun composant").to_owned(),
            None => unknown(),
        };
        let last = one.last.as_ref().map_or_else(
            || asked.t("never", "jamais").to_owned(),
            |r| {
                let link = asked.link(&format!("/reports/{}", r.id));
                let outcome = report_pages::outcome(asked, r.outcome);
                format!("<a href=\"{}\">{}</a> {outcome}", escape(&link), asked.ago(r.started_at))
            },
        );
        let mut why = String::new();
        for reason in &one.reasons {
            let _ = write!(why, "<li>{}</li>", escape(&told(l, reason)));
        }
        let why = if why.is_empty() {
            asked.t("meets its objectives", "objectifs tenus").to_owned()
        } else {
            format!("<ul>{why}</ul>")
        };
        let name = one.scenario.kind.to_string();
        let cells = [
            escape(l.scenario(&name)),
            word(asked, one.ready),
            format!("{} / {rta}", l.span(one.scenario.rto.0.as_secs_f64())),
            format!("{} / {age}", l.span(one.scenario.rpo.0.as_secs_f64())),
            last,
            why,
        ];
        row(out, &heads, &cells);
    }
    out.push_str("</tbody></table></div></section>");
}

/// A reason in words.
fn told(l: Language, reason: &Reason) -> String {
    let t = |english: &str, french: &str| l.pick(english, french).to_owned();
    match reason {
        Reason::NotLookedAt => t("the stores were not looked at yet", "les dépôts n'ont pas encore été examinés"),
        Reason::NoSuchComponent(c) => format!("{c}: {}", t("no such source is configured", "aucune source de ce nom")),
        Reason::ComponentUnknown(c) => {
            format!("{c}: {}", t("its protection cannot be told", "protection impossible à établir"))
        }
        Reason::NoBackup(c) => format!("{c}: {}", t("no backup", "aucune sauvegarde")),
        Reason::TooOld { component, age } => {
            let said = t("its newest data is older than the RPO", "données plus anciennes que le RPO");
            format!("{component}: {said} ({})", l.span(age.as_secs_f64().round()))
        }
        Reason::NoBackupCanMeetIt => t(
            "no backup can meet an RPO of 0: it takes replication",
            "aucune sauvegarde ne tient un RPO de 0 : il faut une réplication",
        ),
        Reason::Weak { component, why } if why.is_empty() => component.clone(),
        Reason::Weak { component, why } => format!("{component}: {why}"),
        Reason::NeverShown => t("no recovery was ever shown to work", "aucune reprise n'a jamais été démontrée"),
        Reason::ShownLongAgo(at) => {
            format!("{} {}", t("last shown on", "dernière démonstration le"), l.date(at.date_naive()))
        }
        Reason::LastFailed(r) => format!("{}: {r}", t("the last one failed", "la dernière a échoué")),
        Reason::LastUnknown(r) => {
            format!("{}: {r}", t("what the last one came to is unknown", "résultat de la dernière inconnu"))
        }
        Reason::TooSlow { report, actual_seconds } => {
            let said = t("the last one took longer than the RTO", "la dernière a dépassé le RTO");
            format!("{said}: {} ({report})", l.span(*actual_seconds))
        }
        Reason::LostTooMuch { report, actual_seconds } => {
            let said = t("the last one lost more than the RPO", "la dernière a perdu plus que le RPO");
            format!("{said}: {} ({report})", l.span(*actual_seconds))
        }
    }
}

fn protection(asked: &Asked, c: &ComponentStatus) -> String {
    let mut shown = match c.protection {
        Protection::Good => tag("good", asked.t("good", "bonne")),
        Protection::Weak => tag("unknown", asked.t("weak", "faible")),
        Protection::Broken => tag("bad", asked.t("broken", "rompue")),
        Protection::Unknown => tag("unknown", asked.t("unknown", "inconnue")),
    };
    if c.running {
        let _ = write!(shown, " {}", asked.t("being backed up now", "sauvegarde en cours"));
    }
    shown
}

fn components(out: &mut String, asked: &Asked, status: Option<&Status>) {
    let heading = asked.t("Components", "Composants");
    let _ = write!(out, "<section aria-labelledby=\"components\"><h2 id=\"components\">{heading}</h2>");
    let Some(status) = status else {
        let _ = write!(out, "<p>{}</p></section>", tag("unknown", asked.t("unknown", "inconnu")));
        return;
    };
    let heads = [
        asked.t("Component", "Composant"),
        asked.t("Store", "Dépôt"),
        asked.t("Protection", "Protection"),
        asked.t("Last backup", "Dernière sauvegarde"),
        asked.t("Last proof", "Dernière vérification"),
        asked.t("Restore proven", "Restauration prouvée"),
        asked.t("Why", "Pourquoi"),
    ];
    table_head(
        out,
        "parts",
        asked.t("Backups and proofs by component and store", "Sauvegardes et vérifications par composant et dépôt"),
        &heads,
    );
    for c in &status.components {
        for s in &c.stores {
            let never = |text: &str| {
                if s.unknown.is_some() { tag("unknown", asked.t("unknown", "inconnu")) } else { tag("unknown", text) }
            };
            let last = s.last_success.as_ref().map(|b| asked.when(b.shows));
            let proof = s.last_proof.as_ref().map(|p| {
                let found = match p.verdict {
                    veza_dr_core::Verdict::Equal => tag("good", asked.t("equal", "identique")),
                    veza_dr_core::Verdict::Different => tag("bad", asked.t("differs", "différente")),
                    veza_dr_core::Verdict::Unverified => tag("unknown", asked.t("unverified", "non vérifiée")),
                };
                format!("{} {found} ({})", asked.when(p.at), escape(&p.level))
            });
            let proven = s.last_proven_restore.as_ref().map(|p| asked.when(p.at));
            let mut why = String::new();
            for reason in c.reasons.iter().chain(&s.unknown) {
                let _ = write!(why, "<li>{}</li>", escape(reason));
            }
            let cells = [
                format!("{} <span class=\"muted\">{}</span>", escape(c.component.as_str()), escape(&c.engine)),
                escape(&s.store),
                protection(asked, c),
                last.unwrap_or_else(|| never(asked.t("none", "aucune"))),
                proof.unwrap_or_else(|| never(asked.t("none", "aucune"))),
                proven.unwrap_or_else(|| never(asked.t("never", "jamais"))),
                if why.is_empty() { String::new() } else { format!("<ul>{why}</ul>") },
            ];
            row(out, &heads, &cells);
        }
    }
    out.push_str("</tbody></table></div></section>");
}

fn next(out: &mut String, asked: &Asked, status: Option<&Status>, found: &[Readiness]) {
    let heading = asked.t("What comes next", "Prochaines échéances");
    let _ = write!(out, "<section aria-labelledby=\"next\"><h2 id=\"next\">{heading}</h2>");
    let mut lines: Vec<(DateTime<chrono::Utc>, String)> = Vec::new();
    for c in status.iter().flat_map(|s| &s.components) {
        let text = format!("{} {}", asked.t("backup of", "sauvegarde de"), escape(c.component.as_str()));
        lines.extend(c.next_run.map(|at| (at, text)));
    }
    for one in found {
        let due = one.last.as_ref().and_then(|r| r.next_due);
        let name = one.scenario.kind.to_string();
        let text = format!("{} {}", asked.t("drill of", "exercice :"), escape(asked.language.scenario(&name)));
        lines.extend(due.map(|at| (at, text)));
    }
    lines.sort();
    if lines.is_empty() {
        let _ = write!(out, "<p>{}</p></section>", asked.t("Nothing is scheduled.", "Rien n'est planifié."));
        return;
    }
    out.push_str("<ul>");
    for (at, text) in lines {
        let _ = write!(
            out,
            "<li>{text}: {} <span class=\"muted\">{}</span></li>",
            asked.until(at),
            asked.language.instant(at)
        );
    }
    out.push_str("</ul></section>");
}

/// The head of a table that becomes a stack of cards on a narrow screen.
pub(super) fn table_head(out: &mut String, id: &str, caption: &str, heads: &[&str]) {
    let _ = write!(
        out,
        "<div class=\"scroll\" role=\"group\" aria-labelledby=\"caption-{id}\" tabindex=\"0\"><table class=\"stack\">\
         <caption id=\"caption-{id}\">{}</caption><thead><tr>",
        escape(caption)
    );
    for head in heads {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(head));
    }
    out.push_str("</tr></thead><tbody>");
}

/// A row; the cells are markup already.
pub(super) fn row(out: &mut String, heads: &[&str], cells: &[String]) {
    out.push_str("<tr>");
    for (at, (head, cell)) in heads.iter().zip(cells).enumerate() {
        let _ = if at == 0 {
            write!(out, "<th scope=\"row\">{cell}</th>")
        } else {
            write!(out, "<td data-label=\"{}\">{cell}</td>", escape(head))
        };
    }
    out.push_str("</tr>");
}
