//! Results for people: what happened, and which command to run next.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use veza_dr_backup::{BackupState, CatalogEntry, Proof};
use veza_dr_core::{Manifest, Outcome, Verdict};

use super::{
    Paint,
    errors::error_text,
    words::{bytes, count, holds, local, many, nouns, took},
};
use crate::{
    Exit,
    commands::{BackupRun, Checked, Verified},
};

pub(super) fn table(paint: Paint, headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings.iter().map(|h| Cell::new(h.to_uppercase())));
    if paint.is_on() {
        table.enforce_styling().set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.force_no_tty();
    }
    table
}

pub(super) fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// `list`.
pub(crate) fn list_text(entries: &[CatalogEntry], paint: Paint) -> String {
    if entries.is_empty() {
        return "No backups yet.\nnext: veza-dr backup".to_owned();
    }
    let mut out = table(paint, &["component", "id", "store", "started", "items", "size", "stored", "proven"]);
    for entry in entries {
        let head =
            [entry.component.to_string(), entry.id.to_string(), entry.store.clone(), local(entry.id.started_at())];
        let mut row: Vec<Cell> = head.into_iter().map(Cell::new).collect();
        match &entry.state {
            BackupState::Complete(m) => {
                row.extend([right(count(m.rows())), right(bytes(m.bytes())), right(bytes(m.stored_bytes()))]);
                row.push(match entry.proven() {
                    Some(proof) => Cell::new(proof.level).fg(Color::Green),
                    None if entry.proofs.is_empty() => Cell::new("not yet"),
                    None => Cell::new("REFUTED").fg(Color::Red),
                });
            }
            BackupState::Unfinished => row.extend([right("-"), right("-"), right("-"), Cell::new("unfinished")]),
            BackupState::Broken(_) => {
                row.extend([right("-"), right("-"), right("-"), Cell::new("BROKEN").fg(Color::Red)]);
            }
        }
        out.add_row(row);
    }
    let mut text = out.trim_fmt();
    for entry in entries {
        if let BackupState::Broken(why) = &entry.state {
            text.push_str(&format!("\n{}: {} in {}: {why}", paint.bad("broken"), entry.id, entry.store));
        }
    }
    if entries.iter().any(|e| matches!(e.state, BackupState::Complete(_)) && e.proven().is_none()) {
        text.push_str("\nnext: veza-dr verify --level restore");
    }
    text
}

/// `show`.
pub(crate) fn manifest_text(store: &str, m: &Manifest, proofs: &[Proof], paint: Paint) -> String {
    let mut text = format!("{} of {} in {store}\n", paint.strong(m.id.as_str()), m.component);
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<14}{value}\n"));
    line("source", format!("{}, {} {}", m.source.location, m.engine, m.source.server_version));
    line("shows", local(m.consistency.at));
    if let Some(lsn) = &m.consistency.lsn {
        line("wal position", lsn.clone());
    }
    let spent = (m.finished_at - m.started_at).to_std().unwrap_or_default();
    line("made", format!("{} in {}, by {} {}", local(m.started_at), took(spent), m.tool.name, m.tool.version));
    line("holds", holds(&m.engine, m.contents.len() as u64, m.rows()));
    line(
        "size",
        format!(
            "{} stored in {}, {}",
            bytes(m.bytes()),
            bytes(m.stored_bytes()),
            many(m.objects.len() as u64, "object", "objects")
        ),
    );
    for proof in proofs {
        let verdict = match proof.verdict {
            Verdict::Equal => "equal",
            Verdict::Different => "DIFFERENT",
            Verdict::Unverified => "could not be verified",
        };
        line("proof", format!("{}: {verdict}, {}", proof.level, local(proof.at)));
    }
    if proofs.is_empty() {
        line("proof", "none yet".to_owned());
    }
    for skipped in &m.skipped {
        line("not in it", format!("{}: {}", skipped.what, skipped.why));
    }
    if let Some(point) = &m.recovery_point {
        let names: Vec<&str> = point.members.iter().map(|m| m.component.as_str()).collect();
        let skew = took(Duration::from_millis(point.skew_ms));
        text.push_str(&format!("  {:<14}{} of {}, {skew} apart\n", "together", point.id, names.join(", ")));
    }
    let [one, _, _, items] = nouns(&m.engine);
    let mut contents = table(paint, &[one, items, "digest"]);
    for content in &m.contents {
        let digest = content.digest.as_deref().unwrap_or("-");
        contents.add_row([Cell::new(&content.name), right(count(content.rows)), Cell::new(digest)]);
    }
    text.push_str(&contents.trim_fmt());
    text.push_str(&format!("\nnext: veza-dr restore {} --backup {} --plan", m.component, m.id));
    text
}

