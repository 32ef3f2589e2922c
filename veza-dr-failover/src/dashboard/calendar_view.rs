//! The calendar of a year: a drawing, and a table by months that says the same.

use std::{collections::BTreeMap, fmt::Write};

use chrono::{Datelike, NaiveDate, TimeDelta};

use super::{
    Day,
    look::Asked,
    overview::{row, table_head},
};
use crate::report::{Language, Outcome, ReportSummary, escape_html as escape};

const WEEKS: i64 = 53;
const CELL: i64 = 15;
const LEFT: i64 = 38;
const TOP: i64 = 20;

/// Drills and recoveries of a day.
#[derive(Default, Clone, Copy)]
struct Shown {
    passed: u32,
    others: u32,
}

pub(super) fn section(out: &mut String, asked: &Asked, days: &BTreeMap<NaiveDate, Day>, reports: &[ReportSummary]) {
    let heading = asked.t("Calendar", "Calendrier");
    let _ = write!(out, "<section class=\"calendar\" aria-labelledby=\"calendar\"><h2 id=\"calendar\">{heading}</h2>");
    let mut shown: BTreeMap<NaiveDate, Shown> = BTreeMap::new();
    for report in reports {
        let day = shown.entry(report.started_at.date_naive()).or_default();
        match report.outcome {
            Outcome::Passed => day.passed += 1,
            _ => day.others += 1,
        }
    }
    drawing(out, asked, days, &shown);
    key(out, asked);
    months(out, asked, days, &shown);
    out.push_str("</section>");
}

fn drawing(out: &mut String, asked: &Asked, days: &BTreeMap<NaiveDate, Day>, shown: &BTreeMap<NaiveDate, Shown>) {
    let today = asked.now.date_naive();
    let first = today - TimeDelta::days(i64::from(today.weekday().num_days_from_monday()) + 7 * (WEEKS - 1));
    let (width, height) = (LEFT + WEEKS * CELL + 4, TOP + 7 * CELL + 4);
    let title = asked.t(
        "Backups, drills and recoveries of the last year, a square a day",
        "Sauvegardes, exercices et reprises de l'année, un carré par jour",
    );
    let same =
        asked.t("The table below has the same by months.", "Le tableau ci-dessous donne les mêmes chiffres par mois.");
    let _ = write!(
        out,
        "<div class=\"scroll\" role=\"group\" aria-label=\"{title}\" tabindex=\"0\">\
         <svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"year-t year-d\"><title id=\"year-t\">{title}</title><desc id=\"year-d\">{same}</desc>"
    );
    for (weekday, name) in [(0, asked.t("Mon", "lun.")), (2, asked.t("Wed", "mer.")), (4, asked.t("Fri", "ven."))] {
        let y = TOP + weekday * CELL + 11;
        let _ = write!(out, "<text class=\"faint\" x=\"{}\" y=\"{y}\" text-anchor=\"end\">{name}</text>", LEFT - 5);
    }
    let mut date = first;
    for week in 0..WEEKS {
        for weekday in 0..7 {
            if date > today {
                break;
            }
            let (x, y) = (LEFT + week * CELL, TOP + weekday * CELL);
            if date.day() == 1 && week < WEEKS - 1 {
                let month = asked.language.month(date);
                // "juin" and "juillet" differ in their fourth letter.
                let letters = if asked.language == Language::French { 4 } else { 3 };
                let short: String = month.chars().take(letters).take_while(|c| c.is_alphabetic()).collect();
                let _ = write!(out, "<text class=\"faint\" x=\"{x}\" y=\"13\">{}</text>", escape(&short));
            }
            cell(out, (x, y), days.get(&date), shown.get(&date));
            date += TimeDelta::days(1);
        }
    }
    out.push_str("</svg></div>");
}

