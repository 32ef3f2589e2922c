//! What retention decided and did.

use comfy_table::{Cell, Color};
use serde_json::{Value, json};
use veza_dr_backup::{Decision, RetentionVerdict, SimulatedDay};

use super::{
    Paint,
    errors::{error_json, error_text},
    human::table,
    words::{bytes, count, local, many},
};
use crate::{Exit, commands::Pruned};

fn reasons(decision: &Decision) -> String {
    match &decision.verdict {
        RetentionVerdict::Keep(reasons) => reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        RetentionVerdict::Delete(reason) => reason.to_string(),
    }
}

/// `prune`: an array, one element for each component and store.
pub(crate) fn prune_json(all: &[Pruned], applied: bool) -> Value {
    let each = all.iter().map(|one| {
        let mut value = json!({
            "component": one.component, "store": one.store, "applied": applied, "retention": one.policy.is_some(),
        });
        match &one.result {
            Ok(report) => {
                let backups = report.decisions.iter().map(|d| {
                    let (action, detail) = match &d.verdict {
                        RetentionVerdict::Keep(reasons) => ("keep", json!(reasons)),
                        RetentionVerdict::Delete(reason) => ("delete", json!([reason])),
                    };
                    json!({
                        "id": d.id, "started_at": d.id.started_at(), "action": action, "reasons": detail,
                        "reason": reasons(d),
                    })
                });
                value["backups"] = backups.collect();
                value["deleted"] = json!(report.deleted);
                value["freed_bytes"] = json!(report.freed_bytes);
                value["refused"] = json!(report.refused);
                value["foreign"] = json!(report.foreign);
            }
            Err(e) => value["error"] = error_json(e, Exit::from(e))["error"].clone(),
        }
        if !one.days.is_empty() {
            let days = one.days.iter().map(|d| json!({ "at": d.at, "left": d.left, "deleted": d.deleted }));
            value["days"] = days.collect();
        }
        value
    });
    each.collect()
}

/// `prune`, for people.
pub(crate) fn prune_text(all: &[Pruned], applied: bool, paint: Paint) -> String {
    let mut text = String::new();
    for one in all {
        text.push_str(&format!("{} in {}\n", paint.strong(one.component.as_str()), one.store));
        let report = match &one.result {
            Ok(report) => report,
            Err(e) => {
                text.push_str(&format!("  {}\n", error_text("error", e, paint)));
                continue;
            }
        };
        if report.decisions.is_empty() {
            text.push_str("  no backups\n");
            continue;
        }
        let mut out = table(paint, &["id", "began", "", "why"]);
        for decision in &report.decisions {
            let action = match &decision.verdict {
                RetentionVerdict::Keep(_) => Cell::new("keep").fg(Color::Green),
                RetentionVerdict::Delete(_) if report.deleted.contains(&decision.id) => {
                    Cell::new("deleted").fg(Color::Yellow)
                }
                RetentionVerdict::Delete(_) => Cell::new("delete").fg(Color::Yellow),
            };
            let began = local(decision.id.started_at());
            out.add_row([Cell::new(&decision.id), Cell::new(began), action, Cell::new(reasons(decision))]);
        }
        text.push_str(&out.trim_fmt());
        text.push('\n');
        if applied && !report.deleted.is_empty() {
            let backups = many(report.deleted.len() as u64, "backup", "backups");
            text.push_str(&format!("  {backups} deleted, {} freed\n", bytes(report.freed_bytes)));
        }
        for refused in &report.refused {
            text.push_str(&format!("  {}: {}: {}\n", paint.warn("not deleted"), refused.key, refused.why));
        }
        for foreign in &report.foreign {
            text.push_str(&format!("  {}: {foreign} is none of ours\n", paint.warn("left alone")));
        }
        text.push_str(&simulated(&one.days));
    }
    let goes = |p: &Pruned| p.result.as_ref().is_ok_and(|r| r.decisions.iter().any(Decision::deletes));
    if !applied && all.iter().any(goes) {
        text.push_str("next: veza-dr prune --yes");
    } else if !applied {
        text.push_str("Nothing is to be deleted.");
    }
    text
}

/// Only the days on which something changes, and the last.
fn simulated(days: &[SimulatedDay]) -> String {
    let Some(last) = days.last() else { return String::new() };
    let mut text = "  if backups stopped now:\n".to_owned();
    for day in days.iter().filter(|d| !d.deleted.is_empty() || d.at == last.at) {
        let newest = day.left.last().map_or_else(|| "none".to_owned(), ToString::to_string);
        let left = count(day.left.len() as u64);
        text.push_str(&format!(
            "    {}: {} deleted, {left} left, the newest {newest}\n",
            local(day.at),
            day.deleted.len()
        ));
    }
    text
}
