//! A run while it goes on, and afterwards.

use std::fmt::Write;

use chrono::DateTime;

use super::{
    Dashboard, Eta, LiveRun,
    look::{Asked, tag},
    overview::{row, table_head},
};
use crate::{
    report::escape_html as escape,
    runbook::{RunStatus, StepStatus},
};

fn word(asked: &Asked, status: RunStatus) -> String {
    let (class, english, french) = match status {
        RunStatus::Completed => ("good", "completed", "terminée"),
        RunStatus::CompletedWithSkips => ("unknown", "completed with steps left out", "terminée avec étapes omises"),
        RunStatus::RolledBack => ("unknown", "rolled back", "annulée"),
        RunStatus::Failed => ("bad", "failed", "échouée"),
        RunStatus::NeedsHuman => ("bad", "waits for a person", "attend une personne"),
        RunStatus::Refused => ("bad", "refused by a rule", "refusée par une règle"),
        RunStatus::Abandoned => ("unknown", "given up", "abandonnée"),
        RunStatus::Paused => ("unknown", "paused", "en pause"),
        // A journal alone cannot tell a run that goes on from one that was cut off.
        RunStatus::Interrupted => ("unknown", "under way or cut off", "en cours ou interrompue"),
    };
    tag(class, asked.t(english, french))
}

/// The run that has not ended, on the first page.
pub(super) fn banner(out: &mut String, asked: &Asked, live: &LiveRun, dashboard: &Dashboard) {
    let heading = asked.t("Run that has not ended", "Exécution non terminée");
    let link = asked.link(&format!("/runs/{}", live.run.run));
    let _ = write!(
        out,
        "<section class=\"live\" aria-labelledby=\"live\"><h2 id=\"live\">{heading}: <a href=\"{}\">{}</a></h2>",
        escape(&link),
        escape(&live.run.run)
    );
    told(out, asked, live, dashboard);
    out.push_str("</section>");
}

/// How a run stands: in words, as a bar, and its steps.
pub(super) fn told(out: &mut String, asked: &Asked, live: &LiveRun, dashboard: &Dashboard) {
    let (run, l) = (&live.run, asked.language);
    let scenario = live.plan.scenario.as_deref().unwrap_or(&live.plan.name);
    let _ = write!(
        out,
        "<p>{}: {} {}</p>",
        asked.t("Plan", "Plan"),
        escape(l.scenario(&run.plan)),
        word(asked, run.status)
    );
    if let Some(why) = &run.why {
        let _ = write!(out, "<p role=\"alert\">{}</p>", escape(why));
    }
    let settled = |s: StepStatus| matches!(s, StepStatus::Done | StepStatus::Skipped);
    let done = run.steps.iter().filter(|s| settled(s.status)).count();
    let all = run.steps.len();
    let said = format!("{} {done}/{all}", asked.t("Steps done:", "Étapes terminées :"));
    let _ = write!(
        out,
        "<p id=\"progress\">{said}</p><progress aria-labelledby=\"progress\" value=\"{done}\" max=\"{all}\"></progress><dl>"
    );
    let mut fact = |label: &str, value: String| {
        let _ = write!(out, "<dt>{label}</dt><dd>{value}</dd>");
    };
    let instant =
        |at: DateTime<chrono::Utc>| format!("{} <span class=\"muted\">({})</span>", l.instant(at), asked.ago(at));
    fact(asked.t("Began", "Début"), format!("{}, {}", instant(run.started), escape(&run.who)));
    fact(asked.t("Last entry of the journal", "Dernière entrée du journal"), instant(run.last));
    let known = dashboard.0.config.scenarios.iter().find(|s| s.kind.to_string() == scenario);
    if let Some(target) = known {
        let rto = target.rto.0.as_secs_f64();
        let t0 = run.points.get("T0").copied().flatten();
        let from = t0.unwrap_or(run.started);
        let to = run.points.get("T6").copied().flatten().unwrap_or(asked.now);
        #[allow(clippy::cast_precision_loss, reason = "seconds of centuries fit")]
        let spent = (to - from).num_seconds().max(0) as f64;
        let share = l.percent(spent * 100.0 / rto.max(1.0));
        let since = if t0.is_some() {
            asked.t("since the outage", "depuis la panne")
        } else {
            asked.t(
                "since the decision; when the outage began is unknown",
                "depuis la décision ; début de la panne inconnu",
            )
        };
        let text = format!("{} / {} ({share}), {since}", l.span(spent), l.span(rto));
        let shown = if spent > rto { tag("bad", &text) } else { escape(&text) };
        fact(asked.t("Time spent of the RTO", "Temps écoulé sur le RTO"), shown);
    }
    let eta = match live.eta(asked.now) {
        Eta::At { p50, p95, samples } => format!(
            "{} ({}), {} {} ({} {samples})",
            l.instant(p50),
            asked.until(p50),
            asked.t("hardly later than", "au plus tard vers"),
            l.instant(p95),
            asked.t("samples:", "échantillons :"),
        ),
        Eta::Unknown { steps } => format!(
            "{} {}",
            tag("unknown", asked.t("unknown", "inconnue")),
            escape(&format!("{steps} {}", asked.t("steps were never seen to succeed", "étapes jamais vues réussir")))
        ),
        Eta::Rests => asked.t("it does not go on by itself", "ne progresse pas seule").to_owned(),
    };
    fact(asked.t("Probably done", "Fin probable"), eta);
    out.push_str("</dl>");
    steps(out, asked, live);
}