/// Not by colour alone: a day with a failure has a stroke through it, a drill a ring.
fn cell(out: &mut String, (x, y): (i64, i64), day: Option<&Day>, shown: Option<&Shown>) {
    let side = CELL - 3;
    let failed = day.is_some_and(|d| d.backups_failed + d.proofs_failed > 0);
    let class = match day {
        None => "day-none",
        Some(_) if failed => "bar-bad",
        Some(_) => "bar-good",
    };
    let _ = write!(out, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" rx=\"2\"/>");
    if failed {
        let (x1, y1, x2, y2) = (x + 2, y + side - 2, x + side - 2, y + 2);
        let _ = write!(out, "<line class=\"cut\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>");
    }
    if let Some(shown) = shown {
        let class = if shown.others > 0 { "ring-bad" } else { "ring" };
        let _ = write!(
            out,
            "<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"{}\"/>",
            x + side / 2,
            y + side / 2,
            side / 2 + 1
        );
    }
}

fn key(out: &mut String, asked: &Asked) {
    let all = Day { backups: 1, ..Day::default() };
    let failed = Day { backups_failed: 1, ..Day::default() };
    let (passed, other) = (Shown { passed: 1, others: 0 }, Shown { passed: 0, others: 1 });
    out.push_str("<ul class=\"key\">");
    for (day, shown, text) in [
        (
            Some(&all),
            None,
            asked.t("all backups and proofs succeeded", "toutes les sauvegardes et vérifications réussies"),
        ),
        (Some(&failed), None, asked.t("something failed or was missed", "échec ou sauvegarde manquée")),
        (None, None, asked.t("nothing is known", "rien de connu")),
        (None, Some(&passed), asked.t("drill or recovery passed", "exercice ou reprise réussi")),
        (None, Some(&other), asked.t("drill or recovery failed or unknown", "exercice ou reprise échoué ou inconnu")),
    ] {
        out.push_str("<li><svg viewBox=\"-2 -2 16 16\" aria-hidden=\"true\">");
        cell(out, (0, 0), day, shown);
        let _ = write!(out, "</svg>{text}</li>");
    }
    out.push_str("</ul>");
}

fn months(out: &mut String, asked: &Asked, days: &BTreeMap<NaiveDate, Day>, shown: &BTreeMap<NaiveDate, Shown>) {
    let mut sums: BTreeMap<(i32, u32), (Day, Shown)> = BTreeMap::new();
    let oldest = asked.now.date_naive() - TimeDelta::days(366);
    for (date, day) in days.range(oldest..) {
        let (sum, _) = sums.entry((date.year(), date.month())).or_default();
        sum.backups += day.backups;
        sum.backups_failed += day.backups_failed;
        sum.proofs += day.proofs;
        sum.proofs_failed += day.proofs_failed;
    }
    for (date, one) in shown.range(oldest..) {
        let (_, sum) = sums.entry((date.year(), date.month())).or_default();
        sum.passed += one.passed;
        sum.others += one.others;
    }
    let caption = asked.t("By month", "Par mois");
    if sums.is_empty() {
        let _ = write!(out, "<p>{}</p>", asked.t("Nothing is on record yet.", "Rien n'est encore enregistré."));
        return;
    }
    let heads = [
        asked.t("Month", "Mois"),
        asked.t("Backups", "Sauvegardes"),
        asked.t("Failed or missed", "Échouées ou manquées"),
        asked.t("Proofs", "Vérifications"),
        asked.t("Proofs failed", "Vérifications échouées"),
        asked.t("Drills and recoveries passed", "Exercices et reprises réussis"),
        asked.t("Failed or unknown", "Échoués ou inconnus"),
    ];
    table_head(out, "months", caption, &heads);
    for ((year, month), (day, one)) in sums.into_iter().rev() {
        let Some(date) = NaiveDate::from_ymd_opt(year, month, 1) else { continue };
        let n = |n: u32| asked.language.count(u64::from(n));
        let cells = [
            asked.language.month(date),
            n(day.backups),
            n(day.backups_failed),
            n(day.proofs),
            n(day.proofs_failed),
            n(one.passed),
            n(one.others),
        ];
        row(out, &heads, &cells);
    }
    out.push_str("</tbody></table></div>");
}