/// `backup`.
pub(crate) fn backup_text(runs: &[BackupRun], paint: Paint) -> String {
    let mut text = String::new();
    for run in runs {
        let name = paint.strong(run.component.as_str());
        let report = match &run.result {
            Ok(report) => report,
            Err(e) => {
                text.push_str(&format!("{name}: {}\n", error_text("error", e, paint)));
                continue;
            }
        };
        let holds = report
            .manifest()
            .map_or(String::new(), |m| format!(", {}", holds(&m.engine, m.contents.len() as u64, m.rows())));
        text.push_str(&format!("{name}: backup {} in {}{holds}\n", report.id, took(report.took)));
        for s in &report.stores {
            text.push_str(&match &s.result {
                Ok(m) => {
                    let objects = many(m.objects.len() as u64, "object", "objects");
                    let (all, added) = (m.stored_bytes(), m.added_bytes());
                    let shared = if added == all { String::new() } else { format!(", {} of them new", bytes(added)) };
                    let (ok, store, plain) = (paint.good("ok"), &s.store, bytes(m.bytes()));
                    format!("  {ok} {store}: {plain} stored in {}{shared}, {objects}\n", bytes(all))
                }
                Err(e) => format!("  {} {}: {}\n", paint.bad("FAILED"), s.store, e.chain()),
            });
        }
        for skipped in report.manifest().iter().flat_map(|m| &m.skipped) {
            text.push_str(&format!("  {} {}: {}\n", paint.warn("not in it"), skipped.what, skipped.why));
        }
        for (store, id) in &report.swept {
            text.push_str(&format!("  swept the unfinished run {id} of {store}\n"));
        }
    }
    let point = runs.iter().filter_map(|r| r.result.as_ref().ok()?.manifest()?.recovery_point.as_ref()).next();
    if let Some(point) = point {
        let skew = took(Duration::from_millis(point.skew_ms));
        text.push_str(&format!("together: recovery point {}, {skew} between its first and last instant\n", point.id));
    }
    if let Some(run) = runs.iter().find(|r| r.result.is_ok()) {
        text.push_str(&format!("next: veza-dr verify {} --level restore", run.component));
    }
    text
}

/// `verify`.
pub(crate) fn verify_text(all: &[Verified], paint: Paint) -> String {
    let mut text = String::new();
    for v in all {
        let id = v.id.as_ref().map_or("-", |id| id.as_str());
        let head = format!("{} {id} in {}, {}", paint.strong(v.component.as_str()), v.store, v.level);
        let found = match &v.result {
            Ok(found) => found,
            Err(e) => {
                text.push_str(&format!("{head}: {}\n", error_text("error", e, paint)));
                continue;
            }
        };
        let verdict = match found.verdict() {
            Verdict::Equal => paint.good("equal"),
            Verdict::Different => paint.bad("DIFFERENT"),
            Verdict::Unverified => paint.warn("NOT VERIFIED"),
        };
        let [_, _, item, items] = nouns(v.engine);
        let equal = format!("{} compared equal, {}", count(found.equal), many(found.rows, item, items));
        text.push_str(&format!("{head}: {verdict} ({equal}, {})\n", took(found.took)));
        for finding in &found.findings {
            let word = match finding.verdict {
                Verdict::Different => paint.bad("different"),
                Verdict::Unverified => paint.warn("not verified"),
                Verdict::Equal => paint.good("as it must be"),
            };
            text.push_str(&format!("  {word} {}: {}\n", finding.what, finding.why));
        }
    }
    if let Some(bad) = all.iter().find(|v| matches!(v.exit(), Exit::Mismatch | Exit::Corrupt)) {
        text.push_str(&format!(
            "next: veza-dr list {}   (an older backup may be whole; then make a new one)",
            bad.component
        ));
    }
    text
}

/// `check`.
pub(crate) fn check_text(file: &str, checks: &[Checked], exit: Exit, paint: Paint) -> String {
    let mut out = table(paint, &["what", "check", "result", "detail"]);
    for checked in checks {
        for step in &checked.report.steps {
            let what = format!("{} {}", checked.what, checked.name);
            let color = match step.outcome {
                Outcome::Ok => Color::Green,
                Outcome::Failed => Color::Red,
                _ => Color::Yellow,
            };
            let result = Cell::new(Paint::on(false, None).outcome(step.outcome)).fg(color);
            out.add_row([Cell::new(what), Cell::new(&step.name), result, Cell::new(&step.detail)]);
        }
    }
    let verdict =
        if exit == Exit::Ok { paint.good("All is well.") } else { paint.bad("Something is not as it must be.") };
    let next = if exit == Exit::Ok { "next: veza-dr backup" } else { "next: mend what FAILED, then veza-dr check" };
    format!("configuration {file}: {}\n{}\n{verdict}\n{next}", paint.good("ok"), out.trim_fmt())
}