fn steps(out: &mut String, asked: &Asked, live: &LiveRun) {
    let l = asked.language;
    let heads = [
        asked.t("Step", "Étape"),
        asked.t("State", "État"),
        asked.t("Began", "Début"),
        asked.t("Took", "Durée"),
        asked.t("Usually (p50, p95, samples)", "D'habitude (p50, p95, échantillons)"),
        asked.t("Result", "Constat"),
    ];
    table_head(out, "steps", asked.t("Steps of the run", "Étapes de l'exécution"), &heads);
    for step in &live.run.steps {
        let text = l.step_status(step.status);
        let state = match step.status {
            StepStatus::Done => tag("good", text),
            StepStatus::Failed | StepStatus::TimedOut | StepStatus::UndoFailed => tag("bad", text),
            StepStatus::Unknown | StepStatus::Waits | StepStatus::Skipped => tag("unknown", text),
            StepStatus::Started => format!("<strong>{text}</strong>"),
            _ => text.to_owned(),
        };
        let ended = step.ended.or_else(|| (step.status == StepStatus::Started).then_some(asked.now));
        #[allow(clippy::cast_precision_loss, reason = "milliseconds of centuries fit")]
        let took = step.began.zip(ended).map(|(b, e)| l.span((e - b).num_milliseconds() as f64 / 1000.0));
        let usual = live.known.get(&step.id).map_or_else(
            || asked.t("unknown", "inconnu").to_owned(),
            |k| format!("{}, {}, {}", l.span(k.p50.as_secs_f64()), l.span(k.p95.as_secs_f64()), k.samples),
        );
        let cells = [
            escape(&step.id),
            state,
            step.began.map_or_else(String::new, |at| at.format("%H:%M:%S UTC").to_string()),
            took.unwrap_or_default(),
            usual,
            escape(&step.text),
        ];
        row(out, &heads, &cells);
    }
    out.push_str("</tbody></table></div>");
}

/// The page of one run.
pub(super) fn page(asked: &Asked, live: &LiveRun, dashboard: &Dashboard) -> (String, String) {
    let title = format!("{} {}", asked.t("Run", "Exécution"), live.run.run);
    let mut out = format!("<h1>{}</h1>", escape(&title));
    told(&mut out, asked, live, dashboard);
    if let Some(report) = dashboard.seen().reports.iter().rev().find(|r| r.run.as_deref() == Some(&live.run.run)) {
        let link = asked.link(&format!("/reports/{}", report.id));
        let _ = write!(out, "<p><a href=\"{}\">{}</a></p>", escape(&link), asked.t("Its report", "Son rapport"));
    }
    (title, out)
}

/// The page of all runs on this machine.
pub(super) fn list(asked: &Asked, dashboard: &Dashboard) -> (String, String) {
    let title = asked.t("Runs on this machine", "Exécutions sur cette machine").to_owned();
    let mut out = format!("<h1>{title}</h1>");
    let seen = dashboard.seen();
    if seen.runs.is_empty() {
        let _ = write!(out, "<p>{}</p>", asked.t("There was none yet.", "Aucune pour l'instant."));
    } else {
        out.push_str("<ul>");
        for run in &seen.runs {
            let _ = write!(
                out,
                "<li><a href=\"{}\">{}</a></li>",
                escape(&asked.link(&format!("/runs/{run}"))),
                escape(run)
            );
        }
        out.push_str("</ul>");
    }
    (title, out)
}
